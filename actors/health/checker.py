"""Watches and probes the containers of one node, and carries ``verdict``'s decisions out.

An end is seen at once: one task per container waits for its process. A hang is seen by probes. A
container is watched as soon as its record is there (``actors.core.informer``), or later when there are
so many changes that following them would take more than a twentieth of the time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from actors.core import informer
from actors.core.errors.base import ActorGone, CoditectError
from actors.core.errors.sessions import NotBound
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerHandle, ContainerRecord, ContainerStatus, Health
from actors.core.records.sessions import Cause, SessionPhase, SessionRecord
from actors.core.statistics import Histogram
from actors.core.tasks import Tasks
from actors.core.timing import wait_for_event
from actors.health.verdict import (
    HealthAction,
    HealthRules,
    MarkHealth,
    MarkLost,
    ReportLoss,
    Revive,
    Vitals,
    decide,
    exited,
    is_due,
    probed,
    reported,
    scheduled,
    watchable,
)

logger = logging.getLogger(__name__)

MAX_WATCHES = 8192
PROBES_AT_ONCE = 32
REVIVAL_PAUSE = 1.0
"""Seconds between two looks at a session that is revived; its new container's record comes by itself."""

REVIVAL_SECONDS = 15.0
"""For how long one that is being revived holds the next one up."""

CALL_SECONDS = 5.0
DUTY = 0.05

_COMING_UP = frozenset({SessionPhase.STARTING, SessionPhase.RECOVERING, SessionPhase.READY})


class Owners(Protocol):
    """The receivers of a session's loss. Every method ends within its limit."""

    async def container_lost(
        self, actor_id: str, session_id: str, container_id: str, reason: str
    ) -> None:
        """Report the loss to a session's owner. Raises ActorGone, NotBound, Unavailable, DeadlineExceeded."""
        ...

    async def reopen(
        self, session: SessionRecord, dead_actor_id: str | None, cause: Cause
    ) -> str | None:
        """Have the pool open a session whose owner is gone, or that has none; return its owner.

        Raises NotFound, Busy, Unavailable, others.
        """
        ...


class HealthChecker:
    """The health of one node's containers. ``chance`` returns a number in [0, 1).

    At most ``revivals`` sessions at rest are revived at once: each takes a warm actor and a turn to start
    a container. Those that ``attended`` says somebody is attached to come first.
    """

    def __init__(
        self,
        services: Services,
        owners: Owners,
        chance: Callable[[], float],
        *,
        revivals: int,
        attended: Callable[[str], bool],
    ) -> None:
        settings = services.settings
        self._max_revivals = revivals
        self._attended = attended
        self._services = services
        self._owners = owners
        self._chance = chance
        self.containers = informer.of_containers(services)
        self.rules = HealthRules(settings.probe_interval, settings.probe_failures)
        self._records: dict[str, ContainerRecord] = {}
        self._vitals: dict[str, Vitals] = {}
        self._watches: dict[str, asyncio.Task[Any]] = {}
        self._tasks = Tasks(limit=2 * MAX_WATCHES)
        self._gate = asyncio.Semaphore(PROBES_AT_ONCE)
        self._to_revive: tuple[deque[Revive], deque[Revive]] = (deque(), deque())
        self._reviving: set[str] = set()
        self._reporting: set[str] = set()
        self._awaited: dict[str, asyncio.Event] = {}  # by session: it has another container
        self._revivers = 0
        self._refresh_seconds = 0.0
        self._probe_seconds = Histogram()
        self._probes = self._probe_failures = self._exits = self._reported = self._lost = 0
        self._failures = 0

    async def run(self) -> None:
        """Watch until cancelled. An error that is not of this server or its machine ends it."""
        clock, due = self._services.clock, 0.0
        while True:
            try:
                await self.refresh()
                if clock.monotonic() >= due:
                    due = clock.monotonic() + self._services.settings.reconcile_interval
                    await self.probe_due()
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("health has to wait: %s", error)
            pause = max(0.0, due - clock.monotonic())
            await self.containers.wait(pause, rest=self._refresh_seconds / DUTY)

    async def close(self) -> None:
        """End all watches."""
        await self._tasks.close()

    async def refresh(self) -> None:
        """Take the node's containers from the store; begin and end watches accordingly."""
        clock = self._services.clock
        records = await self.containers.refresh()
        began = clock.monotonic()
        self._records = {i: r for i, r in records.items() if watchable(r) is not None}
        for container_id in self._vitals.keys() - self._records.keys():
            del self._vitals[container_id]
        for container_id in self._watches.keys() - self._records.keys():
            self._watches.pop(container_id).cancel()
        for container_id, record in self._records.items():
            handle = watchable(record)
            assert handle is not None
            awaited = self._awaited.get(record.session_id or "")
            if awaited is not None and container_id not in self._reviving:
                awaited.set()
            if container_id not in self._vitals:
                fresh = Vitals(container_id, health=record.health)
                self._vitals[container_id] = scheduled(
                    fresh, clock.monotonic(), self.rules, self._chance()
                )
            lives = self._vitals[container_id].health is not Health.DEAD
            if lives and container_id not in self._watches and len(self._watches) < MAX_WATCHES:
                self._watches[container_id] = self._tasks.spawn(
                    f"watch {container_id}", self._watch(handle)
                )
        self._refresh_seconds = clock.monotonic() - began

    async def probe_due(self) -> None:
        """Probe whatever is due, a bounded number at once, and act on every verdict."""
        now = self._services.clock.monotonic()
        due = [vitals for vitals in self._vitals.values() if is_due(vitals, now)]
        pending = [v for v in self._vitals.values() if v.lost is not None and not is_due(v, now)]
        results = await asyncio.gather(
            *(self._probe(vitals.container_id) for vitals in due),
            *(self._act(vitals.container_id) for vitals in pending),
            return_exceptions=True,
        )
        for vitals, error in zip([*due, *pending], results, strict=True):
            if isinstance(error, Exception):  # one container must not end the watch of all
                self._failures += 1
                logger.error("container %s", vitals.container_id, exc_info=error)

    def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions; see ``actors.core.statistics``."""
        verdicts = [vitals.health for vitals in self._vitals.values()]
        return {
            "active_containers": sum(
                record.status is ContainerStatus.READY for record in self._records.values()
            ),
            "containers_watched": len(self._watches),
            "containers_healthy": verdicts.count(Health.HEALTHY),
            "containers_unhealthy": verdicts.count(Health.UNHEALTHY),
            "containers_dead": verdicts.count(Health.DEAD),
            "probes_total": self._probes,
            "probe_failures_total": self._probe_failures,
            "probe_seconds": self._probe_seconds.snapshot(),
            "exits_total": self._exits,
            "owners_told_total": self._reported,
            "containers_lost_total": self._lost,
            "health_failures_total": self._failures + self._tasks.failures,
        } | self.containers.stats("containers")

    async def _watch(self, handle: ContainerHandle) -> None:
        container_id = handle.container_id
        try:
            reason = await self._services.runtime.wait_exit(handle)
            if container_id in self._vitals:
                self._exits += 1
                self._vitals[container_id] = exited(self._vitals[container_id], reason)
                await self._act(container_id)
        finally:
            if self._watches.get(container_id) is asyncio.current_task():
                del self._watches[container_id]

    async def _probe(self, container_id: str) -> None:
        record = self._records.get(container_id)
        handle = watchable(record) if record else None
        if handle is None:
            return
        clock, limit = self._services.clock, self._services.settings.probe_timeout
        async with self._gate:
            began = clock.monotonic()
            try:
                async with asyncio.timeout(limit):
                    result = await self._services.runtime.probe(handle)
            except (TimeoutError, CoditectError, OSError):
                result = Health.UNHEALTHY
            now = clock.monotonic()
        self._probes += 1
        self._probe_failures += result is not Health.HEALTHY
        self._probe_seconds.observe(now - began)
        vitals = self._vitals.get(container_id)
        if vitals is None:
            return
        vitals = probed(vitals, result, self.rules)
        self._vitals[container_id] = scheduled(vitals, now, self.rules, self._chance())
        await self._act(container_id)

    async def _act(self, container_id: str) -> None:
        """Do what the verdict asks for. What fails is decided anew at the next look."""
        vitals, record = self._vitals.get(container_id), self._records.get(container_id)
        if vitals is None or record is None:
            return
        try:
            session: SessionRecord | None = None
            if vitals.lost is not None:
                record, session = await self._fresh(record)
                if record is None:
                    return
            now = self._services.clock.monotonic()
            action = decide(vitals, record, session, self.rules, now)
            if action is not None:
                await self._carry_out(action)
        except (CoditectError, OSError) as error:
            self._failures += 1
            logger.warning("container %s: %s", container_id, error)

    async def _fresh(
        self, record: ContainerRecord
    ) -> tuple[ContainerRecord | None, SessionRecord | None]:
        """Read the record again, as a claim may have given it a user since the last refresh."""
        ledger = self._services.ledger
        current = await ledger.container(record.container_id)
        if current is None or current.session_id is None:
            return current, None
        return current, await ledger.session(current.session_id)

    async def _carry_out(self, action: HealthAction) -> None:
        ledger = self._services.ledger
        match action:
            case MarkLost(container_id, expected, health, reason):
                self._lost += 1
                await ledger.set_container_status(
                    container_id,
                    ContainerStatus.LOST,
                    expected=(expected,),
                    health=health,
                    reason=reason,
                )
            case MarkHealth(container_id, expected, health):
                await ledger.set_container_status(
                    container_id, expected, expected=(expected,), health=health
                )
                record = self._records.get(container_id)
                if record is not None:
                    self._records[container_id] = record.model_copy(update={"health": health})
            case ReportLoss():
                self._begin_report(action)
            case Revive():
                await self._revive(action)

    def _begin_report(self, action: ReportLoss) -> None:
        """Report a loss in a task of its own.

        Until a dead owner is replaced half a minute may pass, and containers that come meanwhile have to
        be watched.
        """
        container_id = action.container_id
        if container_id in self._reporting:
            return
        if self._tasks.offer(f"report {container_id}", self._report(action)) is None:
            return
        self._reporting.add(container_id)
        vitals = self._vitals.get(container_id)
        if vitals is not None:
            self._vitals[container_id] = reported(vitals, self._services.clock.monotonic())
        self._reported += 1

    async def _report(self, action: ReportLoss) -> None:
        try:
            await self._owners.container_lost(
                action.actor_id, action.session_id, action.container_id, action.reason
            )
        except (ActorGone, NotBound):
            await self._replace_owner(action)
        except CoditectError as error:
            logger.info("owner %s gets the report again: %s", action.actor_id, error)
        finally:
            self._reporting.discard(action.container_id)

    async def _replace_owner(self, action: ReportLoss) -> None:
        """Have the pool open the session of an owner that is gone."""
        try:
            session = await self._services.ledger.session(action.session_id)
            if session is not None and session.owner_actor_id == action.actor_id:
                await self._owners.reopen(session, action.actor_id, Cause.LOSS)
        except (CoditectError, OSError) as error:
            self._failures += 1
            logger.warning("owner %s is not replaced yet: %s", action.actor_id, error)

    async def _revive(self, action: Revive) -> None:
        """Have the session opened by a few tasks of their own: there may be many, and probes go on."""
        container_id = action.container_id
        if container_id in self._reviving:
            self._start_reviver()
            return
        # A container's life ends now, however long its session has to wait for another one.
        await self._services.ledger.note_loss(container_id, self._services.clock.now())
        if container_id in self._reviving:
            return
        self._reviving.add(container_id)
        self._to_revive[not self._attended(action.session_id)].append(action)
        self._start_reviver()

    def _start_reviver(self) -> None:
        if any(self._to_revive) and self._revivers < self._max_revivals:
            self._revivers += self._tasks.offer("revive", self._revive_all()) is not None

    async def _revive_all(self) -> None:
        first, then = self._to_revive
        try:
            while waiting := first or then:
                await self._open_again(waiting.popleft())
        finally:
            self._revivers -= 1

    async def _open_again(self, action: Revive) -> None:
        container_id = action.container_id
        try:
            session = await self._services.ledger.session(action.session_id)
            if session is None or session.owner_actor_id is not None:
                return
            if session.container_id != container_id:
                return
            # Of one that is only silent the owner has to be convinced, so it stays to be.
            cause = Cause.LOSS if action.exited else Cause.CALL
            owner = await self._owners.reopen(session, None, cause)
            if owner is not None and not action.exited:
                await self._owners.container_lost(
                    owner, action.session_id, container_id, action.reason
                )
            await self._until_replaced(action)
        except (CoditectError, OSError) as error:
            logger.info("container %s is not replaced yet: %s", container_id, error)
        finally:
            self._reviving.discard(container_id)
            vitals = self._vitals.get(container_id)
            if vitals is not None:
                self._vitals[container_id] = reported(vitals, self._services.clock.monotonic())

    async def _until_replaced(self, action: Revive) -> None:
        """Wait for the new container, so that the next session finds an actor and a processor."""
        clock = self._services.clock
        limit = min(REVIVAL_SECONDS, self._services.settings.launch_limit)
        began, replaced = clock.monotonic(), asyncio.Event()
        self._awaited[action.session_id] = replaced
        try:
            while clock.monotonic() - began < limit and not replaced.is_set():
                session = await self._services.ledger.session(action.session_id)
                if session is None or session.phase not in _COMING_UP:
                    return
                if session.owner_actor_id is None or session.container_id not in {
                    None,
                    action.container_id,
                }:
                    return
                await wait_for_event(replaced, clock.sleep(REVIVAL_PAUSE))
        finally:
            if self._awaited.get(action.session_id) is replaced:
                del self._awaited[action.session_id]
