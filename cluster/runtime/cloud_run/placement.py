"""Spreads containers over projects and regions. Pure: times are the caller's, in seconds.

Each place has room for so many services and takes so many writes a minute. A container goes to a place
with a chance that is proportional to the room left there; its id decides (weighted rendezvous hashing),
so that processes that know nothing of one another do not all choose the same. A place that refuses
(429, RESOURCE_EXHAUSTED) is left alone for a while that doubles with each refusal.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from actors.core.backoff import doubled
from cluster.cloud_run_options import Place

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
WINDOW_SECONDS = 60.0


def place_of(resource: str) -> Place:
    """Return where a resource is, by its full name."""
    parts = resource.split("/")
    return Place(parts[1], parts[3])


@dataclass(slots=True)
class _Room:
    used: int = 0
    writes: deque[float] = field(default_factory=deque)
    refusals: int = 0
    blocked_until: float = 0.0


class Placement:
    """The places and what is known of them. ``limit`` services and ``writes`` a minute are each one's."""

    def __init__(self, places: Sequence[Place], *, limit: int, writes: int) -> None:
        self._rooms = {place: _Room() for place in places}
        self._limit = limit
        self._writes = writes

    @property
    def places(self) -> Sequence[Place]:
        """All places, in their order."""
        return tuple(self._rooms)

    def choose(self, container_id: str, now: float, avoid: Collection[Place] = ()) -> Place | None:
        """Return where a container may go now; None when no place takes one."""
        scored = [
            (_score(container_id, place, free), place)
            for place, room in self._rooms.items()
            if (free := self._limit - room.used) > 0
            and place not in avoid
            and self._open_at(room, now) <= now
        ]
        return max(scored)[1] if scored else None

    def wait(self, now: float) -> float | None:
        """Return after how many seconds a place with room may be asked; None when all are full."""
        times = [
            self._open_at(room, now) - now
            for room in self._rooms.values()
            if room.used < self._limit
        ]
        return max(0.0, min(times)) if times else None

    def began(self, place: Place, now: float) -> None:
        """Note that a container is being made there."""
        room = self._rooms[place]
        room.used += 1
        room.writes.append(now)

    def wrote(self, place: Place, now: float) -> None:
        """Note another call that makes or removes something; also at a place that is no longer listed."""
        room = self._rooms.get(place)
        if room is not None:
            room.writes.append(now)

    def accepted(self, place: Place) -> None:
        """Note that a place took what was asked of it."""
        self._rooms[place].refusals = 0

    def refused(self, place: Place, now: float, *, counted: bool = False) -> None:
        """Note that a place refused a call, for want of quota; ``counted``: its room stays as it is."""
        room = self._rooms.get(place)
        if room is None:
            return
        room.used = room.used if counted else max(0, room.used - 1)
        room.blocked_until = now + doubled(FIRST_PAUSE, LONGEST_PAUSE, room.refusals)
        room.refusals += 1

    def ended(self, place: Place, now: float) -> None:
        """Note that a container there is being removed; also one of a place that is no longer listed."""
        room = self._rooms.get(place)
        if room is not None:
            room.used = max(0, room.used - 1)
            room.writes.append(now)

    def pause(self, place: Place, now: float) -> float:
        """Return after how many seconds a place may be asked again."""
        room = self._rooms.get(place)
        return 0.0 if room is None else self._open_at(room, now) - now

    def counted(self, place: Place, used: int) -> None:
        """Note how many services a place has, whoever made them."""
        self._rooms[place].used = used

    def room(self) -> Mapping[Place, int]:
        """Return how many containers each place still takes."""
        return {place: max(0, self._limit - room.used) for place, room in self._rooms.items()}

    def blocked(self, now: float) -> Sequence[Place]:
        """Return the places that are left alone at this moment."""
        return [place for place, room in self._rooms.items() if self._open_at(room, now) > now]

    def _open_at(self, room: _Room, now: float) -> float:
        while room.writes and room.writes[0] <= now - WINDOW_SECONDS:
            room.writes.popleft()
        free_at = now
        if len(room.writes) >= self._writes:
            free_at = room.writes[len(room.writes) - self._writes] + WINDOW_SECONDS
        return max(free_at, room.blocked_until)


def _score(container_id: str, place: Place, weight: int) -> float:
    digest = blake2b(f"{container_id}\0{place}".encode(), digest_size=7).digest()
    share = (int.from_bytes(digest, "big") + 0.5) / 2.0**56
    return weight / -math.log(share)
