"""Turns where few can work at once: users take them fairly, however many sessions each of them has.

Of those who wait, the user has the next place who has the fewest; among those the one who waits longest for
their turn. Nobody has more than a share of the places, so that one is free soon for whoever comes. Each
holds a place for a piece of work of a bounded size, and no longer.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairTurns:
    """``places`` at once, of which a user has up to ``share``. Belongs to one event loop."""

    def __init__(self, places: int, share: int | None = None) -> None:
        self._free = places
        self._share = share or max(1, places // 2)
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, user_id: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, deque()).append(place)
        self._give()
        try:
            await place
        except asyncio.CancelledError:
            self._leave(user_id, place)
            raise
        try:
            yield
        finally:
            self._release(user_id)

    def _give(self) -> None:
        while self._free and (users := [u for u in self._waiting if self._held[u] < self._share]):
            user_id = min(users, key=lambda user: self._held[user])  # of several the first in line
            line = self._waiting.pop(user_id)
            place = line.popleft()
            if line:
                self._waiting[user_id] = line  # at the end of the line of users
            if place.done():
                continue  # who waited has been cancelled, and is about to notice
            place.set_result(None)
            self._held[user_id] += 1
            self._free -= 1

    def _leave(self, user_id: str, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():  # it was given in the moment of the cancellation
            self._release(user_id)
            return
        line = self._waiting.get(user_id)
        if line is not None and place in line:
            line.remove(place)
            if not line:
                del self._waiting[user_id]

    def _release(self, user_id: str) -> None:
        self._held[user_id] -= 1
        if not self._held[user_id]:
            del self._held[user_id]
        self._free += 1
        self._give()
