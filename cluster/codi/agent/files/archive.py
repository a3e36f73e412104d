"""A directory of the workspace as a tar stream (POSIX.1-2001 pax format). Blocking: run in a thread.

Nothing is gathered: a part is made when it is asked for, so an archive takes no disk and little memory
whatever its size. What lies in the directory may change meanwhile: a file has the length it had when
its turn came, and one that becomes shorter than that breaks the stream off. What cannot be put in, for
want of permission or because it is no file, is listed at the end in ``NOT_IN_THIS_ARCHIVE``.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Generator, Iterator

from cluster.codi.agent.files.paths import Workspace
from cluster.codi.agent.files.temporary import is_temporary

NOT_IN_THIS_ARCHIVE = "not-in-this-archive.txt"

_PART = 256 << 10
_MAX_LISTED = 1000
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_END = bytes(2 * tarfile.BLOCKSIZE)


class Archive:
    """An iterator over the parts of the stream, each of some 256 KiB. Close it."""

    def __init__(self, workspace: Workspace, path: bytes) -> None:
        """Look at the directory that a parsed path names. Raises OSError: there is none."""
        os.close(workspace.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK))
        self._workspace = workspace
        self._path = path
        self._root = b"workspace" if path == b"." else path.rpartition(b"/")[2]
        self._left_out: list[str] = []
        self._more_left_out = 0
        self._parts = self._gathered()

    def next(self) -> bytes:
        """Return the next part; b"" at the end. Raises OSError when the stream cannot go on."""
        return next(self._parts, b"")

    def close(self) -> None:
        """Let go of what is open."""
        self._parts.close()

    def _gathered(self) -> Generator[bytes, None, None]:
        """Put small pieces together: one entry is often no more than a block."""
        waiting = bytearray()
        for piece in self._pieces():
            waiting += piece
            if len(waiting) >= _PART:
                yield bytes(waiting)
                waiting.clear()
        yield bytes(waiting + _END)

    def _pieces(self) -> Iterator[bytes]:
        yield self._directory_header(b"")
        levels = [self._names(b"")]
        while levels:
            inner = next(levels[-1], None)
            if inner is None:
                levels.pop()
                continue
            try:
                is_directory = yield from self._entry(inner)
            except BrokenOffError:
                raise
            except OSError as error:
                self._leave_out(inner, error.strerror or type(error).__name__)
                continue
            if is_directory:
                levels.append(self._names(inner))
        yield from self._report()

    def _names(self, inner: bytes) -> Iterator[bytes]:
        """Return the paths below a directory of the archive, in the order of names."""
        try:
            directory = self._workspace.open(self._at(inner), _OPEN | os.O_DIRECTORY)
        except OSError as error:
            self._leave_out(inner, error.strerror or "")
            return iter(())
        try:
            names = sorted(os.fsencode(name) for name in os.listdir(directory))
        finally:
            os.close(directory)
        return (inner + b"/" + name if inner else name for name in names if not is_temporary(name))

    def _entry(self, inner: bytes) -> Generator[bytes, None, bool]:
        """Yield what stands for one entry; return whether it is a directory, whose names follow."""
        parent, name = self._workspace.parent(self._at(inner))
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            link = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(status.st_mode) else None
        finally:
            os.close(parent)
        if stat.S_ISREG(status.st_mode):
            yield from self._file(inner)
        elif stat.S_ISDIR(status.st_mode):
            yield self._directory_header(inner)
            return True
        elif link is not None:
            info = self._info(inner, status)
            info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(link)
            yield _packed(info)
        else:
            self._leave_out(inner, "neither a file nor a directory nor a link")
        return False

    def _file(self, inner: bytes) -> Iterator[bytes]:
        fd = self._workspace.open(self._at(inner), _OPEN)
        try:
            status = os.fstat(fd)
            info = self._info(inner, status)
            info.size = status.st_size
            yield _packed(info)
            offset = 0
            while offset < info.size:
                data = _read(fd, min(_PART, info.size - offset), offset)
                yield data
                offset += len(data)
            yield bytes(-info.size % tarfile.BLOCKSIZE)
        finally:
            os.close(fd)

    def _directory_header(self, inner: bytes) -> bytes:
        fd = self._workspace.open(self._at(inner), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            info = self._info(inner, os.fstat(fd))
        finally:
            os.close(fd)
        info.type = tarfile.DIRTYPE
        return _packed(info)

    def _info(self, inner: bytes, status: os.stat_result) -> tarfile.TarInfo:
        """Return an entry's name, permissions and time; owners mean nothing outside."""
        info = tarfile.TarInfo(os.fsdecode(self._root + b"/" + inner if inner else self._root))
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = int(status.st_mtime)
        return info

    def _report(self) -> Iterator[bytes]:
        if not self._left_out:
            return
        lines = [
            *self._left_out,
            *([f"and {self._more_left_out} more"] * bool(self._more_left_out)),
        ]
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        info = tarfile.TarInfo(f"{os.fsdecode(self._root)}/{NOT_IN_THIS_ARCHIVE}")
        info.size = len(text)
        yield _packed(info) + text + bytes(-len(text) % tarfile.BLOCKSIZE)

    def _leave_out(self, inner: bytes, reason: str) -> None:
        if len(self._left_out) < _MAX_LISTED:
            self._left_out.append(f"{os.fsdecode(inner)!r}: {reason}")
        else:
            self._more_left_out += 1

    def _at(self, inner: bytes) -> bytes:
        if self._path == b".":
            return inner or b"."
        return self._path + b"/" + inner if inner else self._path


class BrokenOffError(OSError):
    """A file cannot be read to the length that its header in the stream has promised."""


def _read(fd: int, size: int, offset: int) -> bytes:
    try:
        data = os.pread(fd, size, offset)
    except OSError as error:
        raise BrokenOffError(error.errno, error.strerror) from error
    if not data:
        raise BrokenOffError(errno.EIO, "the file became shorter")
    return data


def _packed(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
