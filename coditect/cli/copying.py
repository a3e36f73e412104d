"""`coditect cp`: files, and with -r directories, to and from a workspace.

A directory travels as one tar stream each way: names, permissions, times and links arrive as they are,
and thousands of small files are one request.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from coditect.cli.common import ServerOption, fail, pick, saved_line, signed_in
from coditect.cli.running import run
from coditect.errors import InvalidRequest, NotFound
from coditect.sync import Client

UNPACK_SECONDS = 600.0


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
    with _packed(source) as stream:
        _unpack(client, session_id, stream, str(source), path)
    typer.echo(f"copied {source} to {path}")


def _unpack(client: Client, session_id: str, stream: BinaryIO, source: str, path: str) -> None:
    """Unpack a tar stream in a directory of the workspace, which is made if it is not there."""
    if path:
        client.make_directory(session_id, path)
    unpack = ["tar", "-x", "-p", "-f", "-", "-C", path or "."]
    done = run(client, session_id, unpack, stream, timeout=UNPACK_SECONDS)
    if done.exit_code:
        fail(f"not all of {source} was copied: {done.stderr.strip()}")


@contextlib.contextmanager
def _packed(source: Path) -> Iterator[BinaryIO]:
    """Give a directory's contents as a tar stream, made while it is read."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def pack() -> None:
        try:
            with (
                os.fdopen(writing, "wb") as out,
                tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive,
            ):
                for entry in sorted(source.iterdir()):
                    archive.add(entry, arcname=entry.name, filter=_without_owner)
        except BaseException as error:  # noqa: BLE001 - raised by who reads
            failed.append(error)

    thread = threading.Thread(target=pack, name="tar", daemon=True)
    thread.start()
    try:
        with os.fdopen(reading, "rb") as stream:
            yield stream
    finally:
        thread.join()
    unread = [error for error in failed if not isinstance(error, BrokenPipeError)]
    if unread:
        raise unread[0]


def _without_owner(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def _download_directory(client: Client, session_id: str, path: str, target: str) -> None:
    """Put a directory into one that is there, or make it under that name, as cp(1) does."""
    if target == "-":
        for piece in client.stream_directory(session_id, path):
            sys.stdout.buffer.write(piece)
        return
    place = Path(target)
    if place.is_dir() and path.strip("/"):
        place = place / Path(path).name
    left_out = 0
    pieces = client.stream_directory(session_id, path)
    stream = cast("BinaryIO", _Pieces(pieces))
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            _, _, inner = entry.name.partition("/")
            try:
                kept = tarfile.data_filter(entry.replace(name=inner or ".", deep=False), str(place))
            except tarfile.FilterError as refused:
                left_out += 1
                typer.echo(f"coditect: left out: {refused}", err=True)
                continue
            place.mkdir(parents=True, exist_ok=True)
            archive.extract(kept, place, filter="fully_trusted")  # what the filter has let through
    if left_out:
        fail(f"{left_out} of {path or 'the workspace'} cannot be on this machine")
    typer.echo(f"copied {path or 'the workspace'} to {place}")


class _Pieces:
    """Pieces as a stream that can be read in any sizes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return that many bytes, fewer only at the end."""
        parts, missing = [], size
        while missing > 0:
            part = self._rest or next(self._pieces, b"")
            if not part:
                break
            parts.append(part[:missing])
            self._rest = part[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)
