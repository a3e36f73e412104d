"""Directories of this machine as tar streams, and back: names, permissions, times and links as they are."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

Progress = Callable[[int, int], None]
"""Is told of entries and of bytes so far."""


_FULL = {errno.ENOSPC, errno.EDQUOT}


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

    Nothing leads out of the directory: such names and links are left out, and no link is followed. Raises
    OSError when the disk is full.
    """
    left_out: list[tuple[str, str]] = []
    entries = size = 0
    stream = cast("BinaryIO", _Pieces(pieces))
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            _, _, inner = entry.name.partition("/")
            try:
                _make(archive, entry, inner, place)
            except _Refused as refused:
                left_out.append((inner, str(refused)))
            except OSError as error:
                if error.errno in _FULL:
                    raise
                left_out.append((inner, error.strerror or "input/output error"))
            else:
                entries, size = entries + 1, size + entry.size
                progress(entries, size)
    return left_out


class _Refused(Exception):
    """An entry that is not made, for the reason in its text."""


def _make(archive: tarfile.TarFile, entry: tarfile.TarInfo, inner: str, place: Path) -> None:
    """Make one entry. By rules of our own: the library's (PEP 706) depend on the version of Python."""
    parts = _parts(inner)
    if entry.isdir():
        _directory(place, parts)
        return
    if not parts:
        raise _Refused("it names the directory itself")
    target = _directory(place, parts[:-1]) / parts[-1]
    if entry.issym():
        link = _checked_link(parts, entry.linkname)
        _make_room(target)
        target.symlink_to(link)
    elif entry.islnk():
        *above, name = _parts(entry.linkname.partition("/")[2]) or [""]
        original = _directory(place, above) / name
        if not name or original.is_symlink() or not original.is_file():
            raise _Refused("its target is no file")
        if original != target:
            _make_room(target)
            os.link(original, target)
    elif entry.isreg():
        _make_room(target)
        source = archive.extractfile(entry)
        assert source is not None
        try:
            with open(target, "xb", opener=_private) as file:
                shutil.copyfileobj(source, file)
        except OSError:
            _make_room(target)
            raise
        target.chmod(_mode(entry.mode))
        with contextlib.suppress(OverflowError, ValueError, OSError):  # a time that no clock shows
            os.utime(target, (entry.mtime, entry.mtime))
    else:
        raise _Refused("neither a file nor a directory nor a link")


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in {"", "."}]
    strange = name.startswith("/") or ".." in parts or "\0" in name
    if strange or (os.sep != "/" and any(os.sep in part or ":" in part for part in parts)):
        raise _Refused("its name leads out of the directory")
    return parts


def _directory(place: Path, parts: list[str]) -> Path:
    """Return a directory below, made if need be; no link in an archive's way is followed."""
    place.mkdir(parents=True, exist_ok=True)
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise _Refused("a part of its path is a link")
        place.mkdir(exist_ok=True)
    return place


def _checked_link(parts: list[str], target: str) -> str:
    """Return a link's target. Upwards it goes at its beginning only, where no other link can be meant."""
    steps = [part for part in target.split("/") if part not in {"", "."}]
    up = next((index for index, step in enumerate(steps) if step != ".."), len(steps))
    leads_out = target.startswith("/") or up > len(parts) - 1 or ".." in steps[up:]
    if (
        leads_out
        or "\0" in target
        or not target
        or (os.sep != "/" and (os.sep in target or ":" in target))
    ):
        raise _Refused("a link out of the directory")
    return target


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _make_room(target: Path) -> None:
    """Remove what a file or link replaces: written through, it could be a link to elsewhere."""
    with contextlib.suppress(FileNotFoundError):
        target.unlink()


def _mode(mode: int) -> int:
    """Return a file's permissions: its owner's, and at most to read and run it for others."""
    return (mode & 0o755) | 0o600


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
