"""Turns to start a container: a bounded number at once on a node, over all of its processes.

A start is work for the processor. When a hundred containers have died together and each session
starts its own at once, every start takes a hundred times as long, runs out of its time and is tried
again, and the node does nothing else. A turn is a lock on one of a few files: the kernel takes it back
from a process that dies (flock(2)).

Those that wait must cost next to nothing, or a hundred of them take the processors from the few that
start. So only one, who holds the place at the head of the line, looks for a free turn every few
milliseconds; all others look now and then whether that place is free.
"""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from actors.core.errors.base import DeadlineExceeded
from actors.core.ports.clock import Clock

HEAD_PAUSE = 0.02
LINE_PAUSE = 0.2


class LaunchSlots:
    """``count`` turns at once, by files of ``directory``. ``chance`` returns numbers in [0, 1)."""

    def __init__(
        self,
        directory: Path,
        count: int,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._directory = directory
        self._count = count
        self._clock = clock
        self._chance = chance

    @asynccontextmanager
    async def turn(self, limit_seconds: float) -> AsyncIterator[None]:
        """Hold a turn. Raises DeadlineExceeded when none was free in time."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = self._take()
        if held is None:
            held = await self._wait(limit_seconds)
        try:
            yield
        finally:
            os.close(held)

    async def _wait(self, limit_seconds: float) -> int:
        """Return a descriptor that holds a turn. Raises DeadlineExceeded."""
        clock = self._clock
        deadline = clock.monotonic() + limit_seconds
        head: int | None = None
        try:
            while clock.monotonic() < deadline:
                if head is None:
                    head = _lock(self._directory / "head")
                if head is not None and (held := self._take()) is not None:
                    return held
                pause = LINE_PAUSE * (0.5 + self._chance()) if head is None else HEAD_PAUSE
                await clock.sleep(pause)
        finally:
            if head is not None:
                os.close(head)
        raise DeadlineExceeded("turn to start a container", limit_seconds)

    def _take(self) -> int | None:
        """Return a descriptor that holds a turn, or None."""
        for number in range(self._count):
            held = _lock(self._directory / str(number))
            if held is not None:
                return held
        return None


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock on a file, or None when somebody has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
