"""Turns at something scarce: a few at once, a bounded number waiting, and every party served in turn.

A party that makes all wait for it waits for itself: whose turn comes next goes round the parties, and when
the room is full the last of whoever has most there makes place for one of a party that has less.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from actors.core.errors.limits import TooManyRequests


class FairTurns:
    """``parallel`` at once, at most ``room`` waiting. Belongs to one event loop.

    ``refusal`` makes the error for whoever finds no place, or loses it.
    """

    def __init__(self, parallel: int, room: int, refusal: Callable[[], TooManyRequests]) -> None:
        self._free = parallel
        self._room = room
        self._refusal = refusal
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._count = 0

    @property
    def waiting(self) -> int:
        """The number that wait."""
        return self._count

    async def take(self, party: str) -> None:
        """Wait for a turn; ``give_back`` ends it. Raises TooManyRequests."""
        if self._free:
            self._free -= 1
            return
        if self._count >= self._room:
            self._make_place(party)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, deque()).append(turn)
        self._count += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back()  # it came at the same moment
            else:
                self._leave(party, turn)
            raise

    def give_back(self) -> None:
        """End a turn: the next party's first is served."""
        while self._waiting:
            party, queue = next(iter(self._waiting.items()))
            turn = queue[0]
            self._leave(party, turn)
            if party in self._waiting:
                self._waiting.move_to_end(party)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _make_place(self, party: str) -> None:
        most = max(self._waiting, key=lambda each: len(self._waiting[each]), default=party)
        own = len(self._waiting.get(party, ()))
        if len(self._waiting.get(most, ())) <= own + 1:
            raise self._refusal()
        last = self._waiting[most][-1]
        self._leave(most, last)
        if not last.done():
            last.set_exception(self._refusal())

    def _leave(self, party: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(party)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        self._count -= 1
        if not queue:
            del self._waiting[party]
