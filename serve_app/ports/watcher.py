"""Has the containers of followed sessions report what listens.

CODI looks once a second while it is asked to, and its journal carries the news to the session's events. So
nothing is asked again and again: a watch is for a quarter of an hour, and is renewed, and begun anew when a
session has another container.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.ports.events import EventPublisher
from actors.core.records.sessions import SessionEvent, SessionPhase
from actors.core.tasks import Tasks
from cluster.codi.client import HttpCodiClient
from serve_app.dependencies import SessionReader
from serve_app.sessions.event_hub import EventHub
from serve_app.sessions.gateway import SessionGateway

logger = structlog.get_logger(__name__)

WATCH_SECONDS = 900
RENEW_SECONDS = 840.0
ROUND_SECONDS = 0.5
_LOOK_SECONDS = 2.0
_AT_ONCE = 8


@dataclass(slots=True)
class _Watched:
    followers: int
    due: float
    container_id: str | None = None
    shown: bool = False


class PortWatcher:
    """Belongs to one event loop; ``run`` is a task of its owner."""

    def __init__(
        self,
        ledger: SessionReader,
        gateway: SessionGateway,
        codi: HttpCodiClient,
        hub: EventHub,
        events: EventPublisher,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._codi = codi
        self._hub = hub
        self._events = events
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._tasks = Tasks(limit=_AT_ONCE)

    @contextmanager
    def following(self, session_id: str) -> Iterator[None]:
        """Watch a session's ports meanwhile."""
        watched = self._watched.get(session_id)
        if watched is None:
            # Not at once: whoever has just come wants their terminal first.
            due = self._clock.monotonic() + ROUND_SECONDS
            watched = self._watched[session_id] = _Watched(0, due)
        watched.followers += 1

        def hear(event: SessionEvent) -> None:
            ready = event.type == "status" and event.data.get("phase") == SessionPhase.READY
            if ready and event.data.get("container_id") != watched.container_id:
                watched.due = self._clock.monotonic()

        self._hub.listen(session_id, hear)
        try:
            yield
        finally:
            self._hub.unlisten(session_id, hear)
            watched.followers -= 1
            if not watched.followers:
                self._watched.pop(session_id, None)

    async def run(self) -> None:
        """Begin and renew watches until cancelled."""
        try:
            while True:
                await self._clock.sleep(ROUND_SECONDS)
                now = self._clock.monotonic()
                for session_id, watched in list(self._watched.items()):
                    if watched.due > now:
                        continue
                    look = self._look(session_id, watched)
                    if self._tasks.offer(f"ports of {session_id}", look) is None:
                        break  # the others next time
                    watched.due = now + RENEW_SECONDS
        finally:
            await self._tasks.close()

    async def _look(self, session_id: str, watched: _Watched) -> None:
        try:
            record, _ = await self._ledger.shared_ports(session_id)
            found = await self._gateway.look_into(
                record, lambda route: self._codi.ports(route, WATCH_SECONDS), _LOOK_SECONDS
            )
        except CoditectError as error:
            logger.info("ports are not watched", session_id=session_id, reason=str(error))
            return
        if found is None:  # it does not run, or does not answer: its next status leads here again
            watched.container_id = None
            return
        watched.container_id = record.container_id
        # What began before the watch did is nobody else's news.
        if found or watched.shown:
            data = {"ports": [each.model_dump(mode="json") for each in found]}
            self._events.publish(session_id, "ports", data)
        watched.shown = bool(found)
