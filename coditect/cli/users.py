"""`coditect user`: accounts and their quotas, for administrators."""

from __future__ import annotations

import re
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coditect.cli.common import (
    JsonOption,
    ServerOption,
    administrator,
    fail,
    print_json,
    read_password,
    size_text,
    usage_line,
)
from coditect.models import Used
from coditect.sync import Client

WIDTH = 160

app = typer.Typer(no_args_is_help=True, help="Accounts (administrators only).")

Email = Annotated[str, typer.Argument(help="Account.")]
Amount = str | None


@app.command("add")
def user_add(
    email: Annotated[str, typer.Argument(help="Account to create.")],
    role: Annotated[str, typer.Option(help="user or admin")] = "user",
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input.")
    ] = False,
    server: ServerOption = None,
) -> None:
    """Create an account.

    Uses the kept login, else CODITECT_ADMIN_EMAIL and CODITECT_ADMIN_PASSWORD.
    """
    password = read_password(password_stdin, confirm=True)
    with administrator(server) as client:
        user = client.create_user(email, password, role)
    typer.echo(f"created {user.email} ({user.role}), {user.user_id}")


@app.command("list")
def user_list(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """List accounts, with what they use and may use; `*` is a limit of their own."""
    if as_json:
        with administrator(server) as client:
            print_json(list(client.users()))
        return
    table = Table("email", "role", "files", "paths", "output", "containers", "sessions", box=None)
    with administrator(server) as client:
        for user in client.users():
            usage = user.usage
            if usage is None:
                continue
            sizes = {"file_bytes": usage.file_bytes, "journal_bytes": usage.journal_bytes}
            shown = {
                name: _shown(getattr(usage, name), size=name in sizes, own=name in user.quotas)
                for name in ("file_bytes", "files", "journal_bytes", "containers", "sessions")
            }
            role = "disabled" if user.disabled else user.role
            table.add_row(user.email, role, *shown.values())
    Console(width=WIDTH).print(table)


@app.command("quota")
def user_quota(
    email: Email,
    file_bytes: Annotated[Amount, typer.Option(help="Bytes of archived files, as in 20G.")] = None,
    files: Annotated[Amount, typer.Option(help="Files, directories and links.")] = None,
    journal_bytes: Annotated[Amount, typer.Option(help="Kept output, as in 128M.")] = None,
    containers: Annotated[Amount, typer.Option(help="Live containers.")] = None,
    sessions: Annotated[Amount, typer.Option(help="Live sessions.")] = None,
    variables: Annotated[Amount, typer.Option(help="Variables and secrets.")] = None,
    variable_bytes: Annotated[
        Amount, typer.Option(help="Bytes of their names and values, as in 256K.")
    ] = None,
    server: ServerOption = None,
) -> None:
    """Show what an account uses and may use; set limits of its own.

    0 is no limit, `default` what the server's settings say. What is not named stays.
    """
    given = {
        "file_bytes": file_bytes,
        "files": files,
        "journal_bytes": journal_bytes,
        "containers": containers,
        "sessions": sessions,
        "variables": variables,
        "variable_bytes": variable_bytes,
    }
    limits = {name: _number(text) for name, text in given.items() if text is not None}
    with administrator(server) as client:
        user_id = _user_id(client, email)
        user = client.set_quotas(user_id, **limits)
    if user.usage is not None:
        typer.echo(f"{user.email}: {usage_line(user.usage)}")


@app.command("disable")
def user_disable(email: Email, server: ServerOption = None) -> None:
    """Let nobody sign in with an account any more, and end its logins; what it has is kept."""
    with administrator(server) as client:
        client.disable_user(_user_id(client, email))
    typer.echo(f"disabled {email}")


@app.command("enable")
def user_enable(email: Email, server: ServerOption = None) -> None:
    """Let a disabled account sign in again."""
    with administrator(server) as client:
        client.change_user(_user_id(client, email), disabled=False)
    typer.echo(f"enabled {email}")


def _user_id(client: Client, email: str) -> str:
    found = next(client.users(email=email), None)
    if found is None:
        fail(f"no account {email}")
    return found.user_id


def _shown(used: Used, *, size: bool, own: bool) -> str:
    text = size_text if size else str
    limit = "-" if used.limit is None else text(used.limit)
    return f"{text(used.used)} / {limit}{'*' if own else ''}"


def _number(text: str) -> int | None:
    """Return the number of ``500``, ``20G`` …, None for ``default``; ends the command for anything else."""
    if text == "default":
        return None
    found = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        fail(f"{text!r} is no amount: 500, 128M, 20G, 0 for no limit, or default")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2].upper()]
