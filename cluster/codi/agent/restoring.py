"""Putting a workspace back: what is missing is made, what is there stays as it is. Blocking."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import Any

from cluster.codi.agent import kernel
from cluster.codi.agent.contents import Item, item, look
from cluster.codi.agent.files import TEMPORARY_PREFIX
from cluster.codi.agent.paths import Workspace

_BLOCK = 64 << 10
_ZEROS = bytes(_BLOCK)


class Restored:
    """A file on its way back: invisible until ``finish``, gone after ``discard``."""

    def __init__(self, workspace: Workspace, path: bytes, header: dict[str, Any]) -> None:
        """Create the temporary file, and the directories above it."""
        self._directory, self._name = workspace.parent(path, make=True)
        self._path = path
        self._mode, self._mtime_ns = int(header["mode"]), int(header["mtime_ns"])
        self._size = int(header["size"])
        self._temporary = TEMPORARY_PREFIX + secrets.token_hex(8).encode()
        self._offset = 0
        self._fd = -1
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._temporary, flags, 0o600, dir_fd=self._directory)
        except BaseException:
            os.close(self._directory)
            raise

    def write(self, data: bytes) -> None:
        """Add data; blocks of zeros become holes."""
        view = memoryview(data)
        for start in range(0, len(view), _BLOCK):
            part = view[start : start + _BLOCK]
            if part != _ZEROS[: len(part)]:
                done = 0
                while done < len(part):
                    done += os.pwrite(self._fd, part[done:], self._offset + done)
            self._offset += len(part)

    def finish(self) -> Item | None:
        """Put it into place unless something is there; return how it is now, None if it was not put."""
        os.ftruncate(self._fd, self._size)
        os.fchmod(self._fd, self._mode)
        os.utime(self._fd, ns=(self._mtime_ns, self._mtime_ns))
        try:
            kernel.rename_new(self._directory, self._temporary, self._directory, self._name)
        except FileExistsError:
            return None
        self._temporary = b""
        return item(self._path, os.fstat(self._fd), None)

    def discard(self) -> None:
        """Close, and remove what was not put into place."""
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._directory)
        os.close(self._fd)
        os.close(self._directory)


def make_directory(workspace: Workspace, path: bytes, mode: int) -> Item | None:
    """Make a directory and those above it, open to its owner; None when something was there."""
    directory, name = workspace.parent(path, make=True)
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
        os.chmod(name, mode | 0o700, dir_fd=directory)
    except FileExistsError:
        return None
    finally:
        os.close(directory)
    return look(workspace, path)


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
    return look(workspace, path)


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
