"""Reading, writing, moving and removing files of the workspace. Blocking: run in a thread."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from typing import NamedTuple

from cluster.codi.agent import kernel
from cluster.codi.agent.errors import AgentError, invalid, not_found
from cluster.codi.agent.paths import Workspace, sync_directory

_NEW_FILE_MODE = 0o666
TEMPORARY_PREFIX = b".codi-"


class Opened(NamedTuple):
    """A regular file that is open for reading; the owner closes ``fd``."""

    fd: int
    size: int
    mtime: float
    etag: str


class Conditions(NamedTuple):
    """What must hold of the file for a write (RFC 9110, 13.1); None: nothing."""

    if_match: str | None = None
    if_none_match: str | None = None


def etag_of(status: os.stat_result) -> str:
    """Return a tag that changes whenever the file does: every save makes a new inode."""
    return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'


def open_for_reading(workspace: Workspace, path: bytes) -> Opened:
    """Open a regular file. Does not wait for the writer of a pipe."""
    fd = workspace.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return Opened(fd, status.st_size, status.st_mtime, etag_of(status))
    os.close(fd)
    if stat.S_ISDIR(status.st_mode):
        raise AgentError(409, "is_a_directory", "it is a directory")
    raise invalid("it is not a regular file")


class Draft:
    """A file on its way into the workspace: invisible until ``commit``, and gone after ``discard``."""

    def __init__(
        self, workspace: Workspace, path: bytes, conditions: Conditions, mode: int | None = None
    ) -> None:
        """Create the temporary file, and the directories above it. Raises AgentError, OSError.

        ``mode``: its permissions, if not those of the file that it replaces.
        """
        self._mode = mode
        target = workspace.follow(path)
        self._conditions = conditions
        self._directory, self._name = workspace.parent(target, make=True)
        self._temporary = TEMPORARY_PREFIX + secrets.token_hex(8).encode()
        self._fd = -1
        self.size = 0
        try:
            _check(self._status(), conditions)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._temporary, flags, _NEW_FILE_MODE, dir_fd=self._directory)
        except BaseException:
            self.discard()
            raise

    def write(self, data: bytes) -> None:
        """Add data."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self.size += len(data)

    def sync(self) -> None:
        """Bring the content to the disk, with the mode of the file that it will replace."""
        if self._mode is not None:
            os.fchmod(self._fd, self._mode)
        else:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    os.fchmod(self._fd, stat.S_IMODE(status.st_mode))
        os.fsync(self._fd)

    def commit(self) -> str:
        """Put the file into place at once and for good; return its etag.

        Only one commit may run at a time, so that of two writers with the same ``If-Match`` one fails.
        """
        _check(self._status(), self._conditions)
        if self._conditions.if_none_match == "*":
            try:
                kernel.rename_new(self._directory, self._temporary, self._directory, self._name)
            except FileExistsError:
                raise _precondition("the file exists") from None
        else:
            os.replace(
                self._temporary,
                self._name,
                src_dir_fd=self._directory,
                dst_dir_fd=self._directory,
            )
        self._temporary = b""
        sync_directory(self._directory)
        return etag_of(os.fstat(self._fd))

    def discard(self) -> None:
        """Close, and remove what was not committed. Idempotent."""
        if self._temporary and self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._directory)
        for fd in (self._fd, self._directory):
            if fd >= 0:
                os.close(fd)
        self._fd = self._directory = -1

    def _status(self) -> os.stat_result | None:
        try:
            status = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(status.st_mode):
            raise AgentError(409, "is_a_directory", "it is a directory")
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
            raise invalid("it is not a regular file")
        return status


def _check(status: os.stat_result | None, conditions: Conditions) -> None:
    actual = etag_of(status) if status is not None else None
    if_match = conditions.if_match
    if if_match is not None:
        if actual is None:
            raise _precondition("there is no such file")
        if if_match != "*" and actual not in _tags(if_match):
            raise _precondition("the file has changed", etag=actual)
    none_match = conditions.if_none_match
    if none_match is not None and actual is not None:
        if none_match == "*":
            raise _precondition("the file exists", etag=actual)
        if actual in _tags(none_match):
            raise _precondition("the file has not changed", etag=actual)


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _precondition(detail: str, **fields: str) -> AgentError:
    return AgentError(412, "precondition_failed", detail, **fields)


def delete(workspace: Workspace, path: bytes, *, recursive: bool, if_match: str | None) -> None:
    """Remove a file or a link (never what it points to), or a directory when ``recursive``."""
    directory, name = workspace.parent(path)
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        _check(status, Conditions(if_match))
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=directory)
        elif recursive:
            shutil.rmtree(name, dir_fd=directory)
        else:
            os.rmdir(name, dir_fd=directory)
        sync_directory(directory)
    finally:
        os.close(directory)


def move(workspace: Workspace, source: bytes, target: bytes, *, overwrite: bool) -> None:
    """Rename a file, link or directory."""
    source_directory, source_name = workspace.parent(source)
    try:
        target_directory, target_name = workspace.parent(target)
        try:
            if overwrite:
                os.replace(
                    source_name,
                    target_name,
                    src_dir_fd=source_directory,
                    dst_dir_fd=target_directory,
                )
            else:
                kernel.rename_new(source_directory, source_name, target_directory, target_name)
            sync_directory(target_directory)
            sync_directory(source_directory)
        finally:
            os.close(target_directory)
    finally:
        os.close(source_directory)


def make_directory(workspace: Workspace, path: bytes) -> bool:
    """Make a directory and those above it; say whether there was anything to make."""
    try:
        os.close(workspace.open(path, os.O_PATH | os.O_DIRECTORY))
    except FileNotFoundError:
        os.close(workspace.make_directories(path))
        return True
    return False


class Entry(NamedTuple):
    """A name in a directory."""

    name: bytes
    kind: str
    size: int
    mtime: float
    mode: int
    target: bytes | None


def tree(workspace: Workspace, path: bytes, limit: int) -> tuple[list[Entry], bool]:
    """List a directory in the order of names; say also whether it has more than ``limit``."""
    fd = workspace.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    try:
        names: list[str] = []
        truncated = False
        with os.scandir(fd) as found:
            for entry in found:
                if len(names) == limit:
                    truncated = True
                    break
                if not entry.name.startswith(TEMPORARY_PREFIX.decode()):
                    names.append(entry.name)
        entries = []
        for name in sorted(names):
            with contextlib.suppress(FileNotFoundError):  # removed while we look
                entries.append(_entry(fd, os.fsencode(name)))
        return entries, truncated
    finally:
        os.close(fd)


def _entry(directory: int, name: bytes) -> Entry:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    mode, target = status.st_mode, None
    if stat.S_ISLNK(mode):
        kind, target = "link", os.readlink(name, dir_fd=directory)
    elif stat.S_ISDIR(mode):
        kind = "directory"
    else:
        kind = "file" if stat.S_ISREG(mode) else "other"
    return Entry(name, kind, status.st_size, status.st_mtime, stat.S_IMODE(mode), target)


def require_directory(path: str) -> int:
    """Open a program's working directory, wherever it lies. Raises AgentError when there is none."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise not_found(f"directory {path!r}") from None
