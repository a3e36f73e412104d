"""User ids of their own for containers, outside: one each, for as long as anything of it lives.

The kernel counts much by the user id outside: epoll watches, pages of pipes, inotify instances,
queues, pending signals, keys, locked memory. Containers that share an id share all of that.

An id is taken while a process has it, or lives in a user namespace that maps to it, or the kernel has keys
of it: the kernel says so, no container can forge it, and no crash leaves it wrong. So is one whose holder's
server still knows of something of it (``taken``). In the moments before there is such a process, its launcher
holds a lock on the byte of that number in a file that all servers of the machine share (open file description
locks, fcntl(2)). What is free is given in turn, so that each comes back as late as can be: which one was
given last is all that is written down, in that file, and nothing depends on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.core.errors.base import Unavailable
from cluster.id_range import IdRange
from cluster.runtime.processes import parse_stat

LOCKS = Path("/run/coditect/user-ids")
"""Shared by all servers of a machine; it goes with the boot, like the processes."""


@contextmanager
def reserve(
    range_: IdRange,
    start: int | None,
    locks: Path = LOCKS,
    *,
    taken: Collection[int] = (),
) -> Iterator[int]:
    """Hold an id that nobody has, until its container has a process or its launch has failed.

    ``start`` is where to begin (any number), behind the one given last if it is None; ``taken`` are left out.
    Blocks for some milliseconds: every process of the machine is asked once. Raises Unavailable when all are
    taken.
    """
    descriptor = _open(locks)
    try:
        used: frozenset[int] | None = None
        begin = _last(descriptor, range_) - range_.first if start is None else start
        for candidate in range_.after(begin):
            if candidate in taken or not _lock(descriptor, candidate):
                continue
            # The answer counts if it was asked for with the lock held: whoever had the lock before has
            # processes by now. An older answer only spares the asking.
            if used is None or candidate not in used:
                used = in_use()
            if not used & {candidate, range_.agent(candidate)}:
                break
            _unlock(descriptor, candidate)
        else:
            raise Unavailable("user ids for containers", f"all {range_.containers} are in use")
        if start is None:
            with contextlib.suppress(OSError):  # a full /run only makes the next one begin here
                os.pwrite(descriptor, struct.pack("<q", candidate), 8 * range_.first)
        yield candidate
    finally:
        os.close(descriptor)  # and with it the lock


def in_use() -> frozenset[int]:
    """Return every user id that has keys, or that a process of this machine has, or its user namespace.

    Each launch asks, and a machine has many processes: so this is done in as few steps as it can be.
    """
    found: set[int] = set()
    with contextlib.suppress(OSError):
        found.update(parse_key_users(_read("/proc/key-users")))
    seen: set[str] = set()
    ours = os.readlink("/proc/self/ns/user")
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        process = f"/proc/{name}"
        with contextlib.suppress(OSError):  # it has ended meanwhile
            namespace = os.readlink(f"{process}/ns/user")
            if namespace == ours:
                found.add(os.stat(process).st_uid)
            elif namespace not in seen and not parse_stat(_read(f"{process}/stat")).ended:
                # One that waits to be reaped holds nothing any more.
                found.update(parse_map(_read(f"{process}/uid_map")))
                seen.add(namespace)
    return frozenset(found)


def _read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace")


def parse_key_users(text: str) -> Iterable[int]:
    """Return the ids of ``/proc/key-users`` (keyrings(7))."""
    return [int(line.partition(":")[0]) for line in text.splitlines()]


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


def _last(descriptor: int, range_: IdRange) -> int:
    """Return which id of a range was given last; its first one if none was."""
    stored = os.pread(descriptor, 8, 8 * range_.first).ljust(8, b"\0")
    last: int = struct.unpack("<q", stored)[0]
    return last if last in range_.ids else range_.first


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
