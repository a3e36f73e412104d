"""The machine's clock, for code that takes a clock as an argument."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Implements ``actors.core.ports.clock.Clock`` with the machine's time."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds of a clock that only goes forward."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
