"""Publishes sessions' events to all sockets of this replica: one long poll for each session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from actors.core.backoff import Backoff
from actors.core.calls import SessionCalls
from actors.core.errors.base import CoditectError
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import SessionEnded
from actors.core.ports.clock import Clock
from actors.core.records.sessions import SessionEvent
from actors.core.tasks import Tasks
from serve_app.sessions.gateway import SessionGateway

logger = structlog.get_logger(__name__)

POLL_SECONDS = 25.0
_SLACK_SECONDS = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 3.0

Listener = Callable[[SessionEvent], None]


@dataclass(slots=True)
class _Followed:
    listeners: set[Listener] = field(default_factory=set)
    task: asyncio.Task[Any] | None = None


class EventHub:
    """Follows the sessions that somebody listens to.

    A listener is called for each event, in order, on the event loop; it must not block, and bounds
    whatever it keeps. After an event of type ``ended`` no other one comes.
    """

    def __init__(self, gateway: SessionGateway, clock: Clock, tasks: Tasks) -> None:
        self._gateway = gateway
        self._clock = clock
        self._tasks = tasks
        self._followed: dict[str, _Followed] = {}

    @property
    def sessions(self) -> int:
        """The number of followed sessions."""
        return len(self._followed)

    def listen(self, session_id: str, listener: Listener) -> None:
        """Call the listener for every event from now on."""
        followed = self._followed.setdefault(session_id, _Followed())
        followed.listeners.add(listener)
        if followed.task is None:
            followed.task = self._tasks.spawn(
                f"events of {session_id}", self._follow(session_id, followed)
            )

    def unlisten(self, session_id: str, listener: Listener) -> None:
        """Stop calling it. Idempotent."""
        followed = self._followed.get(session_id)
        if followed is None:
            return
        followed.listeners.discard(listener)
        if not followed.listeners:
            del self._followed[session_id]
            if followed.task is not None:
                followed.task.cancel()

    async def _follow(self, session_id: str, followed: _Followed) -> None:
        activation: int | None = None
        seq = 0
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        began = self._clock.now()
        while True:
            try:
                events = await self._gateway.call(
                    session_id,
                    SessionCalls.events,
                    POLL_SECONDS + _SLACK_SECONDS,
                    activation,
                    seq,
                    POLL_SECONDS,
                )
            except (NotFound, SessionEnded):
                self._publish(session_id, followed, _ended(activation, seq, self._clock.now()))
                return
            except CoditectError as error:
                logger.info("events have to wait", session_id=session_id, reason=str(error))
                await self._clock.sleep(backoff.next())
                continue
            backoff.reset()
            for event in events:
                # What a new numbering begins with was mostly published before, or before anyone asked.
                if activation is not None or event.at >= began:
                    self._publish(session_id, followed, event)
                activation, seq = event.activation, event.seq
                if event.type == "ended":
                    return

    def _publish(self, session_id: str, followed: _Followed, event: SessionEvent) -> None:
        for listener in tuple(followed.listeners):
            listener(event)
        if event.type == "ended":
            self._followed.pop(session_id, None)


def _ended(activation: int | None, seq: int, at: float) -> SessionEvent:
    return SessionEvent(activation=activation or 0, seq=seq + 1, at=at, type="ended")
