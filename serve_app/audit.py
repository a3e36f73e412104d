"""Writes the audit trail: what was answered is in it, and nothing piles up while the store is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from actors.errors import CoditectError
from actors.records import AuditEntry
from serve_app.dependencies import AuditTrail

logger = structlog.get_logger(__name__)

MAX_WAITING = 5000
BATCH = 64
PATIENCE_SECONDS = 2.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_CLOSE_SECONDS = 3.0


@dataclass(slots=True)
class _Waiting:
    entry: AuditEntry
    written: asyncio.Event = field(default_factory=asyncio.Event)


class AuditWriter:
    """Takes entries and writes them in order. ``run`` is a task of its owner.

    While the store is away entries wait; past ``limit`` the newest are counted as lost and logged,
    so that a stopped store cannot fill the memory.
    """

    def __init__(self, trail: AuditTrail, *, limit: int = MAX_WAITING) -> None:
        self._trail = trail
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(limit)
        self._batch: list[_Waiting] = []
        self.lost = 0

    async def write(self, entry: AuditEntry, *, patience_seconds: float = PATIENCE_SECONDS) -> bool:
        """Take an entry, and return when it is durable, or when its caller has waited long enough.

        Whether it is durable; one that is not yet is written when the store is there again, unless
        this process ends before.
        """
        if self._waiting.full():
            self.lost += 1
            logger.error("audit entry lost", **entry.model_dump())
            return False
        waiting = _Waiting(entry)
        self._waiting.put_nowait(waiting)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                await waiting.written.wait()
        return waiting.written.is_set()

    async def run(self) -> None:
        """Write until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            if not self._batch:
                self._batch.append(await self._waiting.get())
            self._fill()
            try:
                await self._flush()
                pause = _FIRST_PAUSE
            except CoditectError as error:
                logger.warning("the audit trail has to wait", reason=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def drain(self) -> None:
        """Write what waits, for a limited time; after ``run`` has ended."""
        with suppress(CoditectError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._batch or not self._waiting.empty():
                    self._fill()
                    await self._flush()
        self.lost += len(self._batch) + self._waiting.qsize()

    def _fill(self) -> None:
        while len(self._batch) < BATCH and not self._waiting.empty():
            self._batch.append(self._waiting.get_nowait())

    async def _flush(self) -> None:
        while self._batch:
            await self._trail.append([self._batch[0].entry])
            self._batch.pop(0).written.set()
