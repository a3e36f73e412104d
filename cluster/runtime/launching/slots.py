"""Turns to start a container: a bounded number at once on a node, over all of its processes.

A start is work for the processor. When a hundred containers have died together and each session
starts its own at once, every start takes a hundred times as long, runs out of its time and is tried
again, and the node does nothing else. A turn is a lock on one of a few files: the kernel takes it back
from a process that dies (flock(2)).
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

LONGEST_PAUSE = 0.2


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
        """Hold a turn. Raises DeadlineExceeded when none was free in time.

        Who has waited for longer asks more often, and so comes first, by and large.
        """
        began = self._clock.monotonic()
        while (held := self._take()) is None:
            waited = self._clock.monotonic() - began
            if waited >= limit_seconds:
                raise DeadlineExceeded("turn to start a container", limit_seconds)
            await self._clock.sleep(LONGEST_PAUSE / (1.0 + waited) * (0.5 + self._chance()))
        try:
            yield
        finally:
            os.close(held)

    def _take(self) -> int | None:
        """Return a descriptor that holds a turn, or None."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(self._count):
            path = self._directory / str(number)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            else:
                return descriptor
        return None
