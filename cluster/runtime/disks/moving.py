"""Moving a workspace that lies in a directory into a disk of its own, whole or not at all.

The directory is copied into a disk that has another name yet, both are compared, and then they change
places in one step (renameat2(2)). Whatever dies before leaves the directory as it was, whatever dies after
it leaves the disk; what is left over is removed by the next one. The directory is locked meanwhile: who
starts a container on it asks for that lock (``still``), and has noted the container before, so one of the two
sees the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cluster.runtime.disks import images as disks
from cluster.runtime.disks.images import DiskLimits
from cluster.runtime.trees import empty

_SECONDS = 600.0
_HOME = ".home"
_AT_FDCWD, _EXCHANGE = -100, 2
_BLOCK = 1 << 20
_ROOM_IN_FILES = 1000

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def still(directory: Path) -> Iterator[None]:
    """Keep a directory from being moved meanwhile. Raises OSError, EBUSY, when it is, or just was."""
    with _locked(directory, fcntl.LOCK_SH):
        yield


def move_in(
    directory: Path, drafts: Path, name: str, limits: DiskLimits, busy: Callable[[], bool]
) -> None:
    """Put a disk called ``name`` in the place of what lies in ``directory``; its root is this process's then.

    It is as large as ``limits`` say, and larger if the files need it. ``busy`` says whether a container has
    the directory. Raises OSError, with everything as it was: EBUSY, ENOSPC, or what cannot be copied.
    """
    deadline = time.monotonic() + _SECONDS
    with _locked(directory, fcntl.LOCK_EX), _home(drafts) as home:
        if busy():
            raise OSError(errno.EBUSY, "a container has it")
        taken, files = _measure(directory)
        if taken + taken // 8 > limits.room(disks.free_bytes(drafts)) // 2:
            raise OSError(errno.ENOSPC, "there is no room for a copy of it")
        needed = replace(
            limits,
            size=max(limits.size, taken + taken // 8),
            files=max(limits.files, files + _ROOM_IN_FILES),
        )
        tree = disks.create(home / name, drafts, needed, directory.stat().st_uid)
        try:
            inside = f"/proc/self/fd/{tree}/."
            _copy(directory, tree, inside, deadline)
            compare(directory, inside, deadline)
            _sync(inside, _libc.syncfs)
        finally:
            os.close(tree)
        _sync(home / name)
        _sync(home)
        _exchange(home, directory)
        _sync(directory.parent)


def sweep(drafts: Path) -> None:
    """Remove what moves that died have left."""
    for home in drafts.glob(f"*{_HOME}"):
        with contextlib.suppress(OSError), _locked(home, fcntl.LOCK_EX):
            empty(home)
            home.rmdir()


def compare(one: str | Path, other: str | Path, deadline: float) -> None:
    """Look whether two trees are the same: names, modes, owners, times, links and contents.

    Raises OSError: EIO with the path of what differs, ETIME at the deadline (``time.monotonic``).
    """
    left = [""]
    while left:
        inner = left.pop()
        if time.monotonic() > deadline:
            raise OSError(errno.ETIME, "it takes too long")
        here, there = f"{one}/{inner or '.'}", f"{other}/{inner or '.'}"
        mine, theirs = os.lstat(here), os.lstat(there)
        if _facts(mine) != _facts(theirs) or not _same_content(here, there, mine.st_mode):
            raise OSError(errno.EIO, f"{inner or '.'} is not the same in the copy")
        if stat.S_ISDIR(mine.st_mode):
            names = sorted(os.listdir(here))
            if names != sorted(os.listdir(there)):
                raise OSError(errno.EIO, f"{inner or '.'} has other names in the copy")
            left += [f"{inner}/{name}" if inner else name for name in names]


def _facts(status: os.stat_result) -> tuple[int, ...]:
    common = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
    return common if stat.S_ISDIR(status.st_mode) else (*common, status.st_size, status.st_nlink)


def _same_content(here: str, there: str, mode: int) -> bool:
    if stat.S_ISLNK(mode):
        return os.readlink(here) == os.readlink(there)
    if not stat.S_ISREG(mode):
        return True
    with open(here, "rb", buffering=0) as mine, open(there, "rb", buffering=0) as theirs:
        while True:
            block = mine.read(_BLOCK)
            if block != theirs.read(_BLOCK):
                return False
            if not block:
                return True


def _measure(directory: Path) -> tuple[int, int]:
    """Return the bytes that the files in a directory take, and how many there are."""
    taken = files = 0
    for place, names, others in os.walk(directory):
        for name in (*names, *others):
            taken += os.lstat(os.path.join(place, name)).st_blocks * 512
            files += 1
    return taken, files


def _copy(directory: Path, tree: int, inside: str, deadline: float) -> None:
    command = ["cp", "-a", "--sparse=always", "--", f"{directory}/.", inside]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=max(1.0, deadline - time.monotonic()),
            pass_fds=(tree,),
        )
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIME, "it takes too long") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(errno.EIO, said[-1] if said else "cp failed")


@contextmanager
def _home(drafts: Path) -> Iterator[Path]:
    """Make a directory to change places, locked; what is in it at the end is removed."""
    drafts.mkdir(mode=0o700, exist_ok=True)
    sweep(drafts)
    home = drafts / f"{os.urandom(12).hex()}{_HOME}"
    home.mkdir(mode=0o700)
    lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home
    finally:
        os.close(lock)
        empty(home)
        home.rmdir()


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "the workspace is being moved into a disk") from None
        if not os.path.samestat(os.fstat(lock), directory.stat()):
            raise OSError(errno.EBUSY, "the workspace was just moved into a disk")
        yield
    finally:
        os.close(lock)


def _exchange(one: Path, other: Path) -> None:
    _checked(_libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE))


def _sync(path: str | Path, how: Callable[[int], int] = _libc.fsync) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        _checked(how(fd))
    finally:
        os.close(fd)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
