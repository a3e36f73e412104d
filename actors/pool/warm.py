"""The two pools of this process as claims and the reconciler share them, and the queue between.

A claim that finds no ready actor waits here, first come first served; the reconciler sees how many
wait, starts actors for them, and hands each new one to the first in the queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from actors.core.errors.base import Busy
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import SessionRecord
from actors.core.settings import ActorSettings
from actors.core.statistics import Histogram
from actors.pool.plan import Demand, PoolRules, quiet_in
from actors.pool.slots import Slot, SlotState, SlotTable


class SessionActors(Protocol):
    """The session actors as a pool uses them. Every method ends within its limit.

    Raises ActorGone when nothing will restart the actor, Unavailable and DeadlineExceeded otherwise.
    """

    async def start(self, actor_id: str, timeout_seconds: float) -> None:
        """Make an actor and return when it answers."""
        ...

    async def ping(self, actor_id: str, timeout_seconds: float) -> dict[str, Any]:
        """Return what it says of itself; ``pool`` and ``session_id`` (None: it holds no session)."""
        ...

    async def bind(
        self,
        actor_id: str,
        record: SessionRecord,
        container: ContainerRecord | None,
        key: str,
        timeout_seconds: float,
        rest_after: float | None,
    ) -> SessionRecord:
        """Give it the session that the store says it owns, with its container; return the session.

        ``rest_after``: for how many seconds it should stay, if not as long as usual.
        """
        ...

    async def kill(self, actor_id: str) -> None:
        """End its process for good. Idempotent."""
        ...

    async def listed(self) -> list[str]:
        """Return the ids of all session actors of the cluster that live or are being restarted."""
        ...


class WarmPools:
    """The slots of both pools, the claims that wait, and what the reconciler must know of them."""

    def __init__(
        self, settings: ActorSettings, rules: PoolRules, clock: Clock, *, max_starting: int
    ) -> None:
        self.actors = SlotTable(settings.warm_actors, max_starting)
        self.containers = SlotTable(settings.warm_containers, max_starting)
        self.changed = asyncio.Event()
        self.start_seconds = Histogram()
        self.busy_total = 0
        self._rules = rules
        self._clock = clock
        self._max_waiting = settings.max_pending_launches
        self._waiters: deque[asyncio.Future[Slot]] = deque()
        self._last_claim_at: float | None = None
        self._short_since: float | None = None

    @property
    def waiting(self) -> int:
        """The number of claims that wait for an actor."""
        return sum(not waiter.done() for waiter in self._waiters)

    def demand(self, now: float) -> Demand:
        """Return what is asked of the pools at this moment."""
        short = any(
            table.count(SlotState.READY) < table.target for table in (self.actors, self.containers)
        )
        if not short:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        return Demand(self.waiting, self._last_claim_at, self._short_since)

    def rest(self, now: float, longest: float) -> float:
        """Return how long the reconciler may sleep if nothing happens; seconds."""
        waits = [longest]
        quiet = quiet_in(self.demand(now), self._rules, now)
        if quiet > 0:
            waits.append(quiet)
        waits += [
            remaining
            for table in (self.actors, self.containers)
            if (remaining := table.backoff.remaining(now)) > 0
        ]
        return max(0.01, min(waits))

    def note_claim(self) -> None:
        """Note that somebody is opening a session: refills wait for quiet."""
        self._last_claim_at = self._clock.monotonic()
        self.changed.set()

    async def wait_for_actor(self, timeout_seconds: float) -> Slot:
        """Wait in the queue for an actor, which is then reserved. Raises Busy, also when late."""
        if self.waiting >= self._max_waiting:
            self.busy_total += 1
            raise Busy("session starts", self.retry_after())
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.changed.set()
        received = False
        try:
            async with asyncio.timeout(timeout_seconds):
                slot = await waiter
                received = True
                return slot
        except TimeoutError:
            self.busy_total += 1
            raise Busy("session starts", self.retry_after()) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            given = waiter.done() and not waiter.cancelled() and waiter.exception() is None
            if given and not received:  # given in the very moment in which the claim was given up
                self.put_back(waiter.result())

    def offer(self) -> None:
        """Hand ready actors to the claims that wait, in their order."""
        while self._waiters:
            if self._waiters[0].done():
                self._waiters.popleft()
                continue
            slot = self.actors.reserve()
            if slot is None:
                return
            self._waiters.popleft().set_result(slot)

    def put_back(self, slot: Slot | None) -> None:
        """Return a reserved slot that was not used, and offer it on."""
        if slot is None:
            return
        self.actors.put_back(slot.slot_id)
        self.containers.put_back(slot.slot_id)
        self.offer()
        self.changed.set()

    def retry_after(self) -> float:
        """Return the seconds in which those who wait now should have been served."""
        each = self.start_seconds.mean or 2.0
        return max(1.0, min(60.0, each * (self.waiting + 1) / self.actors.max_starting))

    def close(self) -> None:
        """Send everybody who waits away."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(Busy("session starts", 1.0))
