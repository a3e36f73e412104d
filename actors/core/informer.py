"""Keeps a view of records as the store has them; after Kubernetes' informers: list, watch, list again.

Whoever needs the records asks for them with ``refresh``, which reads one key while nothing has changed,
and waits in ``wait`` for a change. A watch that is lost, with the process that kept it or silently, thus
costs no more than the time that ``wait`` was given, and a change that was never in the feed (an earlier
release wrote it) no more than ``RELIST_SECONDS``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Generic, TypeVar

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.ports.feed import Feed
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import SessionRecord
from actors.core.view import RecordView

R = TypeVar("R")

RELIST_SECONDS = 60.0
GATHER_SECONDS = 0.02
"""Changes that come one upon the other are one piece of news."""

RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Informer(Generic[R]):
    """The records of a feed. Belongs to one event loop; several may use it."""

    def __init__(self, feed: Feed[R], clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._view: RecordView[R] = RecordView()
        self._reading = asyncio.Lock()
        self._list_at = clock.monotonic() + RELIST_SECONDS

    @property
    def place(self) -> bytes | None:
        """Where it stands in the feed: another place after each change that ``refresh`` has seen."""
        return self._view.place

    async def refresh(self) -> dict[str, R]:
        """Return the records by id, as they are at the call or later. Raises what the store raises."""
        async with self._reading:
            if self._clock.monotonic() >= self._list_at and not self._view.is_listing:
                self._view.list_again()
            await self._read()
            while not self._view.is_current:
                await self._read()
            return dict(self._view.records)

    async def wait(self, seconds: float, *, rest: float = 0.0) -> None:
        """Return when there is news, at the latest after ``seconds``, and not before ``rest``."""
        began = self._clock.monotonic()
        await self._clock.sleep(max(GATHER_SECONDS, rest))
        left = seconds - (self._clock.monotonic() - began)
        if left <= 0:
            return
        try:
            await self._feed.wait(self.place, left)
        except CoditectError as error:
            logger.info("changes are not watched: %s", error)
            await self._clock.sleep(min(left, RETRY_SECONDS))

    def stats(self, name: str) -> dict[str, int]:
        """Return counters and gauges; see ``actors.core.statistics``."""
        return {
            f"{name}_known": len(self._view.records),
            f"{name}_gaps_total": self._view.gaps,
            f"{name}_repairs_total": self._view.repairs,
        }

    async def _read(self) -> None:
        """Read what is new, and at most one page of a list: so its price is spread over many calls."""
        listing = self._view.is_listing
        self._view.apply(await self._feed.read(self._view.question()))
        if listing and not self._view.is_listing:
            self._list_at = self._clock.monotonic() + RELIST_SECONDS


def of_containers(services: Services) -> Informer[ContainerRecord]:
    """Return an informer on the containers of this node that are not stopped."""
    feed = services.ledger.container_feed(services.settings.node_id)
    return Informer(feed, services.clock)


def of_sessions(services: Services) -> Informer[SessionRecord]:
    """Return an informer on all sessions that have not ended."""
    return Informer(services.ledger.session_feed(), services.clock)
