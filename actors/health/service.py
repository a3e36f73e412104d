"""The calls of a HealthCheckerActor: events and attendance of its node. Nothing of Ray here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from actors.core.errors.base import Busy
from actors.core.ports.clock import Clock
from actors.core.records.attendance import AttendanceAnswer, AttendanceReport
from actors.core.records.events import EventPage, Place, Published
from actors.health.attendance import Attendance
from actors.health.event_ring import EventRing

MAX_FOLLOWERS = 100
MAX_WAIT_SECONDS = 60.0


class HealthService:
    """What the processes of a node, and the replicas, ask of it. Belongs to one event loop."""

    def __init__(self, clock: Clock, *, attach_ttl: float) -> None:
        incarnation = int(clock.now() * 1000)
        self._clock = clock
        self._ring = EventRing(incarnation)
        self._attendance = Attendance(incarnation, began=clock.monotonic(), ttl=attach_ttl)
        self._changed = asyncio.Event()
        self._followers = self._published = self._lost = self._gaps = 0

    async def publish(
        self, sender: str, number: int, events: Sequence[Published], lost: int = 0
    ) -> None:
        """Give a sender's batch to all who follow; see ``EventRing.publish``. Idempotent by ``number``."""
        if self._ring.publish(sender, number, events, lost):
            self._published += len(events)
            self._lost += lost
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def follow(self, place: Place | None, timeout_seconds: float) -> EventPage:
        """Return the events behind a place; waits for one, and returns none when none came.

        Begin without a place. A gap is said at once. Raises Busy when very many wait.
        """
        page = self._ring.after(place)
        if page.place == place and not page.gap:
            await self._wait(min(timeout_seconds, MAX_WAIT_SECONDS))
            page = self._ring.after(place)
        self._gaps += page.gap
        return page

    async def attend(self, report: AttendanceReport) -> AttendanceAnswer:
        """Take note of who is attached through a replica; see ``Attendance.report``."""
        return self._attendance.report(report, self._clock.monotonic())

    async def attendance(self, session_ids: Sequence[str]) -> list[int]:
        """Return how many sockets each session has; at least 1 while that is not known."""
        return [self.attached(session_id) for session_id in session_ids]

    def attached(self, session_id: str) -> int:
        """Return how many sockets a session has; at least 1 while that is not known."""
        return self._attendance.attached(session_id, self._clock.monotonic())

    def stats(self) -> Mapping[str, Any]:
        """Return counters and gauges; see ``actors.core.statistics``."""
        return {
            **self._attendance.stats(self._clock.monotonic()),
            "events_published_total": self._published,
            "events_lost_total": self._lost,
            "event_gaps_total": self._gaps,
            "event_followers": self._followers,
        }

    async def _wait(self, seconds: float) -> None:
        if self._followers >= MAX_FOLLOWERS:
            raise Busy("followers of events", 1.0)
        self._followers += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        finally:
            self._followers -= 1
