"""Carries the warm pool's plans out: takes the facts, asks for a plan, acts, and feeds results back.

Nothing of Ray here: session actors come as ``SessionActors``, so that the whole runs in tests. Two
loops: the refill, woken by every change, and the sweep, every few seconds and when a warm container's
record says that it is lost. The first sweep comes before the first refill: after a restart of this
process what it had started before is found again and adopted instead of being started twice.
"""

from __future__ import annotations

import asyncio
import logging

from actors.core import informer
from actors.core.errors.base import ActorGone, CoditectError, DeadlineExceeded, Unavailable
from actors.core.ports.services import Services
from actors.core.records.sessions import Cause, Opened
from actors.core.tasks import Tasks
from actors.pool.claims import Claims, OpenRequest
from actors.pool.launcher import Launcher
from actors.pool.plan import (
    Action,
    AdoptContainer,
    DropSlot,
    ForgetContainer,
    LaunchContainer,
    PoolRules,
    RetireActor,
    RetireReason,
    StartActor,
    StopContainer,
    plan_refill,
    strays,
)
from actors.pool.slots import SlotState
from actors.pool.sweep_plan import LIVE_STATUSES, LOST_STATUSES, Facts, plan_removals, plan_sweep
from actors.pool.warm import SessionActors, WarmPools

logger = logging.getLogger(__name__)

PING_SECONDS = 2.0
PINGS_AT_ONCE = 8
STRAYS_AT_ONCE = 64
REMOVAL_SECONDS = 300.0
SWEEP_SECONDS = 5.0
SWEEP_DUTY = 0.05


class PoolReconciler:
    """The warm pools of one node. Belongs to one event loop; ``run`` until cancelled, then ``close``."""

    def __init__(
        self,
        services: Services,
        actors: SessionActors,
        *,
        pool_name: str,
        max_starting: int = 2,
        rules: PoolRules | None = None,
    ) -> None:
        settings = services.settings
        self._services = services
        self._actors = actors
        self._pool_name = pool_name
        self.rules = rules or PoolRules(settings.orphan_lease, settings.launch_limit)
        self.pools = WarmPools(settings, self.rules, services.clock, max_starting=max_starting)
        self._records = informer.of_containers(services)
        self._sessions = informer.of_sessions(services)
        self._tasks = Tasks()
        self.claims = Claims(services, actors, self.pools, self._tasks)
        self.launcher = Launcher(services, actors, self.pools, self.claims.touched)
        self._lost = asyncio.Event()
        self._swept = asyncio.Event()
        self._suspects: dict[str, float] = {}
        self._strange: dict[str, float] = {}
        self._elsewhere: set[str] = set()
        self._removing: set[str] = set()
        self._left: dict[str, float] = {"": 0.0}  # as if there were some, until it has been read
        self._left_at: bytes | None = None
        self._workspaces_removed = 0
        self._sweep_seconds = 0.0
        self._sweep_failures = 0
        self._adopted = 0
        self._running = 0

    async def open_session(self, request: OpenRequest, dead_actor_id: str | None = None) -> Opened:
        """Return who holds the user's session of that name; see ``Claims.open_session``."""
        return await self.claims.open_session(request, dead_actor_id)

    async def actor_released(self, actor_id: str) -> None:
        """Take an actor back whose session went to rest; ignored unless it says so when asked."""
        await self._adopt_if_free(actor_id)

    async def run(self) -> None:
        """Keep both pools filled and the node's containers explained. Runs until cancelled.

        An error that is not of this server or its disk ends it with an ExceptionGroup: the process
        should then end too, and start again from the store.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep_forever(), name="pool sweep")
            group.create_task(self._watch_forever(), name="pool watch")
            group.create_task(self._refill_forever(), name="pool refill")

    async def close(self) -> None:
        """End every task and send waiting claims away; containers and actors live on."""
        self.pools.close()
        await self._tasks.close()

    def refill(self) -> None:
        """Begin what the refill plan asks for at this moment."""
        now = self._services.clock.monotonic()
        demand = self.pools.demand(now)
        actions = plan_refill(self.pools.actors, self.pools.containers, demand, self.rules, now)
        for action in actions:
            match action:
                case StartActor():
                    actor_id = self._services.new_id("a")
                    work = self.launcher.start_actor(actor_id)
                    if self._tasks.offer(f"start {actor_id}", work):
                        self.pools.actors.start(actor_id, now)
                case LaunchContainer():
                    container_id = self._services.new_id("c")
                    work = self.launcher.launch_container(container_id)
                    if self._tasks.offer(f"launch {container_id}", work):
                        self.pools.containers.start(container_id, now)
                case RetireActor(actor_id, reason):
                    work = self.launcher.retire_actor(actor_id, reason)
                    if self._tasks.offer(f"retire {actor_id}", work):
                        self.pools.actors.drop(actor_id)
                case _:
                    raise AssertionError(action)

    async def sweep(self) -> None:
        """Take the facts of this node, carry out what they ask for, and look after the actors."""
        clock = self._services.clock
        began = clock.monotonic()
        touched = self.claims.touched
        touched.clear()
        touched.update(s.slot_id for s in self.pools.containers if s.state is not SlotState.READY)
        listed = await self._actors.listed()
        records = list((await self._records.refresh()).values())
        running = await self._services.runtime.list()
        sessions = await self._sessions.refresh()
        facts = Facts(began, records, running, sessions, touched, self._suspects)
        sweep = plan_sweep(facts, self.pools.containers, self.rules)
        self._suspects = sweep.suspects
        await asyncio.gather(*(self._settle(action) for action in sweep.actions))
        owners = {s.owner_actor_id for s in sessions.values() if s.owner_actor_id is not None}
        await self._look_after_actors(listed, owners)
        await self._remove_left_workspaces(facts)
        self._sweep_seconds = clock.monotonic() - began

    def room(self) -> dict[str, int]:
        """Return how many containers are warm, and how many there are in all."""
        warm = self.pools.containers.count(SlotState.READY)
        return {"warm": warm, "containers": max(warm, self._running)}

    def stats(self) -> dict[str, object]:
        """Return counters, gauges and distributions of this pool; see ``actors.core.statistics``."""
        pools, claims, launcher = self.pools, self.claims, self.launcher
        ready = pools.containers.count(SlotState.READY)
        target = pools.containers.target
        return {
            "claims_total": claims.total,
            "claim_failures_total": claims.failures,
            "sessions_created_total": claims.created,
            "pool_hits_total": claims.hits,
            "pool_hit_rate": claims.hits / claims.created if claims.created else 1.0,
            "claim_seconds": claims.seconds.snapshot(),
            "activation_seconds": claims.activation_seconds.snapshot(),
            **{f"activations_{cause}_total": claims.activations[cause] for cause in Cause},
            "claims_waiting": pools.waiting,
            "claims_busy_total": pools.busy_total,
            "slots_gone_total": claims.slots_gone,
            "takeovers_total": claims.takeovers,
            "warm_actors_ready": pools.actors.count(SlotState.READY),
            "warm_actors_starting": pools.actors.count(SlotState.STARTING),
            "warm_actors_target": pools.actors.target,
            "warm_containers_ready": ready,
            "warm_containers_starting": pools.containers.count(SlotState.STARTING),
            "warm_containers_target": target,
            "pool_utilization": max(0.0, 1.0 - ready / target) if target else 0.0,
            "actor_start_seconds": pools.start_seconds.snapshot(),
            "container_launch_seconds": launcher.launch_seconds.snapshot(),
            "launch_failures_total": launcher.launch_failures,
            "actor_start_failures_total": launcher.start_failures,
            "actors_retired_total": launcher.actors_retired,
            "containers_stopped_total": launcher.containers_stopped,
            "adoptions_total": self._adopted,
            "sweep_failures_total": self._sweep_failures,
            "orphans": len(self._suspects),
            "workspaces_removed_total": self._workspaces_removed,
            "sweep_duration": self._sweep_seconds,
            "task_failures_total": self._tasks.failures,
        }

    # ---- settling and adopting --------------------------------------------------------------

    async def _settle(self, action: Action) -> None:
        """Carry out one action of a sweep. What fails comes again with the next sweep."""
        containers = self.pools.containers
        try:
            match action:
                case AdoptContainer(handle):
                    now = self._services.clock.monotonic()
                    if containers.adopt(handle.container_id, now, handle):
                        self._adopted += 1
                case DropSlot(container_id):
                    slot = containers.get(container_id)
                    if slot is not None and slot.state is SlotState.READY:
                        containers.drop(container_id)
                case StopContainer() | ForgetContainer():
                    await self.launcher.end_container(action)
                case _:
                    raise AssertionError(action)
        except (CoditectError, OSError) as error:
            self._sweep_failures += 1
            logger.warning("%s has to wait: %s", action, error)

    async def _remove_left_workspaces(self, facts: Facts) -> None:
        """Begin to remove what ended sessions left; a large tree takes longer than a sweep may."""
        services = self._services
        at = self._sessions.place
        if at == self._left_at and not self._left:
            return  # no session has ended meanwhile
        self._left = await services.ledger.left_workspaces(services.settings.node_id)
        self._left_at = at
        for workspace_id in plan_removals(self._left, facts, self.rules, services.clock.now()):
            if workspace_id in self._removing or len(self._removing) >= self.rules.max_stops:
                continue
            work = self._remove_workspace(workspace_id)
            if self._tasks.offer(f"remove {workspace_id}", work):
                self._removing.add(workspace_id)

    async def _remove_workspace(self, workspace_id: str) -> None:
        services = self._services
        try:
            async with asyncio.timeout(REMOVAL_SECONDS):
                await services.runtime.delete_workspace(workspace_id)
            await services.ledger.forget_workspace(services.settings.node_id, workspace_id)
            self._workspaces_removed += 1
        except (CoditectError, OSError) as error:  # TimeoutError is an OSError
            self._sweep_failures += 1
            logger.warning("workspace %s has to wait: %s", workspace_id, error)
        finally:
            self._removing.discard(workspace_id)

    async def _look_after_actors(self, listed: list[str], owners: set[str]) -> None:
        """Drop slots of actors that do not answer; adopt, or in the end kill, those without a slot."""
        self._elsewhere.intersection_update(listed)
        alone = strays(listed, owners, self.pools.actors, self._elsewhere)[:STRAYS_AT_ONCE]
        ready = [s.slot_id for s in self.pools.actors if s.state is SlotState.READY]
        gate = asyncio.Semaphore(PINGS_AT_ONCE)

        async def bounded(actor_id: str, *, stray: bool) -> None:
            async with gate:
                await (self._look_after_stray(actor_id) if stray else self._check_ready(actor_id))

        await asyncio.gather(
            *(bounded(actor_id, stray=False) for actor_id in ready),
            *(bounded(actor_id, stray=True) for actor_id in alone),
        )
        self._strange = {a: since for a, since in self._strange.items() if a in alone}

    async def _check_ready(self, actor_id: str) -> None:
        try:
            await self._actors.ping(actor_id, PING_SECONDS)
        except (Unavailable, DeadlineExceeded):
            slot = self.pools.actors.get(actor_id)
            if slot is not None and slot.state is SlotState.READY:
                self.pools.actors.drop(actor_id)
                self.pools.changed.set()

    async def _look_after_stray(self, actor_id: str) -> None:
        """Adopt an actor without a slot; kill one that stays silent, or holds what it does not own."""
        try:
            if not await self._adopt_if_free(actor_id):
                await self._suspect(actor_id, RetireReason.DISOWNED)
            else:
                self._strange.pop(actor_id, None)
        except ActorGone:
            self._strange.pop(actor_id, None)
        except (Unavailable, DeadlineExceeded):
            await self._suspect(actor_id, RetireReason.UNRESPONSIVE)

    async def _suspect(self, actor_id: str, reason: RetireReason) -> None:
        now = self._services.clock.monotonic()
        since = self._strange.setdefault(actor_id, now)
        if now - since >= self.rules.orphan_lease:
            await self.launcher.retire_actor(actor_id, reason)

    async def _adopt_if_free(self, actor_id: str) -> bool:
        """Give an actor a slot if it has no session; false if it holds one that the store denies it.

        That happens when another took the session over while this one did not answer. It learns of it
        with its next write, and ends itself; one that never writes would stay for ever.
        """
        said = await self._actors.ping(actor_id, PING_SECONDS)
        if said.get("pool") != self._pool_name:
            self._elsewhere.add(actor_id)
            return True
        bound = await self._services.ledger.bound_session(actor_id)
        if bound is not None or said.get("session_id") is not None:
            return bound is not None
        if self.pools.actors.adopt(actor_id, self._services.clock.monotonic()):
            self._adopted += 1
            self.pools.offer()
            self.pools.changed.set()
        return True

    # ---- the two loops ----------------------------------------------------------------------

    async def _refill_forever(self) -> None:
        await self._swept.wait()
        while True:
            self.refill()
            self.pools.changed.clear()
            now = self._services.clock.monotonic()
            pause = self.pools.rest(now, self._services.settings.reconcile_interval)
            try:
                async with asyncio.timeout(pause):
                    await self.pools.changed.wait()
            except TimeoutError:
                continue

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self.sweep()
                self._swept.set()
                self.pools.changed.set()
            except (CoditectError, OSError) as error:
                self._sweep_failures += 1
                logger.warning("the sweep has to wait: %s", error)
            pause = max(SWEEP_SECONDS, self._sweep_seconds / SWEEP_DUTY)
            if not self._swept.is_set():
                pause = 0.5
            try:
                async with asyncio.timeout(pause):
                    await self._lost.wait()
            except TimeoutError:
                pass
            self._lost.clear()

    async def _watch_forever(self) -> None:
        """Have a sweep made as soon as a warm container is lost."""
        while True:
            try:
                records = await self._records.refresh()
                self._running = sum(each.status in LIVE_STATUSES for each in records.values())
                ready = [s.slot_id for s in self.pools.containers if s.state is SlotState.READY]
                if any(i in records and records[i].status in LOST_STATUSES for i in ready):
                    self._lost.set()
            except (CoditectError, OSError) as error:
                logger.warning("warm containers are not watched: %s", error)
            await self._records.wait(SWEEP_SECONDS)
