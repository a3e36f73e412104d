"""What a follower of the workspace asks of paths: how they are, what files consist of, their bytes.

Blocking: run in a thread. Large files are cut where their content says so (FastCDC: Xia et al.,
USENIX ATC 2016), so that a change in the middle leaves the other chunks, and their BLAKE3 names, as
they were. Hashing and chunking are imported by the first who needs them: a container starts without.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Any

from cluster.codi.agent.paths import Workspace

MIN_CHUNK, MEAN_CHUNK, MAX_CHUNK = 256 << 10, 1 << 20, 4 << 20
LARGE_FILE, LARGE_FACTOR = 2 << 30, 4
"""Files above this size are cut into chunks so many times as large: a file has a limited number."""

LARGEST_CHUNK = LARGE_FACTOR * MAX_CHUNK
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ESTALE}

Item = list[Any]
"""``[path, kind, mode, size, mtime_ns, ctime_ns, ino, target]``; ``[path]`` for nothing there, and
``[path, "x"]`` for what permissions hide."""


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
    ]  # fmt: skip


def look(workspace: Workspace, path: bytes) -> Item:
    """Return how a path is."""
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


def listing(workspace: Workspace, path: bytes, is_excluded: Any) -> list[Item] | bool | None:
    """Return what lies in a directory, None when there is none, False when it cannot be read."""
    try:
        directory = workspace.open(
            path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError as error:
        if error.errno in _GONE:
            return None
        if error.errno == errno.EACCES:
            return False
        raise
    try:
        names = [
            name for each in os.listdir(directory) if not is_excluded(name := os.fsencode(each))
        ]
        return [found for name in names if len(found := _look_at(directory, name)) > 1]
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

    def chunks(self) -> Iterator[tuple[str, int]]:
        """Yield name and size of each chunk of what was the file when it was opened."""
        from blake3 import blake3  # noqa: PLC0415 - see the module's text
        from pyfastcdc import FastCDC  # noqa: PLC0415

        factor = LARGE_FACTOR if self.size > LARGE_FILE else 1
        smallest, mean, largest = factor * MIN_CHUNK, factor * MEAN_CHUNK, factor * MAX_CHUNK
        cutter = FastCDC(avg_size=mean, min_size=smallest, max_size=largest)
        offset = 0
        while offset < self.size:
            window = memoryview(self.read(offset, min(4 * largest, self.size - offset)))
            if not window:
                return  # it became shorter: whoever asked sees that the sizes do not add up
            last = offset + len(window) >= self.size
            for chunk in cutter.cut_buf(window):
                # Where the window ends is no boundary, except at the file's own end.
                if not last and len(window) - chunk.offset < largest:
                    break
                part = window[chunk.offset : chunk.offset + chunk.length]
                yield blake3(part).hexdigest(), chunk.length
                offset += chunk.length
