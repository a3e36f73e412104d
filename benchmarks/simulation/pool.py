"""The warm pools of the simulation: `SlotTable`s that `plan_refill` fills, and the queue for an actor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from actors.core.settings import ActorSettings
from actors.pool.plan import Demand, PoolRules, RetireActor, StartActor, plan_refill, quiet_in
from actors.pool.slots import Slot, SlotState, SlotTable
from benchmarks.simulation.timeline import Gauge, Timeline, Turns

START_SECONDS, LAUNCH_SECONDS = 0.350, 0.300


class Pool:
    """Actors without a session and containers without a user; ``turns`` are those to start a container."""

    def __init__(
        self,
        timeline: Timeline,
        settings: ActorSettings,
        cores: int,
        on_warm: Callable[[str], None],
    ) -> None:
        self.rules = PoolRules(settings.orphan_lease, settings.launch_limit)
        self.actors = SlotTable(settings.warm_actors, max(2, cores))
        self.containers = SlotTable(settings.warm_containers, max(2, cores))
        self.turns = Turns(2 * cores)
        self.warm, self.waiting = Gauge(timeline), Gauge(timeline)
        self.alive: set[str] = set()
        self.started = self.busy = 0
        self._timeline, self._settings, self._on_warm = timeline, settings, on_warm
        self._queue: deque[tuple[float, Callable[[Slot, float], None]]] = deque()
        self._last_claim: float | None = None
        self._short_since: float | None = None
        self._due = 0.0

    @property
    def retry_after(self) -> float:
        """The seconds after which somebody who was sent away comes again."""
        return max(1.0, START_SECONDS * (len(self._queue) + 1) / self.actors.max_starting)

    def note_claim(self) -> None:
        """Note that a session is being opened; refills wait for quiet."""
        self._last_claim = self._timeline.now

    def claim(self, serve: Callable[[Slot, float], None]) -> bool:
        """Reserve an actor, now or in turn: ``serve`` gets it and the wait. False when too many wait."""
        if len(self._queue) >= self._settings.max_pending_launches:
            self.busy += 1
            return False
        self.note_claim()
        self._queue.append((self._timeline.now, serve))
        self.refill()
        return True

    def claim_container(self) -> Slot | None:
        """Take the warm container that is ready longest, if there is one."""
        slot = self.containers.reserve()
        if slot is not None:
            self.containers.take(slot.slot_id)
            self.note_claim()
            self.refill()
        return slot

    def give_back(self, actor_id: str) -> None:
        """Take an actor back whose session went to rest."""
        self.actors.adopt(actor_id, self._timeline.now)
        self.refill()

    def refill(self) -> None:
        """Serve those who wait, and do what the plan says."""
        now = self._timeline.now
        while self._queue and (slot := self.actors.reserve()) is not None:
            since, serve = self._queue.popleft()
            serve(slot, now - since)
        demand = self._demand(now)
        for action in plan_refill(self.actors, self.containers, demand, self.rules, now):
            if isinstance(action, RetireActor):
                self.actors.drop(action.actor_id)
                self.alive.discard(action.actor_id)
            elif isinstance(action, StartActor):
                self._start_actor(self._timeline.new_id("a"))
            else:
                self._launch(self._timeline.new_id("c"))
        self.warm.set(self.actors.count(SlotState.READY))
        self.waiting.set(len(self._queue))
        if self._short_since is not None and self._due <= now:
            longest = self._settings.reconcile_interval
            self._due = now + min(longest, quiet_in(demand, self.rules, now) or longest)
            self._timeline.at(self._due, self.refill)

    def _demand(self, now: float) -> Demand:
        tables = (self.actors, self.containers)
        if all(table.count(SlotState.READY) >= table.target for table in tables):
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        return Demand(len(self._queue), self._last_claim, self._short_since)

    def _start_actor(self, actor_id: str) -> None:
        self.started += 1
        self.alive.add(actor_id)
        self.actors.start(actor_id, self._timeline.now)
        self._timeline.after(START_SECONDS, self._is_ready, self.actors, actor_id)

    def _launch(self, container_id: str) -> None:
        self.containers.start(container_id, self._timeline.now)
        self.turns.take(
            lambda: self._timeline.after(LAUNCH_SECONDS, self._is_launched, container_id)
        )

    def _is_launched(self, container_id: str) -> None:
        self._on_warm(container_id)
        self._is_ready(self.containers, container_id)
        self.turns.give_back()

    def _is_ready(self, table: SlotTable, slot_id: str) -> None:
        table.started(slot_id, self._timeline.now)
        self.refill()
