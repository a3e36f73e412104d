"""Answers the questions of the workspace's follower: how paths are, what files consist of, their bytes.

Blocking: run in a thread. Large files are cut where their content says so (FastCDC: Xia et al.,
USENIX ATC 2016), so that a change in the middle leaves the other chunks, and their BLAKE3 names, as
they were. Hashing and chunking are imported by the first who needs them: a container starts without.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from cluster.codi.agent.files.paths import Workspace

T = TypeVar("T")

MIN_CHUNK, MEAN_CHUNK, MAX_CHUNK = 256 << 10, 1 << 20, 4 << 20
LARGE_FILE, LARGE_FACTOR = 2 << 30, 4
"""Files with more data are cut into chunks so many times as large: a file has a limited number."""

LARGEST_CHUNK = LARGE_FACTOR * MAX_CHUNK
MAX_HOLES, MIN_HOLE = 400, 1 << 20
"""Of a sparse file the largest holes are left out; smaller ones are read as the zeros that they are."""

_MAX_EXTENTS = 100_000
_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's blocks are (stat(2))
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ESTALE}

Item = list[Any]
"""``[path, kind, mode, size, mtime_ns, ctime_ns, ino, target, allocated]``, the last one bytes on the disk.

``[path]`` for nothing there, ``[path, "x"]`` for what permissions hide, ``[path, "e"]`` for what is excluded.
"""

IsExcluded = Callable[[bytes], bool]
"""True for a name that is left out, wherever it lies."""

Span = tuple[int, int]
"""Offset and length."""


def item(name: bytes, status: os.stat_result, target: bytes | None) -> Item:
    """Return how something is; kinds are ``f``, ``d``, ``l`` and ``o`` for what is not kept."""
    mode = status.st_mode
    kind = "o"
    if stat.S_ISREG(mode):
        kind = "f"
    elif stat.S_ISDIR(mode):
        kind = "d"
    elif stat.S_ISLNK(mode):
        kind = "l"
    size = status.st_size if kind == "f" else 0
    return [
        os.fsdecode(name), kind, stat.S_IMODE(mode), size, status.st_mtime_ns, status.st_ctime_ns,
        status.st_ino, os.fsdecode(target) if target is not None else None,
        status.st_blocks * _BLOCK_BYTES,
    ]  # fmt: skip


def look(workspace: Workspace, path: bytes, is_excluded: IsExcluded) -> Item:
    """Return how a path is."""
    found = look_at(workspace, path)
    if len(found) > 1 and any(map(is_excluded, path.split(b"/"))):
        return [os.fsdecode(path), "e"]
    return found


def look_at(workspace: Workspace, path: bytes) -> Item:
    """Return how a path is, excluded or not."""
    try:
        directory, name = workspace.parent(path)
    except OSError as error:
        if error.errno in _GONE:
            return [os.fsdecode(path)]
        if error.errno == errno.EACCES:
            return [os.fsdecode(path), "x"]
        raise
    try:
        return [os.fsdecode(path), *_look_at(directory, name)[1:]]
    finally:
        os.close(directory)


def _look_at(directory: int, name: bytes) -> Item:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        link = stat.S_ISLNK(status.st_mode)
        return item(name, status, os.readlink(name, dir_fd=directory) if link else None)
    except FileNotFoundError:
        return [os.fsdecode(name)]
    except PermissionError:
        return [os.fsdecode(name), "x"]


def names(workspace: Workspace, path: bytes) -> list[bytes] | bool | None:
    """Return what lies in a directory, in order; None when there is none, False when it cannot be read."""
    return _read(workspace, path, lambda directory: sorted(map(os.fsencode, os.listdir(directory))))


def listing(
    workspace: Workspace, path: bytes, wanted: Sequence[bytes], is_excluded: IsExcluded
) -> list[Item] | bool | None:
    """Return how names in a directory are, by name alone; as ``names`` when that cannot be said."""

    def look(directory: int) -> list[Item]:
        return [
            [os.fsdecode(name), "e"] if is_excluded(name) else known
            for name in wanted
            if len(known := _look_at(directory, name)) > 1
        ]

    return _read(workspace, path, look)


def _read(workspace: Workspace, path: bytes, read: Callable[[int], T]) -> T | bool | None:
    try:
        directory = workspace.open(path, _LISTED)
    except OSError as error:
        if error.errno in _GONE:
            return None
        if error.errno == errno.EACCES:
            return False
        raise
    try:
        return read(directory)
    finally:
        os.close(directory)


class Opened:
    """A regular file that is open for reading. Close it."""

    def __init__(self, workspace: Workspace, path: bytes) -> None:
        """Open it. Raises OSError, also when a link or anything but a file is there."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        self.fd = workspace.open(path, flags)
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise FileNotFoundError(errno.ENOENT, "it is no file any more")
        self.size = status.st_size
        self.item = item(path, status, None)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes; fewer when the file has become shorter."""
        parts = []
        while size > 0 and (part := os.pread(self.fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def holes(self) -> list[Span]:
        """Return the file's largest holes, in order (lseek(2), SEEK_HOLE)."""
        found: list[Span] = []
        offset = 0
        try:
            for _ in range(_MAX_EXTENTS):
                if offset >= self.size:
                    break
                begin = os.lseek(self.fd, offset, os.SEEK_HOLE)
                end = self._data_after(begin)
                if end - begin >= MIN_HOLE:
                    found.append((begin, end - begin))
                offset = end
        except OSError:
            return []  # a file system that does not know: all of it is read
        found.sort(key=lambda hole: -hole[1])
        return sorted(found[:MAX_HOLES])

    def _data_after(self, offset: int) -> int:
        if offset >= self.size:
            return self.size
        try:
            return min(os.lseek(self.fd, offset, os.SEEK_DATA), self.size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # there is none
                return self.size
            raise

    def factor(self, holes: Sequence[Span]) -> int:
        """Return how many times as large as usual the chunks are: a file has a limited number of them."""
        data = self.size - sum(length for _, length in holes)
        return LARGE_FACTOR if data > LARGE_FILE or (holes and 2 * data > LARGE_FILE) else 1

    def cut(
        self, offset: int, limit: int, holes: Sequence[Span], factor: int
    ) -> Iterator[tuple[bytes, int, int]]:
        """Yield the chunks from an offset on, where one begins: name, offset and size, without the holes.

        At least one, if there is any; none that begins when ``limit`` bytes of data are behind. Where
        chunks end depends on what they hold alone, so that pieces can be cut one by one.
        """
        done = 0
        for begin, end in _between(holes, self.size):
            at = max(begin, offset)
            for name, size in self._chunks(at, end, factor):
                yield name, at, size
                at, done = at + size, done + size
                if done >= limit:
                    return

    def _chunks(self, offset: int, end: int, factor: int) -> Iterator[tuple[bytes, int]]:
        """Yield the names and sizes of the chunks that lie between two offsets."""
        from blake3 import blake3  # noqa: PLC0415 - see the module's text
        from pyfastcdc import FastCDC  # noqa: PLC0415

        smallest, mean, largest = factor * MIN_CHUNK, factor * MEAN_CHUNK, factor * MAX_CHUNK
        cutter = FastCDC(avg_size=mean, min_size=smallest, max_size=largest)
        while offset < end:
            if os.fstat(self.fd).st_nlink == 0:
                return  # as if it became shorter: its blocks are not held for nobody
            window = memoryview(self.read(offset, min(4 * largest, end - offset)))
            if not window:
                return  # it became shorter: whoever asked sees that the sizes do not add up
            last = offset + len(window) >= end
            for chunk in cutter.cut_buf(window):
                # Where the window ends is no boundary, except at the data's own end.
                if not last and len(window) - chunk.offset < largest:
                    break
                part = window[chunk.offset : chunk.offset + chunk.length]
                yield blake3(part).digest(), chunk.length
                offset += chunk.length


def _between(holes: Sequence[Span], size: int) -> Iterator[Span]:
    """Yield where data is: begin and end."""
    begin = 0
    for offset, length in holes:
        if offset > begin:
            yield begin, offset
        begin = offset + length
    if begin < size:
        yield begin, size
