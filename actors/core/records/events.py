"""What happens to sessions, on its way from who publishes it to who follows a node."""

from __future__ import annotations

from typing import Any, NamedTuple

from actors.core.records.sessions import SessionEvent

MOVED = "moved"
"""The event by which followers of a node learn to look where a session is now; nobody else hears of it."""


class Published(NamedTuple):
    """One thing that happened to a session at Unix time ``at``; ``data`` is JSON."""

    session_id: str
    type: str
    data: dict[str, Any]
    at: float


class Place(NamedTuple):
    """How far a follower has read the events of one incarnation of a node's broker."""

    incarnation: int
    seq: int


class EventPage(NamedTuple):
    """Events with their sessions, in order, and where to read on.

    ``gap``: others came before them, or between, and are not to be had any more.
    """

    place: Place
    events: list[tuple[str, SessionEvent]]
    gap: bool = False
