"""Reports what goes on in the container, to whoever decides whether it may sleep; closes it for that.

When a terminal was read and written is the kernel's own record, the times of its device (as w(1) shows
them; kept to 8 s, tty_io.c ``tty_update_time``), so that moving bytes costs nothing more.
"""

from __future__ import annotations

import fcntl
import math
import os
import struct
import termios
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cluster.codi.agent.errors import AgentError
from cluster.codi.agent.ports.listeners import Listeners

_MAX_SEAL_SECONDS = 120.0


class Activity:
    """Counts what people ask of CODI, and closes it for a time. Times are of ``time.monotonic``."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self.busy = 0
        self._asked_at: float | None = None
        self._sealed_until = -math.inf

    @property
    def sealed(self) -> bool:
        """True while nothing new is taken."""
        return time.monotonic() < self._sealed_until

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a call that a person makes, from its beginning to its end. Raises ``sealed``."""
        self.refuse_if_sealed()
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Count what somebody waits for, until ``end``."""
        self.busy += 1

    def end(self) -> None:
        """Note that it is over."""
        self.busy -= 1
        self.note()

    def note(self) -> None:
        """Note that people use the container at this moment."""
        self._asked_at = time.monotonic()

    def refuse_if_sealed(self) -> None:
        """Raise AgentError ``sealed`` while the container is being closed."""
        if self.sealed:
            raise AgentError(503, "sealed", "the container is about to stop")

    def look(self, shells: Iterable[int]) -> dict[str, float | int | None]:
        """Return ``actors.core.records.idleness.Activity``; ``shells`` are the terminals' processes."""
        now, wall = time.monotonic(), time.time()
        read_ages, written_ages, unread = [], [], 0
        for device in filter(None, map(_device, shells)):
            try:
                status = os.stat(device)
                unread += _unread(device)
            except OSError:
                continue  # it has ended meanwhile
            read_ages.append(max(0.0, wall - status.st_atime))
            written_ages.append(max(0.0, wall - status.st_mtime))
        if self._asked_at is not None:
            read_ages.append(now - self._asked_at)
        return {
            "at": now,
            "input_age": min(read_ages, default=None),
            "output_age": min(written_ages, default=None),
            "cpu_seconds": cpu_seconds(),
            "busy": self.busy,
            "unread": unread,
            "listeners": len(self._listeners.find()),
        }

    def seal(
        self, shells: Iterable[int], *, since: float, cpu: float, share: float, seconds: float
    ) -> None:
        """Take nothing new for ``seconds``, unless something has happened ``since``.

        It opens by itself, so that whoever closed it may die before it stops the container. Raises
        AgentError ``busy``.
        """
        seen = self.look(shells)
        at, age = float(seen["at"] or 0.0), seen["input_age"]
        if seen["busy"] or seen["unread"] or (age is not None and at - age > since):
            raise AgentError(409, "busy", "somebody works in it")
        if float(seen["cpu_seconds"] or 0.0) - cpu > share * (at - since + 1.0):
            raise AgentError(409, "busy", "its programs are working")
        self._sealed_until = at + min(seconds, _MAX_SEAL_SECONDS)

    def unseal(self) -> None:
        """Take calls again."""
        self._sealed_until = -math.inf


def cpu_seconds() -> float:
    """Return the processor time of every program but CODI, those that have ended included."""
    total, mine = 0, str(os.getpid())
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                fields = file.read(4096).rpartition(b")")[2].split()
        except OSError:
            continue
        own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        total += reaped if name == mine else own + reaped
    return total / os.sysconf("SC_CLK_TCK")


def _device(pid: int) -> str | None:
    """Return the terminal that a shell was started on."""
    try:
        device = os.readlink(f"/proc/{pid}/fd/0")
    except OSError:
        return None
    return device if device.startswith("/dev/pts/") else None


def _unread(device: str) -> int:
    """Return how many typed bytes wait to be read by a program (in lines: whole lines)."""
    descriptor = os.open(device, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    finally:
        os.close(descriptor)
    return int(struct.unpack("i", answer)[0])
