"""Directories of this machine as tar streams, and back: names, permissions, times and links as they are."""

from __future__ import annotations

import contextlib
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

Progress = Callable[[int, int], None]
"""Is told of entries and of bytes so far."""


def silent(entries: int, size: int) -> None:
    """Tell nobody."""
    del entries, size


@contextlib.contextmanager
def packed(source: Path, progress: Progress = silent) -> Iterator[BinaryIO]:
    """Give a directory's contents as a tar stream, made while it is read."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []
    entries = size = 0

    def noted(info: tarfile.TarInfo) -> tarfile.TarInfo:
        nonlocal entries, size
        entries, size = entries + 1, size + info.size
        progress(entries, size)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    def pack() -> None:
        try:
            with (
                os.fdopen(writing, "wb") as out,
                tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive,
            ):
                for entry in sorted(source.iterdir()):
                    archive.add(entry, arcname=entry.name, filter=noted)
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


def unpack(
    pieces: Iterator[bytes], place: Path, progress: Progress = silent
) -> list[tuple[str, str]]:
    """Make a directory of a stream whose entries lie below one of their own; return what was not made.

    Nothing leads out of the directory: such names and links are left out.
    """
    left_out: list[tuple[str, str]] = []
    entries = size = 0
    stream = cast("BinaryIO", _Pieces(pieces))
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            _, _, inner = entry.name.partition("/")
            try:
                kept = tarfile.data_filter(entry.replace(name=inner or ".", deep=False), str(place))
            except tarfile.FilterError as refused:
                left_out.append((inner, str(refused)))
                continue
            place.mkdir(parents=True, exist_ok=True)
            archive.extract(kept, place, filter="fully_trusted")  # what the filter has let through
            entries, size = entries + 1, size + entry.size
            progress(entries, size)
    return left_out


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
