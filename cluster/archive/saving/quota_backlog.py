"""Keeps what a quota holds back, and decides when to look again. Pure: no I/O, no clock.

Held paths lie in the container's directory only. They are looked for again by a walk through the
workspace, which finds all of them whatever was missed: when there is more room than there was, or when
something has changed, since what was held may be gone. Walks take a small part of the time at most.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from actors.core.quotas import Amount, Resource, Room, totals

MAX_PATHS = 20_000
PAUSE_SECONDS = 2.0
DUTY = 0.05


class QuotaBacklog:
    """The held paths of one workspace. Beyond ``MAX_PATHS`` they are only known to be more."""

    def __init__(self) -> None:
        self.lacks: Resource | None = None
        self._paths: dict[bytes, Amount] = {}
        self._more = False
        self._left: dict[Resource, int] = {}
        self._changed = False
        self._look_at = 0.0

    def __bool__(self) -> bool:
        return self.lacks is not None

    def __contains__(self, path: bytes) -> bool:
        return path in self._paths

    def hold(self, paths: Mapping[bytes, Amount], lacks: Resource, room: Room) -> None:
        """Take paths that do not fit into the room, with what they would add."""
        self.lacks = lacks
        # Some may lack one of them, and some the other.
        for resource in (Resource.FILE_BYTES, Resource.FILES):
            if (left := room.left(resource)) is not None:
                self._left[resource] = min(left, self._left.get(resource, left))
        for path, amount in paths.items():
            if path in self._paths or len(self._paths) < MAX_PATHS:
                self._paths[path] = amount
            else:
                self._more = True

    def release(self, paths: Iterable[bytes]) -> None:
        """Forget paths that are archived, or gone."""
        for path in paths:
            self._paths.pop(path, None)
        self._settle()

    def touched(self) -> None:
        """Something has changed, so that what is held may be less."""
        self._changed = True

    def begin_walk(self) -> None:
        """All that is held will be found anew."""
        self._paths.clear()
        self._more = self._changed = False
        self._left.clear()

    def end_walk(self, monotonic: float, seconds: float) -> None:
        """Everything was looked at, which took some seconds."""
        self._look_at = monotonic + max(PAUSE_SECONDS, seconds / DUTY)
        self._settle()

    def may_look(self, monotonic: float) -> bool:
        """Return whether it is time to ask for the room again."""
        return self.lacks is not None and monotonic >= self._look_at

    def worth_looking(self, room: Room) -> bool:
        """Return whether something of what is held may fit now, or be gone."""
        if self.lacks is None:
            return False
        return (
            self._changed
            or not self._left
            or any(
                (left := room.left(r)) is None or left > least for r, least in self._left.items()
            )
        )

    @property
    def paths(self) -> int:
        """The number of paths held."""
        return len(self._paths)

    @property
    def size(self) -> int:
        """The bytes more that they would take."""
        return max(0, totals(self._paths.values()).size)

    def largest(self, limit: int) -> list[tuple[bytes, int]]:
        """Return the paths that would take most, with how many bytes."""
        found = heapq.nsmallest(
            limit, self._paths.items(), key=lambda each: (-each[1].size, each[0])
        )
        return [(path, amount.size) for path, amount in found]

    def _settle(self) -> None:
        if not self._paths and not self._more:
            self.lacks = None
            self._left.clear()
