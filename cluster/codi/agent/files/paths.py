"""Paths inside the workspace, resolved so that none leads out of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple

from cluster.codi.agent import kernel
from cluster.codi.agent.errors import invalid_path

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_NEW_DIRECTORY_MODE = 0o777  # less the umask
_MAX_PATH = 16 << 10
_MAX_NAME = 255
_MAX_LOOKUP = 4000  # the kernel takes 4,096 bytes at once, PATH_MAX
_MAX_LINKS = 40
_SYNCED_SINGLY = 16  # of more new directories the file system is synced once


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
    if any(len(part) > _MAX_NAME for part in parts):
        raise invalid_path(f"a name in a path has up to {_MAX_NAME} bytes")
    return b"/".join(parts) or b"."


class Workspace:
    """The one directory that paths lie in; ``root`` is it, open. Methods raise OSError or AgentError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._real = os.fsencode(os.path.realpath(path))
        self.root = os.open(path, _DIRECTORY | os.O_CLOEXEC)
        self._beneath = True

    def open(self, path: bytes, flags: int) -> int:
        """Open what a parsed path names and return the descriptor. Nothing is created."""
        current, left = self.root, path
        try:
            while len(left) > _MAX_LOOKUP:
                # A link within a part may not lead out of it: stricter than need be, and as safe.
                part = left[:_MAX_LOOKUP].rpartition(b"/")[0]
                left = left[len(part) + 1 :]
                following = self._open_from(current, part, _DIRECTORY)
                if current != self.root:
                    os.close(current)
                current = following
            return self._open_from(current, left, flags)
        finally:
            if current != self.root:
                os.close(current)

    def _open_from(self, directory: int, path: bytes, flags: int) -> int:
        if self._beneath:
            try:
                return kernel.open_beneath(directory, path, flags)
            except OSError as error:
                if error.errno not in {errno.ENOSYS, errno.EPERM} or not self._lacks_openat2():
                    raise
            self._beneath = False
        return self._open_by_parts(directory, path, flags)

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
        missing: list[bytes] = []
        above = path
        while True:
            try:
                current = self.open(above or b".", _DIRECTORY)
                break
            except FileNotFoundError:
                if not above:
                    raise
                above, _, name = above.rpartition(b"/")
                missing.append(name)
        try:
            for name in reversed(missing):
                self._make(current, name, sync=len(missing) <= _SYNCED_SINGLY)
                # What is there is the directory that was made, or somebody else's: no link is followed.
                following = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                current = following
            if len(missing) > _SYNCED_SINGLY:
                sync_directory(current, kernel.sync_filesystem)
        except BaseException:
            os.close(current)
            raise
        return current

    def follow(self, path: bytes) -> bytes:
        """Return where a parsed path leads when its last name is a link, else the path itself.

        What a link names need not be there. The path returned may hold ``..``; resolved, it stays
        within the workspace like any other.
        """
        for _ in range(_MAX_LINKS):
            try:
                directory, name = self.parent(path)
            except FileNotFoundError:
                return path
            try:
                target = os.readlink(name, dir_fd=directory)
            except OSError:
                return path  # it is no link, or nothing is there
            finally:
                os.close(directory)
            if target.startswith(b"/"):
                raise OSError(errno.EXDEV, "an absolute link")
            above, slash, _ = path.rpartition(b"/")
            path = above + slash + target
        raise OSError(errno.ELOOP, "too many links")

    def place_of(self, directory: int, name: bytes) -> bytes:
        """Return the path, without links, of a name in an open directory."""
        try:
            found = os.readlink(b"/proc/self/fd/%d" % directory)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            found = self._climb(directory)
        if found == self._real:
            return name
        if not found.startswith(self._real + b"/"):
            raise FileNotFoundError(errno.ENOENT, "the directory was moved out of the workspace")
        return found.removeprefix(self._real + b"/") + b"/" + name

    def _climb(self, directory: int) -> bytes:
        """Return the path of a directory that the kernel does not give at once, from the root."""
        names: list[bytes] = []
        root, current = os.fstat(self.root), os.dup(directory)
        try:
            while not os.path.samestat(here := os.fstat(current), root):
                following = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
                os.close(current)
                current = following
                with os.scandir(current) as entries:
                    names.append(
                        next(os.fsencode(e.name) for e in entries if e.inode() == here.st_ino)
                    )
        except StopIteration:
            raise OSError(errno.ENOENT, "the directory was moved") from None
        finally:
            os.close(current)
        return b"/".join([self._real, *reversed(names)])

    @staticmethod
    def _make(directory: int, name: bytes, *, sync: bool) -> None:
        try:
            os.mkdir(name, _NEW_DIRECTORY_MODE, dir_fd=directory)
        except FileExistsError:
            return
        if sync:
            sync_directory(directory)

    def _lacks_openat2(self) -> bool:
        try:
            os.close(kernel.open_beneath(self.root, b".", _DIRECTORY))
        except OSError:
            return True
        return False

    @staticmethod
    def _open_by_parts(directory: int, path: bytes, flags: int) -> int:
        """Walk without following any link: less than openat2 allows, and as safe."""
        *directories, name = path.split(b"/")
        if b".." in directories or name == b"..":
            raise OSError(errno.EXDEV, "the path leads upwards")
        current = os.dup(directory)
        try:
            for part in directories:
                following = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                current = following
            return os.open(name, flags | os.O_NOFOLLOW, dir_fd=current)
        finally:
            os.close(current)


def sync_directory(directory: int, sync: Callable[[int], None] = os.fsync) -> None:
    """Bring a directory's names to the disk; ``directory`` may be an O_PATH descriptor."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        sync(fd)
    finally:
        os.close(fd)
