"""The last events of a node's sessions, numbered, in a ring of bounded size. Pure.

A follower says how far it has read and gets what came after, in order. If some of that is gone (the ring was
full, a process could not send it, an earlier incarnation had it), it gets a gap: events never miss silently.
A batch that a sender repeats, since its answer was lost, is known by its number, even when it comes late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cachetools import LRUCache

from actors.core.records.events import EventPage, Place, Published
from actors.core.records.sessions import SessionEvent

MAX_EVENTS = 8192
MAX_BYTES = 16 << 20
MAX_PAGE = 256
MAX_SENDERS = 50_000
_OVERHEAD = 200


class EventRing:
    """Numbers events from 1. ``incarnation`` is another one for each ring of a node."""

    def __init__(
        self, incarnation: int, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._incarnation = incarnation
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[tuple[int, str, SessionEvent]] = deque()
        self._bytes = 0
        self._seq = 0
        self._whole_from = 0
        self._numbers: LRUCache[str, int] = LRUCache(MAX_SENDERS)

    def publish(self, sender: str, number: int, events: Sequence[Published], lost: int = 0) -> bool:
        """Take a sender's batch; false if it, or a later one, was here before.

        ``lost``: so many before these will never come.
        """
        if number <= self._numbers.get(sender, 0):
            return False
        self._numbers[sender] = number
        if lost:
            self._seq += 1  # a number that no event has
            self._whole_from = self._seq
        for published in events:
            self._append(published)
        return True

    def after(self, place: Place | None) -> EventPage:
        """Return the events behind a place, at most ``MAX_PAGE``; without a place only the newest place."""
        if place is None:
            return EventPage(Place(self._incarnation, self._seq), [], gap=True)
        known = place.incarnation == self._incarnation and place.seq <= self._seq
        seq = place.seq if known else 0
        newer: deque[tuple[str, SessionEvent]] = deque()
        for _, session_id, event in reversed(self._events):
            if event.seq <= seq:
                break
            newer.appendleft((session_id, event))
        page = [newer.popleft() for _ in range(min(MAX_PAGE, len(newer)))]
        reached = page[-1][1].seq if newer else self._seq
        gap = not known or seq < self._whole_from
        return EventPage(Place(self._incarnation, reached), page, gap)

    def _append(self, published: Published) -> None:
        self._seq += 1
        event = SessionEvent(
            activation=self._incarnation,
            seq=self._seq,
            at=published.at,
            type=published.type,
            data=published.data,
        )
        size = _OVERHEAD + len(repr(published.data))
        self._events.append((size, published.session_id, event))
        self._bytes += size
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            size, _, oldest = self._events.popleft()
            self._bytes -= size
            self._whole_from = max(self._whole_from, oldest.seq)
