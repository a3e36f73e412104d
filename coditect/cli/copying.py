"""`coditect cp`: files, and with -r directories, to and from a workspace.

A directory travels as one tar stream each way: names, permissions, times and links arrive as they are,
and thousands of small files are one request.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from coditect.cli.common import ServerOption, fail, pick, saved_line, signed_in, size_text
from coditect.errors import InvalidRequest, NotFound
from coditect.models import Unpacked
from coditect.sync import Client
from coditect.trees import Progress, silent

PROGRESS_SECONDS = 0.2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(cp)


def cp(
    source: Annotated[
        str, typer.Argument(help="File; `:path` or `session:path` is in a workspace.")
    ],
    target: Annotated[str, typer.Argument(help="Likewise; `-` is standard output.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="A directory with all that is in it.")
    ] = False,
    server: ServerOption = None,
) -> None:
    """Copy a file, or with -r a directory, to or from a workspace; with -r, `-` is a tar stream."""
    far_source, far_target = far(source), far(target)
    if (far_source is None) == (far_target is None):
        fail(
            "one side must be in a workspace (`:path` or `session:path`), the other on this machine"
        )
    with signed_in(server) as client:
        if far_source is not None:
            chosen = pick(client, far_source[0])
            take = _download_directory if recursive else _download
            take(client, chosen.session_id, far_source[1], target)
        elif far_target is not None:
            chosen = pick(client, far_target[0])
            if recursive and source == "-":
                _unpack(client, chosen.session_id, sys.stdin.buffer, source, far_target[1])
            elif recursive and Path(source).is_dir():
                _upload_directory(client, chosen.session_id, Path(source), far_target[1])
            else:
                _upload(client, chosen.session_id, source, far_target[1])


def far(argument: str) -> tuple[str, str] | None:
    """Return session and path of an argument that names something in a workspace."""
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


def _upload(client: Client, session_id: str, source: str, path: str) -> None:
    if source != "-" and Path(source).is_dir():
        fail(f"{source} is a directory: copy it with -r")
    path = path or Path(source).name
    if path.endswith("/") or _is_directory(client, session_id, path):
        path = path.rstrip("/") + "/" + Path(source).name
    with _open_local(source) as file:
        receipt = client.write_file(session_id, path, file)
    typer.echo(saved_line(receipt))


def _open_local(source: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb")


def _is_directory(client: Client, session_id: str, path: str) -> bool:
    try:
        client.tree(session_id, path)
    except (NotFound, InvalidRequest):
        return False
    return True


def _upload_directory(client: Client, session_id: str, source: Path, path: str) -> None:
    """Put a directory into one that is there, or make it under that name, as cp(1) does."""
    path = path.rstrip("/")
    if not path or _is_directory(client, session_id, path):
        path = f"{path}/{source.resolve().name}".lstrip("/")
    with progress_shown(f"to {path}") as progress:
        done = client.upload_directory(session_id, source, path, progress=progress)
    _report(done, str(source))
    typer.echo(f"copied {source} to {path}")


def _unpack(client: Client, session_id: str, stream: BinaryIO, source: str, path: str) -> None:
    """Unpack a tar stream in a directory of the workspace, which is made if it is not there."""
    try:
        done = client.unpack(session_id, path, stream)
    except InvalidRequest as error:
        fail(f"not all of {source} was copied: {error}")
    _report(done, source)


def _report(done: Unpacked, source: str) -> None:
    """Name what was not made, and end the command with that."""
    for each in done.failed:
        typer.echo(f"coditect: left out: {each.path}: {each.reason}", err=True)
    missing = len(done.failed) + done.more_failed
    if missing:
        fail(f"not all of {source} was copied: {missing} of it cannot be there")


def _download_directory(client: Client, session_id: str, path: str, target: str) -> None:
    """Put a directory into one that is there, or make it under that name, as cp(1) does."""
    if target == "-":
        for piece in client.stream_directory(session_id, path):
            sys.stdout.buffer.write(piece)
        return
    place = Path(target)
    if place.is_dir() and path.strip("/"):
        place = place / Path(path).name
    with progress_shown(f"to {place}") as progress:
        left_out = client.download_directory(session_id, path, place, progress=progress)
    for _, reason in left_out:
        typer.echo(f"coditect: left out: {reason}", err=True)
    if left_out:
        fail(f"{len(left_out)} of {path or 'the workspace'} cannot be on this machine")
    typer.echo(f"copied {path or 'the workspace'} to {place}")


@contextlib.contextmanager
def progress_shown(what: str) -> Iterator[Progress]:
    """Give what shows how far a copy is, on a terminal; the last line is taken away at its end."""
    if not sys.stderr.isatty():
        yield silent
        return
    shown_at = 0.0

    def progress(entries: int, size: int) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at >= PROGRESS_SECONDS:
            shown_at = now
            sys.stderr.write(f"\r\x1b[K{entries} entries, {size_text(size)} {what}")
            sys.stderr.flush()

    try:
        yield progress
    finally:
        sys.stderr.write("\r\x1b[K")
