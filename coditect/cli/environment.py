"""`coditect env`, `coditect secret` and `coditect preferences`: what one's programs find."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coditect.cli.common import JsonOption, ServerOption, fail, print_json, signed_in
from coditect.models import Secret

WIDTH = 160
_LARGEST = 1 << 20

variables = typer.Typer(
    no_args_is_help=True, help="Variables of your workspaces, for shells and programs to come."
)
secrets = typer.Typer(
    no_args_is_help=True, help="Secrets of your workspaces: variables that are never shown again."
)

Name = Annotated[str, typer.Argument(help="As in API_TOKEN.")]


@variables.command("ls")
def variables_ls(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """List your variables."""
    with signed_in(server) as client:
        found = list(client.variables())
    if as_json:
        print_json(found)
        return
    for each in found:
        typer.echo(f"{each.name}={each.value}")


@variables.command("set")
def variables_set(
    name: Name,
    value: Annotated[
        str | None, typer.Argument(help="Its value; standard input when left out.")
    ] = None,
    server: ServerOption = None,
) -> None:
    """Set a variable. What runs keeps the old value."""
    given = _from_stdin() if value is None else value
    with signed_in(server) as client:
        client.set_variable(name, given)


@variables.command("rm")
def variables_rm(name: Name, server: ServerOption = None) -> None:
    """Take a variable back."""
    with signed_in(server) as client:
        client.delete_variable(name)


@secrets.command("ls")
def secrets_ls(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """List the names of your secrets."""
    with signed_in(server) as client:
        found = list(client.secrets())
    if as_json:
        print_json(found)
        return
    table = Table("secret", "added to", "as", "set", "", box=None)
    for each in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.updated_at))
        locked = "the server has lost its key: set it anew" if each.locked else ""
        place = f"{'https' if each.https else 'http'}://{each.host}" if each.use else each.host
        table.add_row(each.name, place or "", _added_as(each), at, locked)
    Console(width=WIDTH).print(table)


@secrets.command("set")
def secrets_set(
    name: Name,
    host: Annotated[
        str | None,
        typer.Option(
            help="No program finds it: the way out adds it to requests to this host (or host:port),"
            " as `Authorization: Bearer` unless --basic or --header is given."
        ),
    ] = None,
    basic: Annotated[
        str | None, typer.Option(metavar="USER", help="Add it as this user's password.")
    ] = None,
    header: Annotated[
        str | None, typer.Option(metavar="NAME", help="Add it as this header, as it is.")
    ] = None,
    https: Annotated[
        bool | None,
        typer.Option(
            "--https/--http",
            help="Add it to requests by HTTPS, whose connections to this host the way out opens; or by"
            " plain HTTP, which everybody on the way can read.",
        ),
    ] = None,
    server: ServerOption = None,
) -> None:
    """Set a secret: asked for, or read from standard input without the newline at its end."""
    if host is None and (basic, header, https) != (None, None, None):
        fail("--basic, --header, --https and --http need a --host")
    if host is not None and https is None:
        fail("say --https or --http: to which requests to this host it is to be added")
    if basic is not None and header is not None:
        fail("--basic or --header, not both")
    use = "basic" if basic is not None else "header" if header is not None else None
    # Not an argument: everybody on a machine sees those, and shells write them down.
    value = str(typer.prompt("Value", hide_input=True)) if sys.stdin.isatty() else _from_stdin()
    with signed_in(server) as client:
        client.set_secret(
            name, value, host=host, use=use, username=basic, header=header, https=https
        )


@secrets.command("rm")
def secrets_rm(name: Name, server: ServerOption = None) -> None:
    """Forget a secret."""
    with signed_in(server) as client:
        client.delete_secret(name)


def _added_as(secret: Secret) -> str:
    """Return the header that a secret is added as, as a person reads it."""
    if secret.use == "basic":
        return f"Basic {secret.username}:…"
    return {"bearer": "Bearer …", "header": f"{secret.header}: …"}.get(secret.use or "", "")


def preferences(
    dotfiles: Annotated[
        str | None,
        typer.Option(
            help="Repository that new workspaces clone to ~/.dotfiles and install; the log is"
            " ~/.local/state/coditect/dotfiles.log."
        ),
    ] = None,
    shell: Annotated[
        str | None, typer.Option(help="Shell of new terminals, one of the container's /etc/shells.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="As in Europe/Berlin.")] = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what you prefer for your workspaces; change what is named. `default` takes one back."""
    given = {"dotfiles_repository": dotfiles, "shell": shell, "time_zone": time_zone}
    changes = {
        name: None if text in {"default", ""} else text
        for name, text in given.items()
        if text is not None
    }
    with signed_in(server) as client:
        found = client.change_preferences(**changes) if changes else client.preferences()
    if as_json:
        print_json(found)
        return
    typer.echo(f"dotfiles: {found.dotfiles_repository or 'none'}")
    typer.echo(f"shell: {found.shell or 'default'}")
    typer.echo(f"time zone: {found.time_zone or 'default'}")


def _from_stdin() -> str:
    """Return standard input without the newline at its end; ends the command for what is no text."""
    data = sys.stdin.buffer.read(_LARGEST)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        fail("the value is no text in UTF-8")
    return text.removesuffix("\n").removesuffix("\r")
