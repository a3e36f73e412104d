"""Plumbing of the commands: the kept login, the session that is meant, errors in a line, JSON on request."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass, replace
from typing import Annotated, Any, NoReturn

import typer

from coditect.cli import credentials as stored
from coditect.errors import ClientError, NotFound, Unauthorized
from coditect.models import Receipt, Session, Usage, Used
from coditect.sync import Client

DEFAULT_URL = "http://127.0.0.1:8080"

ServerOption = Annotated[
    str | None, typer.Option("--server", envvar="CODITECT_URL", help="Address of the server.")
]
SessionOption = Annotated[
    str | None, typer.Option("--session", "-s", help="Session id or name; yours when left out.")
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def errors() -> Iterator[None]:
    """End the command with a line for what people can do something about."""
    try:
        yield
    except ClientError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))


@contextmanager
def signed_in(server: str | None) -> Iterator[Client]:
    """Give a client with the kept login, and keep what its refreshes make of it."""
    path = stored.default_path()
    with errors():
        login = stored.load(path)
    if login is None or (server is not None and server.rstrip("/") != login.url.rstrip("/")):
        fail("not signed in" + (f" at {server}" if server else "") + "; run `coditect login`")
    client = Client(login.url, access_token=login.access_token, refresh_token=login.refresh_token)
    with errors(), client:
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
    with errors():
        kept = stored.load(stored.default_path())
    if kept is not None or not (email and password):
        with signed_in(server) as client:
            yield client
        return
    with errors(), Client(server or DEFAULT_URL) as client:
        client.login(email, password)
        yield client


def pick(client: Client, wanted: str | None) -> Session:
    """Return a session by id or name, awake; the first one, opened if need be, when none is named."""
    sessions = client.sessions()
    for session in sessions:
        if wanted in {None, "", session.session_id, session.name}:
            return client.resume(session.session_id) if session.status == "hibernated" else session
    if wanted:
        raise NotFound(404, "not_found", f"no session {wanted!r}")
    return client.open_session()


def named(client: Client, wanted: str) -> Session:
    """Return a session without waking it."""
    for session in client.sessions():
        if wanted in {"", session.session_id, session.name}:
            return session
    raise NotFound(404, "not_found", f"no session {wanted!r}" if wanted else "no session")


def usage_line(usage: Usage) -> str:
    """Return what is used of each resource, in a line."""
    sizes = {"files": usage.file_bytes, "output": usage.journal_bytes}
    counts = {
        "paths": usage.files,
        "containers": usage.containers,
        "sessions": usage.sessions,
        "variables": usage.variables,
    }
    parts = [f"{name} {_of(used, size_text)}" for name, used in sizes.items()]
    return ", ".join(parts + [f"{name} {_of(used, str)}" for name, used in counts.items()])


def _of(used: Used, text: Callable[[int], str]) -> str:
    full = "" if used.limit is None or used.used < used.limit else " (all)"
    return text(used.used) + (f" of {text(used.limit)}{full}" if used.limit is not None else "")


def saved_line(receipt: Receipt) -> str:
    """Return what is said of a save; of one that is not durable, that it is not."""
    line = f"saved {receipt.path}, {receipt.size} bytes"
    if receipt.durable:
        return f"{line}, version {receipt.version}"
    why = (receipt.reason or "left out").replace("_", " ")
    return f"{line}, in the container only: not archived ({why})"


def size_text(size: int) -> str:
    """Return a number of bytes as people read it."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


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


def print_json(value: Any) -> None:
    """Print a value, dataclasses as objects, as one JSON document."""
    typer.echo(json.dumps(value, default=_plain, indent=2))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
