"""Paths inside the workspace, resolved so that none leads out of it."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from cluster.codi.agent import kernel
from cluster.codi.agent.errors import invalid_path

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_NEW_DIRECTORY_MODE = 0o777  # less the umask
_MAX_PATH = 4096


class Place(NamedTuple):
    """A name in an open directory; the owner closes ``directory``."""

    directory: int
    name: bytes


def parse(path: bytes) -> bytes:
    """Check a path and return it in its shortest form; b"." is the workspace. Raises AgentError."""
    if b"\0" in path:
        raise invalid_path("a path holds no NUL")
    if path.startswith(b"/"):
        raise invalid_path("paths are relative to the workspace")
    if len(path) > _MAX_PATH:
        raise invalid_path(f"a path has up to {_MAX_PATH} bytes")
    parts = [part for part in path.split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise invalid_path('".." is not allowed in a path')
    return b"/".join(parts) or b"."


class Workspace:
    """The one directory that paths lie in. Methods raise OSError or AgentError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._root = os.open(path, _DIRECTORY | os.O_CLOEXEC)
        self._beneath = True

    def open(self, path: bytes, flags: int) -> int:
        """Open what a parsed path names and return the descriptor. Nothing is created."""
        if self._beneath:
            try:
                return kernel.open_beneath(self._root, path, flags)
            except OSError as error:
                if error.errno not in {errno.ENOSYS, errno.EPERM} or not self._lacks_openat2():
                    raise
            self._beneath = False
        return self._open_by_parts(path, flags)

    def parent(self, path: bytes, *, make: bool = False) -> Place:
        """Open the directory that a parsed path's last name lies in; ``make`` creates it.

        Directories that were made are on disk when this returns.
        """
        if path == b".":
            raise invalid_path("the workspace itself cannot be changed like this")
        directory, _, name = path.rpartition(b"/")
        try:
            return Place(self.open(directory or b".", _DIRECTORY), name)
        except FileNotFoundError:
            if not make:
                raise
        return Place(self.make_directories(directory), name)

    def make_directories(self, path: bytes) -> int:
        """Create a directory and those above it where they are missing; return it, open."""
        current = self.open(b".", _DIRECTORY)
        done = b""
        for name in path.split(b"/"):
            done = done + b"/" + name if done else name
            try:
                following = self.open(done, _DIRECTORY)
            except FileNotFoundError:
                self._make(current, name)
                following = self.open(done, _DIRECTORY)
            finally:
                os.close(current)
            current = following
        return current

    def follow(self, path: bytes) -> bytes:
        """Return where a parsed path leads when its last name is a link, else the path itself."""
        try:
            fd = self.open(path, os.O_PATH)
        except FileNotFoundError:
            return path
        try:
            found = os.readlink(b"/proc/self/fd/%d" % fd)
        finally:
            os.close(fd)
        root = os.fsencode(self.path).rstrip(b"/") + b"/"
        return parse(found.removeprefix(root)) if found.startswith(root) else path

    @staticmethod
    def _make(directory: int, name: bytes) -> None:
        try:
            os.mkdir(name, _NEW_DIRECTORY_MODE, dir_fd=directory)
        except FileExistsError:
            return
        sync_directory(directory)

    def _lacks_openat2(self) -> bool:
        try:
            os.close(kernel.open_beneath(self._root, b".", _DIRECTORY))
        except OSError:
            return True
        return False

    def _open_by_parts(self, path: bytes, flags: int) -> int:
        """Walk without following any link: less than openat2 allows, and as safe."""
        current = os.dup(self._root)
        *directories, name = path.split(b"/")
        try:
            for part in directories:
                following = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                current = following
            return os.open(name, flags | os.O_NOFOLLOW, dir_fd=current)
        finally:
            os.close(current)


def sync_directory(directory: int) -> None:
    """Bring a directory's names to the disk; ``directory`` may be an O_PATH descriptor."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
