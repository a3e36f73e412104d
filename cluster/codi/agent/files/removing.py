"""Removing a directory with all that is in it, however deep. Blocking: run in a thread.

``shutil.rmtree`` calls itself, and ends at a thousand levels. Here one descriptor goes down and up again:
neither depth nor the length of a path counts, and no list of what is there is kept.
"""

from __future__ import annotations

import contextlib
import errno
import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def remove_tree(directory: int, name: bytes) -> None:
    """Remove a directory in ``directory``. Raises OSError; what is removed by then stays so.

    Links are removed and never followed. On the way up ``..`` must be the directory that it was on the
    way down: one that somebody moved meanwhile is left alone, with EBUSY.
    """
    current = os.open(name, _DIRECTORY, dir_fd=directory)
    above: list[tuple[bytes, tuple[int, int]]] = []
    try:
        while True:
            inner = _clear(current)
            if inner is not None:
                status = os.fstat(current)
                above.append((inner, (status.st_dev, status.st_ino)))
                current = _exchange(current, os.open(inner, _DIRECTORY, dir_fd=current))
                continue
            if not above:
                break
            inner, expected = above.pop()
            current = _exchange(current, os.open("..", _DIRECTORY, dir_fd=current))
            status = os.fstat(current)
            if (status.st_dev, status.st_ino) != expected:
                raise OSError(errno.EBUSY, "a directory was moved while it was being removed")
            with contextlib.suppress(FileNotFoundError):
                _remove_directory(current, inner)
    finally:
        os.close(current)
    os.rmdir(name, dir_fd=directory)


def _clear(directory: int) -> bytes | None:
    """Remove all up to the first directory that is not empty; return its name, None if there is none."""
    with os.scandir(directory) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            with contextlib.suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(name, dir_fd=directory)
                elif not _remove_directory(directory, name):
                    return name
    return None


def _remove_directory(directory: int, name: bytes) -> bool:
    """Remove a directory that is empty; say whether it was."""
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def _exchange(old: int, new: int) -> int:
    os.close(old)
    return new
