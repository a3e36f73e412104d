"""Commands for people: login, logout, ps, shell, logs, keep-awake, history, restore."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from enum import StrEnum
from importlib import metadata
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coditect.cli import copying, logs, network, nodes, ports, running, ssh
from coditect.cli import credentials as stored
from coditect.cli.common import (
    DEFAULT_URL,
    JsonOption,
    ServerOption,
    SessionOption,
    errors,
    fail,
    named,
    pick,
    print_json,
    read_password,
    saved_line,
    signed_in,
    size_text,
    usage_line,
)
from coditect.cli.copying import far
from coditect.models import Session
from coditect.sync import Client

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
running.register(app)
logs.register(app)
copying.register(app)
ssh.register(app)
network.register(app)
nodes.register(app)
ports.register(app)


class Sizing(StrEnum):
    """The rules of ``AsyncTerminal.set_sizing``."""

    LATEST = "latest"
    SMALLEST = "smallest"
    LARGEST = "largest"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coditect {metadata.version('coditect-server')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    """Workspaces that last."""


@app.command()
def login(
    email: Annotated[str | None, typer.Option(help="Account; asked for when left out.")] = None,
    server: ServerOption = None,
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input.")
    ] = False,
) -> None:
    """Sign in and open your workspace; the login is kept for the other commands."""
    url = server or DEFAULT_URL
    email = email or typer.prompt("Email")
    password = read_password(password_stdin)
    with errors(), Client(url) as client:
        answer = client.login(email, password)
        stored.save(
            stored.default_path(),
            stored.Credentials(
                url, email, answer.session_id, answer.access_token, answer.refresh_token
            ),
        )
    typer.echo(f"signed in as {email}; session {answer.session_id} ({answer.container_status})")


@app.command()
def logout() -> None:
    """Revoke the kept login; sessions go on."""
    with signed_in(None) as client:
        client.logout()
    with errors():
        stored.default_path().unlink(missing_ok=True)


LIVES = {
    "active": "active",
    "attached": "attached, at rest",
    "at_rest": "at rest",
    "asleep": "asleep",
}


@app.command()
def ps(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """List your sessions, what you have, and what you may have."""
    with signed_in(server) as client:
        sessions = client.sessions()
        usage = client.me().usage
        details = [client.session(each.session_id) for each in sessions]
    if as_json:
        print_json({"sessions": details, "usage": usage})
        return
    table = Table("session", "name", "status", "life", "container", "epoch", "restarts", box=None)
    for session in sessions:
        table.add_row(
            session.session_id,
            session.name,
            session.status,
            LIVES.get(session.life or "", "-"),
            session.container_status,
            str(session.epoch),
            str(session.restarts),
        )
    Console().print(table)
    if usage is not None:
        typer.echo("used: " + usage_line(usage))
    for each in details:
        for line in _lacking(each):
            typer.echo(f"{each.name}: {line}", err=True)


def _lacking(session: Session) -> Iterator[str]:
    """Yield what is to be said of files that are not archived, or not put back."""
    held, lost = session.unarchived, session.unrestored
    if held is not None and held.paths:
        yield f"{held.paths} paths ({size_text(held.size)}) are not archived"
        if held.resource is not None:
            yield (
                f"the quota of {held.resource.replace('_', ' ')} is used up:"
                " delete something, or have it raised"
            )
        for left in held.left_out:
            if left.reason not in {"quota", "excluded", "special"}:
                yield f"not archived: {left.path} ({left.reason.replace('_', ' ')})"
    if lost is not None and lost.paths:
        yield f"{lost.paths} paths cannot be put back now"
        for left in lost.left_out:
            yield f"not put back: {left.path} ({left.reason.replace('_', ' ')})"


@app.command()
def shell(
    terminal: Annotated[str, typer.Argument(help="Terminal to attach to.")] = "main",
    sizing: Annotated[
        Sizing | None,
        typer.Option(help="By which of its windows the terminal is sized, from now on."),
    ] = None,
    session: SessionOption = None,
    server: ServerOption = None,
) -> None:
    """Attach this terminal to a shell of your workspace. Ctrl-] detaches; the shell goes on."""
    with signed_in(server) as client:
        try:
            from coditect.cli.shell import run_shell  # noqa: PLC0415 - needs a POSIX terminal
        except ImportError:
            fail("a shell needs a terminal of Linux, macOS or WSL; use the browser, or `exec`")
        chosen = pick(client, session)
        raise typer.Exit(run_shell(client, chosen.session_id, terminal, sizing))


@app.command("keep-awake")
def keep_awake(
    duration: Annotated[str, typer.Argument(help="As in 90s, 30m, 8h or 2d; 0 takes it back.")],
    session: SessionOption = None,
    server: ServerOption = None,
) -> None:
    """Keep your workspace from hibernating by itself for some time from now."""
    seconds = _seconds(duration)
    with signed_in(server) as client:
        chosen = pick(client, session)
        idle = client.keep_awake(chosen.session_id, seconds)
    if not idle.hibernate_after:
        typer.echo("workspaces of this server do not hibernate by themselves")
    elif idle.keep_awake_until is None:
        typer.echo(f"hibernates after {idle.hibernate_after / 60:.0f} min without a sign of life")
    else:
        until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(idle.keep_awake_until))
        typer.echo(f"stays awake until {until}")


def _seconds(duration: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``1.5h`` …; ends the command for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", duration.strip())
    if found is None:
        fail(f"{duration!r} is no duration: 90s, 30m, 8h or 2d")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


@app.command()
def history(
    file: Annotated[str, typer.Argument(help="File: `path` or `session:path`.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many of the newest.")] = 50,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the kept versions of a file, the newest first."""
    name, path = far(file) or ("", file)
    with signed_in(server) as client:
        chosen = named(client, name)
        found = client.history(chosen.session_id, path, limit=limit)
    if as_json:
        print_json(found)
        return
    table = Table("version", "time", "type", "size", box=None)
    for each in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.at))
        size = "" if each.type == "deleted" else str(each.size)
        table.add_row(str(each.version), at, each.type, size)
    Console().print(table)


@app.command()
def restore(
    file: Annotated[str, typer.Argument(help="`path@version` or `session:path@version`.")],
    to: Annotated[str | None, typer.Option(help="Put it under this path instead.")] = None,
    server: ServerOption = None,
) -> None:
    """Put a file back as it was at a version; what it is now stays in its history."""
    name, path = far(file) or ("", file)
    path, _, version = path.rpartition("@")
    if not (path and version.isdecimal()):
        fail(f"{file!r} names no version: say path@version, as `coditect history` lists them")
    with signed_in(server) as client:
        chosen = pick(client, name)
        receipt = client.restore_file(chosen.session_id, path, int(version), target=to)
    typer.echo(saved_line(receipt))
