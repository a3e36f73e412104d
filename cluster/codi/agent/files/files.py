"""Reading, writing, moving and removing files of the workspace. Blocking: run in a thread."""

from __future__ import annotations

import contextlib
import heapq
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from cluster.codi import conditions
from cluster.codi.agent import kernel
from cluster.codi.agent.errors import AgentError, invalid, not_found
from cluster.codi.agent.files import temporary
from cluster.codi.agent.files.paths import Workspace, sync_directory
from cluster.codi.agent.files.removing import remove_tree


class Opened(NamedTuple):
    """A regular file that is open for reading; the owner closes ``fd``."""

    fd: int
    size: int
    state: conditions.State


def etag_of(status: os.stat_result) -> str:
    """Return a tag that changes whenever the file does."""
    return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'


def open_for_reading(workspace: Workspace, path: bytes) -> Opened:
    """Open a regular file. Does not wait for the writer of a pipe."""
    fd = workspace.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return Opened(fd, status.st_size, conditions.State(etag_of(status), status.st_mtime))
    os.close(fd)
    if stat.S_ISDIR(status.st_mode):
        raise AgentError(409, "is_a_directory", "it is a directory")
    raise invalid("it is not a regular file")


def check(method: str, status: os.stat_result | None, fields: Mapping[str, str]) -> None:
    """Weigh a request's conditions on a file, or on none. Raises AgentError ``precondition_failed``."""
    state = conditions.State(etag_of(status), status.st_mtime) if status is not None else None
    try:
        verdict = conditions.judge(method, fields, state)
    except conditions.Malformed as error:
        raise invalid(str(error)) from None
    if verdict is conditions.Verdict.FAILED:
        if state is None:
            raise AgentError(412, "precondition_failed", "there is no such file")
        raise AgentError(412, "precondition_failed", "the file is another one", etag=state.etag)


def delete(
    workspace: Workspace, path: bytes, *, recursive: bool, fields: Mapping[str, str]
) -> None:
    """Remove a file or a link (never what it points to), or a directory when ``recursive``."""
    directory, name = workspace.parent(path)
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        check("DELETE", status, fields)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=directory)
        elif recursive:
            remove_tree(directory, name)
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


class Page(NamedTuple):
    """Some entries of a directory in the order of names; ``more`` says whether others follow."""

    entries: list[Entry]
    more: bool


def tree(workspace: Workspace, path: bytes, after: bytes, limit: int) -> Page:
    """List the first ``limit`` entries of a directory whose names come behind ``after``, as bytes do."""
    fd = workspace.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
    try:
        with os.scandir(fd) as found:
            names = heapq.nsmallest(
                limit + 1,
                (
                    (name, _kind_of(entry))
                    for entry in found
                    if (name := os.fsencode(entry.name)) > after
                    and not temporary.is_temporary(name)
                ),
            )
        entries = []
        for name, kind in names[:limit]:
            with contextlib.suppress(FileNotFoundError):  # removed while we look
                entries.append(_entry(fd, name, kind))
        return Page(entries, len(names) > limit)
    finally:
        os.close(fd)


def _kind_of(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def _entry(directory: int, name: bytes, kind: str) -> Entry:
    """Return a line; of a directory that may be listed and not entered only names and kinds are known."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        target = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else None
    except PermissionError:
        return Entry(name, kind, 0, 0.0, 0, None)
    return Entry(name, kind, status.st_size, status.st_mtime, stat.S_IMODE(status.st_mode), target)


def require_directory(path: str) -> int:
    """Open a program's working directory, wherever it lies. Raises AgentError when there is none."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise not_found(f"directory {path!r}") from None
