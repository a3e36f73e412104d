"""Identifies processes across restarts and reuse of process ids.

A bare pid proves nothing: it is reused. A pid with the time its process started and the boot it
started in is unique (proc(5), field 22 of ``/proc/PID/stat``; ``/proc/sys/kernel/random/boot_id``).
Every act on a process goes through a pidfd that was opened first and checked afterwards, so that
it reaches that process or none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from actors.core.records.base import Frozen


class ProcessIdentity(Frozen):
    """One process of one boot; ``start_ticks`` is its start in clock ticks since that boot."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of ``/proc/PID/stat`` that are used here; ``cpu_ticks`` is user and system time."""

    command: str
    state: str
    parent: int
    cpu_ticks: int
    start_ticks: int
    resident_pages: int

    @property
    def ended(self) -> bool:
        """True while it only waits to be reaped."""
        return self.state in "ZX"


def parse_stat(text: str) -> Stat:
    """Parse ``/proc/PID/stat``. The command is in parentheses and may itself hold some."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Stat(
        command=head.partition("(")[2],
        state=fields[0],
        parent=int(fields[1]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        start_ticks=int(fields[19]),
        resident_pages=int(fields[21]),
    )


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_stat(pid: int) -> Stat | None:
    """Return what the kernel says of a process, or None when there is none."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of the process that has this pid now, or None when it has ended."""
    stat = read_stat(pid)
    if stat is None or stat.ended:
        return None
    return ProcessIdentity(pid=pid, start_ticks=stat.start_ticks, boot_id=boot_id())


def age_seconds(identity: ProcessIdentity) -> float:
    """Return how long ago a process of this boot started."""
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return uptime - identity.start_ticks / os.sysconf("SC_CLK_TCK")


def is_alive(identity: ProcessIdentity) -> bool:
    """Return whether that very process still runs."""
    return identify(identity.pid) == identity


def children(pid: int) -> list[int]:
    """Return the children of a process, eldest first."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in text.split()]
    except (FileNotFoundError, ProcessLookupError):
        if not os.path.exists(f"/proc/{pid}"):
            return []
        # The file needs CONFIG_PROC_CHILDREN; without it, everybody is asked for their parent.
        found = [
            (stat.start_ticks, child) for child, stat in all_stats().items() if stat.parent == pid
        ]
        return [child for _, child in sorted(found)]


def all_stats() -> dict[int, Stat]:
    """Return the stat of every process that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            found[int(name)] = stat
    return found


def descendants(pid: int) -> dict[int, Stat]:
    """Return a process and everything below it."""
    stats = all_stats()
    below: dict[int, list[int]] = {}
    for child, stat in stats.items():
        below.setdefault(stat.parent, []).append(child)
    found: dict[int, Stat] = {}
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        if current in stats and current not in found:
            found[current] = stats[current]
            waiting.extend(below.get(current, ()))
    return found


def open_pidfd(identity: ProcessIdentity) -> int | None:
    """Return a pidfd of that very process, or None when it has ended. The caller closes it."""
    try:
        fd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if is_alive(identity):  # asked after opening: the pid cannot have changed hands since
        return fd
    os.close(fd)
    return None


def send_signal(identity: ProcessIdentity, number: signal.Signals) -> bool:
    """Send a signal to that very process; false when it has ended."""
    fd = open_pidfd(identity)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


async def wait_readable(fd: int) -> None:
    """Wait until a descriptor can be read. Cancellable; holds no thread."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, on_ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def wait_end(identity: ProcessIdentity) -> None:
    """Return when that very process has ended, at once if it already has (pidfd_open(2))."""
    fd = open_pidfd(identity)
    if fd is None:
        return
    try:
        await wait_readable(fd)
    finally:
        os.close(fd)


async def ends_within(identity: ProcessIdentity, seconds: float) -> bool:
    """Wait at most ``seconds`` for the end of a process; say whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wait_end(identity)
            return True
    return not is_alive(identity)
