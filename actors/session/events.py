"""The last events of one activation of a session, numbered, in a ring of bounded size. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from actors.core.records.sessions import SessionEvent

MAX_EVENTS = 512
MAX_PAGE = 256


class EventRing:
    """Numbers events from 1. ``activation`` is the epoch at which the numbering began."""

    def __init__(self, activation: int, *, limit: int = MAX_EVENTS) -> None:
        self.activation = activation
        self._events: deque[SessionEvent] = deque(maxlen=limit)
        self._seq = 0

    @property
    def last_seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._seq

    def append(self, kind: str, data: Mapping[str, Any], at: float) -> SessionEvent:
        """Add an event that happened at Unix time ``at``; the oldest one may be dropped for it."""
        self._seq += 1
        event = SessionEvent(
            activation=self.activation, seq=self._seq, at=at, type=kind, data=dict(data)
        )
        self._events.append(event)
        return event

    def since(self, activation: int | None, seq: int) -> list[SessionEvent]:
        """Return events after ``seq``, oldest first and at most ``MAX_PAGE``.

        A reader that followed another activation, or claims to have seen more than there was, starts
        over. A gap to ``seq`` means that events were dropped in between.
        """
        if activation != self.activation or seq > self._seq:
            seq = 0
        newer = [event for event in self._events if event.seq > seq]
        return newer[:MAX_PAGE]
