"""Commands for people: login, logout, ps, shell, exec, keep-awake, cp, history, restore."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, BinaryIO, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from coditect.cli import credentials as stored
from coditect.cli.shell import run_shell
from coditect.errors import ClientError, NotFound, Unauthorized
from coditect.models import Session, Usage, Used
from coditect.sync import Client

DEFAULT_URL = "http://127.0.0.1:8080"

app = typer.Typer(no_args_is_help=True)

ServerOption = Annotated[
    str | None, typer.Option("--server", envvar="CODITECT_URL", help="Address of the server.")
]
SessionOption = Annotated[
    str | None, typer.Option("--session", "-s", help="Session id or name; yours when left out.")
]


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
    with _errors(), Client(url) as client:
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
    with _signed_in(None) as client:
        client.logout()
    with _errors():
        stored.default_path().unlink(missing_ok=True)


@app.command()
def ps(server: ServerOption = None) -> None:
    """List your sessions, what you have, and what you may have."""
    with _signed_in(server) as client:
        sessions = client.sessions()
        usage = client.me().usage
        details = [client.session(each.session_id) for each in sessions]
    table = Table("session", "name", "status", "container", "epoch", "restarts", box=None)
    for session in sessions:
        table.add_row(
            session.session_id,
            session.name,
            session.status,
            session.container_status,
            str(session.epoch),
            str(session.restarts),
        )
    Console().print(table)
    if usage is not None:
        typer.echo("used: " + usage_line(usage))
    for each in details:
        if each.unarchived is not None:
            held = each.unarchived
            typer.echo(
                f"{each.name}: {held.paths} paths ({size_text(held.size)}) are not archived, for the"
                f" quota of {held.resource.replace('_', ' ')}: delete something, or have it raised",
                err=True,
            )


@app.command()
def shell(
    terminal: Annotated[str, typer.Argument(help="Terminal to attach to.")] = "main",
    session: SessionOption = None,
    server: ServerOption = None,
) -> None:
    """Attach this terminal to a shell of your workspace. Ctrl-] detaches; the shell goes on."""
    with _signed_in(server) as client:
        chosen = _pick(client, session)
        raise typer.Exit(run_shell(client, chosen.session_id, terminal))


@app.command()
def logs(
    terminal: Annotated[str, typer.Argument(help="Whose output.")] = "main",
    session: SessionOption = None,
    offset: Annotated[int, typer.Option(min=0, help="First byte wanted.")] = 0,
    server: ServerOption = None,
) -> None:
    """Print what a terminal of your workspace has printed, as far as it is kept."""
    with _signed_in(server) as client:
        chosen = _pick(client, session)
        for part in client.output(chosen.session_id, terminal, offset=offset):
            sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec(  # noqa: A001 - the command's name
    argv: Annotated[list[str], typer.Argument(help="Command and its arguments.")],
    session: SessionOption = None,
    cwd: Annotated[str | None, typer.Option(help="Directory, relative to the workspace.")] = None,
    timeout: Annotated[float, typer.Option(help="Limit in seconds.")] = 30.0,
    server: ServerOption = None,
) -> None:
    """Run a command in your workspace; its exit code is this command's."""
    with _signed_in(server) as client:
        chosen = _pick(client, session)
        result = client.exec(chosen.session_id, argv, cwd=cwd, timeout_seconds=timeout)
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    if result.timed_out:
        fail(f"killed after {timeout:g} s", 124)
    # A signal's number comes as a negative code; shells say 128 + number.
    raise typer.Exit(result.exit_code if result.exit_code >= 0 else 128 - result.exit_code)


@app.command("keep-awake")
def keep_awake(
    duration: Annotated[str, typer.Argument(help="As in 90s, 30m, 8h or 2d; 0 takes it back.")],
    session: SessionOption = None,
    server: ServerOption = None,
) -> None:
    """Keep your workspace from hibernating by itself for some time from now."""
    seconds = _seconds(duration)
    with _signed_in(server) as client:
        chosen = _pick(client, session)
        idle = client.keep_awake(chosen.session_id, seconds)
    if not idle.hibernate_after:
        typer.echo("workspaces of this server do not hibernate by themselves")
    elif idle.keep_awake_until is None:
        typer.echo(f"hibernates after {idle.hibernate_after / 60:.0f} min without a sign of life")
    else:
        until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(idle.keep_awake_until))
        typer.echo(f"stays awake until {until}")


def usage_line(usage: Usage) -> str:
    """Return what is used of each resource, in a line."""
    sizes = {"files": usage.file_bytes, "output": usage.journal_bytes}
    counts = {"paths": usage.files, "containers": usage.containers, "sessions": usage.sessions}
    parts = [f"{name} {_of(used, size_text)}" for name, used in sizes.items()]
    return ", ".join(parts + [f"{name} {_of(used, str)}" for name, used in counts.items()])


def _of(used: Used, text: Callable[[int], str]) -> str:
    full = "" if used.limit is None or used.used < used.limit else " (all)"
    return text(used.used) + (f" of {text(used.limit)}{full}" if used.limit is not None else "")


def size_text(size: int) -> str:
    """Return a number of bytes as people read it."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def _seconds(duration: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``1.5h`` …; ends the command for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", duration.strip())
    if found is None:
        fail(f"{duration!r} is no duration: 90s, 30m, 8h or 2d")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


@app.command()
def cp(
    source: Annotated[
        str, typer.Argument(help="File; `:path` or `session:path` is in a workspace.")
    ],
    target: Annotated[str, typer.Argument(help="Likewise; `-` is standard output.")],
    server: ServerOption = None,
) -> None:
    """Copy a file to or from a workspace."""
    far_source, far_target = _far(source), _far(target)
    if (far_source is None) == (far_target is None):
        fail(
            "one side must be in a workspace (`:path` or `session:path`), the other on this machine"
        )
    with _signed_in(server) as client:
        if far_source is not None:
            chosen = _pick(client, far_source[0])
            _download(client, chosen.session_id, far_source[1], target)
        elif far_target is not None:
            chosen = _pick(client, far_target[0])
            path = far_target[1] or Path(source).name
            path = path + Path(source).name if path.endswith("/") else path
            with _open_local(source) as file:
                receipt = client.write_file(chosen.session_id, path, file)
            typer.echo(f"saved {receipt.path}, {receipt.size} bytes, version {receipt.version}")


@app.command()
def history(
    file: Annotated[str, typer.Argument(help="File: `path` or `session:path`.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many of the newest.")] = 50,
    server: ServerOption = None,
) -> None:
    """List the kept versions of a file, the newest first."""
    name, path = _far(file) or ("", file)
    with _signed_in(server) as client:
        chosen = _named(client, name)
        found = client.history(chosen.session_id, path, limit=limit)
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
    name, path = _far(file) or ("", file)
    path, _, version = path.rpartition("@")
    if not (path and version.isdecimal()):
        fail(f"{file!r} names no version: say path@version, as `coditect history` lists them")
    with _signed_in(server) as client:
        chosen = _pick(client, name)
        receipt = client.restore_file(chosen.session_id, path, int(version), target=to)
    typer.echo(f"saved {receipt.path}, {receipt.size} bytes, version {receipt.version}")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))


@contextmanager
def _signed_in(server: str | None) -> Iterator[Client]:
    path = stored.default_path()
    with _errors():
        login = stored.load(path)
    if login is None or (server is not None and server.rstrip("/") != login.url.rstrip("/")):
        fail("not signed in" + (f" at {server}" if server else "") + "; run `coditect login`")
    client = Client(login.url, access_token=login.access_token, refresh_token=login.refresh_token)
    with _errors(), client:
        try:
            yield client
        except Unauthorized as error:
            fail(f"the login has ended ({error.detail}); run `coditect login`")
        finally:
            tokens = client.access_token, client.refresh_token
            if tokens[0] and tokens[1] and tokens[0] != login.access_token:
                stored.save(path, replace(login, access_token=tokens[0], refresh_token=tokens[1]))


@contextmanager
def administrator(server: str | None) -> Iterator[Client]:
    """Give a client that is signed in as kept, or as the environment's administrator."""
    email = os.environ.get("CODITECT_ADMIN_EMAIL")
    password = os.environ.get("CODITECT_ADMIN_PASSWORD")
    with _errors():
        kept = stored.load(stored.default_path())
    if kept is not None or not (email and password):
        with _signed_in(server) as client:
            yield client
        return
    with _errors(), Client(server or DEFAULT_URL) as client:
        client.login(email, password)
        yield client


def _pick(client: Client, wanted: str | None) -> Session:
    sessions = client.sessions()
    for session in sessions:
        if wanted in {None, "", session.session_id, session.name}:
            return client.resume(session.session_id) if session.status == "hibernated" else session
    if wanted:
        raise NotFound(404, "not_found", f"no session {wanted!r}")
    return client.open_session()


def _named(client: Client, wanted: str) -> Session:
    """Return a session without waking it."""
    for session in client.sessions():
        if wanted in {"", session.session_id, session.name}:
            return session
    raise NotFound(404, "not_found", f"no session {wanted!r}" if wanted else "no session")


def _far(argument: str) -> tuple[str, str] | None:
    name, colon, path = argument.partition(":")
    if not colon or "/" in name:
        return None
    return name, path.lstrip("/")


def _download(client: Client, session_id: str, path: str, target: str) -> None:
    pieces = client.stream_file(session_id, path)
    if target == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    place = Path(target)
    if place.is_dir():
        place = place / Path(path).name
    partial = place.with_name(place.name + ".partial")
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _open_local(source: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb")


def read_password(from_stdin: bool, *, confirm: bool = False) -> str:
    """Return a password from standard input, or asked for."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("no terminal to ask for the password; use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm))


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with a message."""
    typer.echo(f"coditect: {message}", err=True)
    raise typer.Exit(code)
