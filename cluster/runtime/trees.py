"""Giving away and removing directory trees, whatever is in them and however deep they are."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path


def give(path: Path, owner: int) -> None:
    """Make a directory and everything in it somebody's, unless the directory is already.

    A tree of any depth takes two descriptors and no recursion. Raises OSError, ESTALE when directories
    move meanwhile: the way up must be the way down.
    """
    if path.stat().st_uid == owner:
        return
    here = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    way = [(_place(here), _give_entries(here, owner))]
    try:
        while way:
            if left := way[-1][1]:
                here = _move(here, left.pop())
                way.append((_place(here), _give_entries(here, owner)))
                continue
            way.pop()
            if way:
                here = _move(here, "..")
                if _place(here) != way[-1][0]:
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    finally:
        os.close(here)
    os.chown(path, owner, owner)  # last, so that an interruption is made good


def _give_entries(directory: int, owner: int) -> list[str]:
    """Give away what lies in a directory, links themselves; return the directories among it."""
    directories = []
    with os.scandir(directory) as entries:
        for entry in entries:
            os.chown(entry.name, owner, owner, dir_fd=directory, follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
    return directories


def _place(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


def _move(here: int, name: str) -> int:
    """Return a descriptor of a neighbouring directory in place of this one."""
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def empty(directory: Path) -> None:
    """Remove everything in a directory, never following a link, however deep and whatever its modes.

    A tree of any depth takes two descriptors and no recursion: directories found below are moved
    up here and emptied in their turn. Several may do this to the same directory at once.
    """
    with contextlib.suppress(FileNotFoundError):
        here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            while names := os.listdir(here):
                for name in names:
                    _remove(here, name)
        finally:
            os.close(here)


def _remove(here: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=here)
            return
        _open_up(here, name)
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        try:
            for entry in os.listdir(directory):
                _take_out(directory, entry, here)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=here)


def _take_out(directory: int, name: str, here: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            _open_up(directory, name)  # a directory that moves has its ".." rewritten
            os.rename(name, os.urandom(12).hex(), src_dir_fd=directory, dst_dir_fd=here)
        else:
            os.unlink(name, dir_fd=directory)


def _open_up(directory: int, name: str) -> None:
    """Let its owner into a directory. An O_PATH descriptor cannot be swapped for a link."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)
