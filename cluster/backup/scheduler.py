"""Makes backups when they are due or asked for, and removes old ones. One at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.requests import NotFound
from actors.core.ports.clock import Clock
from cluster.backup.catalog import Catalog, FdbPart
from cluster.backup.writer import BackupWriter

logger = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
RETRY_SECONDS = 300.0
FIRST_SECONDS = 600.0
LISTED = 100


def due_at(last: float | None, started: float, interval: float) -> float | None:
    """Return when the next backup is due, as Unix time; None for never.

    ``last`` is when the newest was begun. A server without one waits a little after its start, so
    that one which is restarted often gets one, too.
    """
    if interval <= 0:
        return None
    return started + min(FIRST_SECONDS, interval) if last is None else last + interval


class BackupScheduler:
    """The backups of one server. ``run`` until cancelled. ``forget``: see ``Catalog.expire``."""

    def __init__(
        self,
        maker: BackupWriter,
        catalog: Catalog,
        clock: Clock,
        *,
        interval: float,
        keep: int,
        six_hourly: int = 0,
        forget: Callable[[FdbPart], Awaitable[None]] | None = None,
    ) -> None:
        self._maker = maker
        self._catalog = catalog
        self._clock = clock
        self._interval = interval
        self._keep = keep
        self._six_hourly = six_hourly
        self._forget = forget
        self._started = clock.now()
        self._asked = asyncio.Event()
        self._running = False
        self._said = ""
        self._error: str | None = None
        self._retry_at = 0.0
        self._made = self._failures = 0

    async def run(self) -> None:
        """Make what is due until cancelled."""
        while True:
            if self._asked.is_set() or await self._is_due():
                await self._make()
                self._asked.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                continue

    def start(self) -> None:
        """Have one made now; one that is being made will do."""
        if not self._running:
            self._error = None
            self._asked.set()

    async def state(self) -> dict[str, Any]:
        """Return ``running``, ``progress``, ``error`` of the last one, and the newest backups first."""
        listed: list[dict[str, Any]] = []
        ids: list[str] = []
        try:
            ids = await self._catalog.ids()
        except CoditectError as error:
            self._error = str(error)
        for backup_id in reversed(ids[-LISTED:]):
            try:
                backup = await self._catalog.get(backup_id)
            except NotFound:
                continue
            except Unavailable as error:
                listed.append({"backup_id": backup_id, "damaged": str(error)})
                continue
            shown = backup.model_dump(
                include={
                    "backup_id", "created_at", "finished_at", "sessions", "users", "copied_bytes",
                }
            )  # fmt: skip
            listed.append(shown | {"size": backup.size, "packs": len(backup.packs)})
        return {
            "running": self._running or self._asked.is_set(),
            "progress": self._said,
            "error": self._error,
            "backups": listed,
        }

    def stats(self) -> dict[str, Any]:
        """Return counters."""
        return {"backups_made_total": self._made, "backup_failures_total": self._failures}

    async def _is_due(self) -> bool:
        now = self._clock.now()
        if now < self._retry_at:
            return False
        try:
            last = await self._newest()
        except (CoditectError, OSError) as error:
            self._fail(error)
            return False
        due = due_at(last, self._started, self._interval)
        return due is not None and now >= due

    async def _newest(self) -> float | None:
        for backup_id in reversed(await self._catalog.ids()):
            try:
                return (await self._catalog.get(backup_id)).created_at
            except (NotFound, Unavailable):
                continue
        return None

    async def _make(self) -> None:
        self._running, self._error = True, None
        try:
            backup = await self._maker.create(self._say)
            self._made += 1
            logger.info("backup %s: %d bytes", backup.backup_id, backup.size)
            await self._catalog.expire(self._keep, self._forget, self._six_hourly)
        except (CoditectError, OSError) as error:
            self._fail(error)
        finally:
            self._running = False

    def _say(self, text: str) -> None:
        self._said = text

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self._error = str(error)
        self._retry_at = self._clock.now() + RETRY_SECONDS
        logger.warning("no backup: %s", error)
