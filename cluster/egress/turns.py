"""Gives sessions turns, one after the other: a thousand connections of one weigh no more than one of another.

Whoever moves bytes asks for a turn first, in which a piece of limited size is moved. Among those of one
session turns go round as well. A task that waits for a turn has it when it runs next, so only one is woken at
a time: what it does then counts before another has its turn. A session that has used up its rate has none
until it may go on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable

from cluster.egress.rates import TokenBucket

_SLICE_SECONDS = 0.002

Piece = Callable[[], bool | None]
"""What is done in a turn. True: it has woken a task, whose turn is yet to come."""


class Turns:
    """The turns of all sessions of one event loop. ``time`` is the loop's own clock."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._queues: OrderedDict[str, deque[Piece]] = OrderedDict()
        self._buckets: dict[str, TokenBucket] = {}
        self._paused: dict[str, asyncio.TimerHandle] = {}
        self._scheduled = False

    def limit(self, session_id: str, bucket: TokenBucket | None) -> None:
        """Set the rate of a session, or forget it (None)."""
        if bucket is not None:
            self._buckets[session_id] = bucket
        else:
            self._buckets.pop(session_id, None)

    def spend(self, session_id: str, count: int) -> None:
        """Take bytes that a session has moved from its rate."""
        bucket = self._buckets.get(session_id)
        if bucket is not None:
            bucket.spend(count, self._time())

    def ask(self, session_id: str, piece: Piece) -> None:
        """Have ``piece`` called when it is its session's turn."""
        queue = self._queues.get(session_id)
        if queue is None:
            queue = self._queues[session_id] = deque()
        queue.append(piece)
        self._schedule()

    async def turn(self, session_id: str) -> None:
        """Return when it is the session's turn."""
        waiting = asyncio.get_running_loop().create_future()

        def begin() -> bool:
            if waiting.done():
                return False
            waiting.set_result(None)
            return True

        self.ask(session_id, begin)
        await waiting

    def close(self) -> None:
        """Give no turns any more."""
        for timer in self._paused.values():
            timer.cancel()
        self._queues.clear()
        self._scheduled = True

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        until = self._time() + _SLICE_SECONDS
        skipped = 0
        while skipped < len(self._queues):
            session_id, queue = next(iter(self._queues.items()))
            self._queues.move_to_end(session_id)
            if session_id in self._paused or self._pause(session_id):
                skipped += 1
                continue
            skipped = 0
            piece = queue.popleft()
            if not queue:
                del self._queues[session_id]
            if piece() or self._time() >= until:
                break
        if any(session_id not in self._paused for session_id in self._queues):
            self._schedule()

    def _pause(self, session_id: str) -> bool:
        bucket = self._buckets.get(session_id)
        seconds = bucket.wait(self._time()) if bucket is not None else 0.0
        if seconds <= 0:
            return False

        def resume() -> None:
            self._paused.pop(session_id, None)
            self._schedule()

        self._paused[session_id] = asyncio.get_running_loop().call_later(seconds, resume)
        return True
