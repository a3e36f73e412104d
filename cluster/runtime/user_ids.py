"""User ids of their own for containers, outside: one each, for as long as anything of it lives.

The kernel counts much by the user id outside: epoll watches, pages of pipes, inotify instances,
queues, pending signals, keys, locked memory. Containers that share an id share all of that.

Nothing is written down. An id is taken while a process has it, or lives in a user namespace that maps
to it: the kernel says so, no container can forge it, and no crash leaves it wrong. In the moments
before there is such a process, its launcher holds a lock on the byte of that number in a file that
all servers of the machine share (open file description locks, fcntl(2)).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.errors import Unavailable
from cluster.runtime.id_range import IdRange
from cluster.runtime.identity import parse_stat

LOCKS = Path("/run/coditect/user-ids")
"""What all servers of a machine share; it goes with the boot, like the processes."""


@contextmanager
def reserve(range_: IdRange, start: int, locks: Path = LOCKS) -> Iterator[int]:
    """Hold an id that nobody has, until its container has a process or its launch has failed.

    ``start`` is where to begin (any number). Blocks for some milliseconds: every process of the machine
    is asked once. Raises Unavailable when all are taken.
    """
    descriptor = _open(locks)
    try:
        taken: frozenset[int] | None = None
        for candidate in range_.after(start):
            if not _lock(descriptor, candidate):
                continue
            # The answer counts if it was asked for with the lock held: whoever had the lock before has
            # processes by now. An older answer only spares the asking.
            if taken is None or candidate not in taken:
                taken = in_use()
            if candidate not in taken:
                break
            _unlock(descriptor, candidate)
        else:
            raise Unavailable("user ids for containers", f"all {range_.containers} are in use")
        yield candidate
    finally:
        os.close(descriptor)  # and with it the lock


def in_use(proc: Path = Path("/proc")) -> frozenset[int]:
    """Return every user id that a process of this machine has, or may have in its user namespace."""
    found: set[int] = set()
    seen: set[str] = set()
    ours = os.readlink("/proc/self/ns/user")
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile
            namespace = os.readlink(proc / name / "ns" / "user")
            if namespace == ours:
                found.add((proc / name).stat().st_uid)
            elif namespace not in seen and _runs(proc / name):
                found.update(parse_map((proc / name / "uid_map").read_text(encoding="ascii")))
                seen.add(namespace)
    return frozenset(found)


def _runs(process: Path) -> bool:
    """Say whether a process has not ended: one that waits to be reaped holds nothing any more."""
    return not parse_stat((process / "stat").read_text(errors="replace")).ended


def parse_map(uid_map: str) -> Iterable[int]:
    """Return the ids outside in ``/proc/PID/uid_map``; of a long range, those at its ends."""
    for line in uid_map.splitlines():
        _, first, count = map(int, line.split())
        yield from (first, first + count - 1) if count > 4096 else range(first, first + count)


def _open(locks: Path) -> int:
    try:
        locks.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(locks, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable("user ids for containers", f"{locks}: {error.strerror}") from error


def _lock(descriptor: int, number: int) -> bool:
    try:
        _set(descriptor, fcntl.F_WRLCK, number)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(descriptor: int, number: int) -> None:
    _set(descriptor, fcntl.F_UNLCK, number)


def _set(descriptor: int, kind: int, number: int) -> None:
    # struct flock { short l_type, l_whence; off_t l_start, l_len; pid_t l_pid; } (64 bits)
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, number, 1, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
