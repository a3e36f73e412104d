"""Sends the events of one process to its node's broker, in batches and in order.

Nobody waits for it. A batch is sent until the broker has it, which knows one that came twice by its number;
a broker that stays away costs events, and the next batch says how many, so that followers read again what
they may have missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from actors.core.backoff import Backoff
from actors.core.calls import ActorCaller, HealthCalls, Ref
from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.events import Published
from actors.core.tasks import Tasks

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
MAX_BATCH = 256
SEND_SECONDS = 5.0
GIVE_UP_SECONDS = 15.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class EventSender:
    """Implements ``EventPublisher``. Belongs to one event loop; ``sender_id`` is this process's alone.

    Its one task lives while there is something to send.
    """

    def __init__(
        self, actors: ActorCaller, broker: Ref[HealthCalls], clock: Clock, sender_id: str
    ) -> None:
        self._actors = actors
        self._broker = broker
        self._clock = clock
        self._sender_id = sender_id
        self._waiting: deque[Published] = deque()
        self._number = 0
        self._lost = 0
        self._tasks = Tasks(limit=2)
        self._sending: asyncio.Task[None] | None = None

    def publish(self, session_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """Have an event sent; of too many that wait the oldest one is dropped."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(Published(session_id, kind, dict(data), self._clock.now()))
        if self._sending is None:
            self._sending = self._tasks.offer("send events", self._send())

    async def close(self) -> None:
        """Drop what waits."""
        await self._tasks.close()

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                if not await self._deliver(batch):
                    self._lost += len(batch) + len(self._waiting)
                    self._waiting.clear()
        finally:
            self._sending = None

    async def _deliver(self, batch: list[Published]) -> bool:
        self._number += 1
        lost = self._lost
        give_up_at = self._clock.monotonic() + GIVE_UP_SECONDS
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                await self._actors.call(
                    self._broker,
                    HealthCalls.publish,
                    SEND_SECONDS,
                    self._sender_id,
                    self._number,
                    batch,
                    lost,
                )
            except CoditectError as error:
                if self._clock.monotonic() >= give_up_at:
                    logger.warning("%d events are lost: %s", len(batch), error)
                    return False
                await self._clock.sleep(backoff.next())
            else:
                self._lost -= lost
                return True
