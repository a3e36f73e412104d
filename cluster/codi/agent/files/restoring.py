"""Putting a workspace back: what is missing is made, what is there stays as it is. Blocking.

Nothing is brought to the disk file by file: until the server has had all of it synced, the directory
counts as incomplete and is restored again after a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Any

from cluster.codi.agent import kernel
from cluster.codi.agent.errors import AgentError, invalid, invalid_path
from cluster.codi.agent.files import temporary
from cluster.codi.agent.files.contents import Item, Span, item, look_at
from cluster.codi.agent.files.paths import Workspace, parse

Header = dict[str, Any]
"""``{path, kind, mode, mtime_ns, size, target, holes}``: of a sparse file, holes by offset and length.

The bytes of a record are those of its data alone.
"""

_BLOCK = 64 << 10
_ZEROS = bytes(_BLOCK)
_IN_THE_WAY = {errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EISDIR}
_MAX_OPEN = 32


class PutBack:
    """Puts back what one request brings. ``made`` are items, ``failed`` pairs of a path and the reason.

    What cannot be made because of what is there by now is neither. Used by one thread at a time.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.made: list[Item] = []
        self.failed: list[list[str]] = []

    def make(self, records: Sequence[tuple[Header, bytes]]) -> None:
        """Make directories, links, and files whose content is there as a whole."""
        directories = _Directories(self._workspace)
        try:
            for header, data in records:
                with self._noting(header):
                    if (found := self._one(header, data, directories)) is not None:
                        self.made.append(found)
        finally:
            directories.close()

    def begin(self, header: Header) -> Restored | None:
        """Begin a file that comes in parts; None when it cannot be, or something is there already."""
        with self._noting(header):
            path = _path(header)
            if header.get("kind") != "f":
                raise invalid("kind: bytes belong to a file")
            directory, name = self._workspace.parent(path, make=True)
            try:
                if _is_there(directory, name):
                    return None
                return Restored(os.dup(directory), name, path, header)
            finally:
                os.close(directory)
        return None

    def write(self, file: Restored, header: Header, data: bytes) -> bool:
        """Add to a file; false when that failed."""
        with self._noting(header):
            file.write(data)
            return True
        return False

    def finish(self, file: Restored, header: Header) -> None:
        """Put a file that is complete into place."""
        with self._noting(header):
            if (found := file.finish()) is not None:
                self.made.append(found)

    def _one(self, header: Header, data: bytes, directories: _Directories) -> Item | None:
        path, workspace = _path(header), self._workspace
        mode, mtime_ns = int(header.get("mode", 0)), int(header.get("mtime_ns", 0))
        match header.get("kind"):
            case "d":
                return make_directory(workspace, path, mode)
            case "m":
                return set_mode(workspace, path, mode)
            case "l":
                target = str(header["target"]).encode("utf-8", "surrogateescape")
                return make_link(workspace, path, target, mtime_ns)
            case "s":
                sync(workspace)
                return None
            case "f":
                directory, name = directories.of(path)
                if _is_there(directory, name):
                    return None
                file = Restored(os.dup(directory), name, path, header)
                try:
                    file.write(data)
                    return file.finish()
                finally:
                    file.discard()
        raise invalid("kind: f, d, l, m or s")

    @contextlib.contextmanager
    def _noting(self, header: Header) -> Iterator[None]:
        """Note that a path cannot be made, and why."""
        try:
            yield
        except (OSError, AgentError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, OSError) and error.errno in _IN_THE_WAY:
                return
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.failed.append([str(header.get("path")), reason or "input/output error"])


class _Directories:
    """Open directories of one batch: files that lie together are put back together."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: dict[bytes, int] = {}

    def of(self, path: bytes) -> tuple[int, bytes]:
        """Return the directory of a path, which is made if need be, and the name in it."""
        parent, _, name = path.rpartition(b"/")
        if path == b"." or parent not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self.close()
            self._open[parent] = self._workspace.parent(path, make=True).directory
        return self._open[parent], name

    def close(self) -> None:
        """Close them."""
        while self._open:
            os.close(self._open.popitem()[1])


class Restored:
    """A file on its way back: invisible until ``finish``, gone after ``discard``."""

    def __init__(self, directory: int, name: bytes, path: bytes, header: Header) -> None:
        """Create the temporary file. ``directory`` is open, and closed by this from now on."""
        self._directory, self._name, self._path = directory, name, path
        self._temporary = temporary.new_name()
        self._offset = 0
        try:
            self._holes = spans(header.get("holes", []))
            self._mode, self._mtime_ns = int(header["mode"]), int(header["mtime_ns"])
            self._size = int(header["size"])
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._temporary, flags, 0o600, dir_fd=self._directory)
        except BaseException:
            os.close(self._directory)
            raise

    def write(self, data: bytes) -> None:
        """Add data behind what was written, or behind the holes that follow; zeros become holes, too."""
        view = memoryview(data)
        while view:
            self._skip_hole()
            room = self._holes[0][0] - self._offset if self._holes else len(view)
            self._write_sparsely(view[:room])
            view = view[room:]

    def _skip_hole(self) -> None:
        while self._holes and self._holes[0][0] <= self._offset:
            self._offset = sum(self._holes.pop(0))

    def _write_sparsely(self, view: memoryview) -> None:
        begin = 0
        for start in range(0, len(view), _BLOCK):
            part = view[start : start + _BLOCK]
            if part[0] == 0 and part == _ZEROS[: len(part)]:
                self._write_at(view[begin:start], begin)
                begin = start + len(part)
        self._write_at(view[begin:], begin)
        self._offset += len(view)

    def _write_at(self, part: memoryview, start: int) -> None:
        done = 0
        while done < len(part):
            done += os.pwrite(self._fd, part[done:], self._offset + start + done)

    def finish(self) -> Item | None:
        """Put it into place unless something is there; return how it is now.

        None if it was not put, or was written to at once: what it holds then has to be looked at.
        """
        self._skip_hole()
        if self._size != self._offset:
            raise invalid(f"{self._offset} of {self._size} bytes came")
        os.ftruncate(self._fd, self._size)
        os.fchmod(self._fd, self._mode)
        os.utime(self._fd, ns=(self._mtime_ns, self._mtime_ns))
        before = os.fstat(self._fd)
        try:
            kernel.rename_new(self._directory, self._temporary, self._directory, self._name)
        except FileExistsError:
            return None
        self._temporary = b""
        after = os.fstat(self._fd)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return None
        return item(self._path, after, None)

    def discard(self) -> None:
        """Close, and remove what was not put into place. Once."""
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._directory)
        os.close(self._fd)
        os.close(self._directory)


def sync(workspace: Workspace) -> None:
    """Bring everything in the workspace's file system to the disk."""
    fd = workspace.open(b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        kernel.sync_filesystem(fd)
    finally:
        os.close(fd)


def make_directory(workspace: Workspace, path: bytes, mode: int) -> Item | None:
    """Make a directory and those above it, open to its owner; None when something was there.

    A directory that was there is opened to its owner, too: its final mode comes at the end.
    """
    directory, name = workspace.parent(path, make=True)
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
        os.chmod(name, mode | 0o700, dir_fd=directory)
    except FileExistsError:
        _open_to_owner(directory, name, mode)
        return None
    finally:
        os.close(directory)
    return look_at(workspace, path)


def _open_to_owner(directory: int, name: bytes, mode: int) -> None:
    """Let the owner into a directory that an earlier restore, or a program, has closed."""
    # No permission of the directory itself is needed for this, and no link is followed.
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    try:
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            os.chmod(b"/proc/self/fd/%d" % fd, mode | 0o700)
    finally:
        os.close(fd)


def _is_there(directory: int, name: bytes) -> bool:
    """Return whether a name is taken. Asked first: nothing has to be written to leave a file as it is."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def make_link(workspace: Workspace, path: bytes, target: bytes, mtime_ns: int) -> Item | None:
    """Make a symbolic link, wherever it leads; None when something was there."""
    directory, name = workspace.parent(path, make=True)
    try:
        os.symlink(target, name, dir_fd=directory)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        return None
    finally:
        os.close(directory)
    return look_at(workspace, path)


def set_mode(workspace: Workspace, path: bytes, mode: int) -> Item | None:
    """Give a directory its permissions, after all that goes into it."""
    try:
        fd = workspace.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES}:
            return None
        raise
    try:
        os.fchmod(fd, mode)
        return item(path, os.fstat(fd), None)
    finally:
        os.close(fd)


def _path(header: Header) -> bytes:
    value = header.get("path")
    if not isinstance(value, str):
        raise invalid_path("path: a text")
    return parse(value.encode("utf-8", "surrogateescape"))


def spans(value: Any) -> list[Span]:
    """Return holes that come in order. Raises AgentError."""
    found, end = [], 0
    for each in value if isinstance(value, list) else [None]:
        match each:
            case [int(offset), int(length)] if offset >= end and length > 0:
                found.append((offset, length))
                end = offset + length
            case _:
                raise invalid("holes: pairs of offset and length, in order")
    return found
