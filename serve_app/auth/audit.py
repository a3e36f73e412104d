"""Writes the audit trail: what was answered is in it, and nothing piles up while the store is away.

Lines are written in batches of one transaction each. Who signs in or changes an account is answered when
the line is durable; what happens all the time (programs, saves) goes on, and its line follows within
moments. How much one party may write is decided by ``audit_budget.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError
from actors.core.records.accounts import AuditEntry
from cluster.store.layers.accounts.audit import MAX_BATCH
from serve_app.auth.audit_budget import Budget
from serve_app.dependencies import AuditTrail

logger = structlog.get_logger(__name__)

MAX_WAITING = 5000
PATIENCE_SECONDS = 2.0
SUM_SECONDS = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_CLOSE_SECONDS = 3.0


@dataclass(slots=True)
class _Waiting:
    entry: AuditEntry
    written: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False


class AuditWriter:
    """Takes entries and writes them in order. ``run`` is a task of its owner.

    While the store is away entries wait; past ``limit`` the newest are counted as lost and logged,
    so that a stopped store cannot fill the memory.
    """

    def __init__(self, trail: AuditTrail, *, limit: int = MAX_WAITING) -> None:
        self._trail = trail
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(limit)
        self._batch: list[_Waiting] = []
        self._budget = Budget()
        self.lost = 0

    async def write(self, entry: AuditEntry, *, patience_seconds: float = PATIENCE_SECONDS) -> bool:
        """Take an entry, and return when it is durable, or when its caller has waited long enough.

        Whether it is durable; one that is not yet is written when the store is there again, unless
        this process ends before. One that is only summed up counts as written.
        """
        waiting = self._take(entry)
        if waiting is None:
            return True
        if waiting.lost:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                await waiting.written.wait()
        return waiting.written.is_set()

    def note(self, entry: AuditEntry) -> None:
        """Take an entry that nobody waits for."""
        self._take(entry)

    async def run(self) -> None:
        """Write until cancelled."""
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            if not self._batch:
                await self._wait()
            self._fill()
            try:
                await self._flush()
                backoff.reset()
            except CoditectError as error:
                logger.warning("the audit trail has to wait", reason=str(error))
                await asyncio.sleep(backoff.next())

    async def drain(self) -> None:
        """Write what waits, for a limited time; after ``run`` has ended."""
        self._put(self._budget.rest())
        with suppress(CoditectError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._batch or not self._waiting.empty():
                    self._fill()
                    await self._flush()
        self.lost += len(self._batch) + self._waiting.qsize()

    def _take(self, entry: AuditEntry) -> _Waiting | None:
        """Queue what is to be written now, and return what to wait for if that is the entry."""
        ready = self._budget.take(entry, asyncio.get_running_loop().time())
        queued = self._put(ready)
        return queued[-1] if ready and ready[-1] is entry else None

    def _put(self, entries: Iterable[AuditEntry]) -> list[_Waiting]:
        queued = [_Waiting(entry) for entry in entries]
        for waiting in queued:
            if self._waiting.full():
                self.lost += 1
                waiting.lost = True
                logger.error("audit entry lost", **waiting.entry.model_dump())
            else:
                self._waiting.put_nowait(waiting)
        return queued

    async def _wait(self) -> None:
        """Wait for an entry, and see to sums that are due meanwhile."""
        while not self._batch:
            self._put(self._budget.due(asyncio.get_running_loop().time()))
            with suppress(TimeoutError):
                async with asyncio.timeout(SUM_SECONDS):
                    self._batch.append(await self._waiting.get())

    def _fill(self) -> None:
        while len(self._batch) < MAX_BATCH and not self._waiting.empty():
            self._batch.append(self._waiting.get_nowait())

    async def _flush(self) -> None:
        batch = list(self._batch)
        if batch:
            await self._trail.append([waiting.entry for waiting in batch])
            del self._batch[: len(batch)]
            for waiting in batch:
                waiting.written.set()
