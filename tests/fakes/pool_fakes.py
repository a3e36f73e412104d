"""Fakes that the tests of pool, health checker and supervisor share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from actors.core.errors.base import ActorGone, CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.sessions import ActorTaken, Fenced, SlotGone
from actors.core.lease import token
from actors.core.ports.ledger import ClaimRequest
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerHandle, ContainerRecord, ContainerStatus, Health
from actors.core.records.environment import Environment
from actors.core.records.sessions import Claim, SessionPhase, SessionRecord
from actors.core.settings import ActorSettings, IdleRules, Signal
from tests.fakes.events import EventLog
from tests.fakes.feed import MemoryFeed


def handle(container_id: str) -> ContainerHandle:
    return ContainerHandle(
        container_id=container_id,
        tenant_id="t",
        node_id="node-1",
        workspace_id=f"w-{container_id}",
        runtime="memory",
        address="127.0.0.1:9",
        secret="secret",
    )


def container_record(
    container_id: str, status: ContainerStatus = ContainerStatus.WARM, **changes: Any
) -> ContainerRecord:
    fields: dict[str, Any] = {
        "container_id": container_id,
        "tenant_id": "t",
        "node_id": "node-1",
        "workspace_id": f"w-{container_id}",
        "runtime": "memory",
        "status": status,
        "health": Health.UNKNOWN,
        "handle": None
        if status in {ContainerStatus.STARTING, ContainerStatus.PENDING}
        else handle(container_id),
        "created_at": 0.0,
    }
    return ContainerRecord(**(fields | changes))


def session_record(session_id: str = "s1", **changes: Any) -> SessionRecord:
    fields: dict[str, Any] = {
        "session_id": session_id,
        "tenant_id": "t",
        "user_id": "u1",
        "name": "main",
        "phase": SessionPhase.READY,
        "epoch": 1,
        "workspace_id": "w1",
        "created_at": 0.0,
        "updated_at": 0.0,
        "last_activity": 0.0,
    }
    return SessionRecord(**(fields | changes))


class FakeSessionActors:
    """Session actors as entries of a dict; ``fate`` names those that do not answer well.

    ``held`` keeps starts waiting until ``release`` is set.
    """

    def __init__(self, pool: str = "pool-node-1") -> None:
        self.pool = pool
        self.sessions: dict[str, str | None] = {}
        self.fate: dict[str, Callable[[], Exception]] = {}
        self.bound: list[tuple[str, str, str | None]] = []
        self.rests: list[float | None] = []
        self.killed: list[str] = []
        self.started = 0
        self.failing_starts = 0
        self.release: asyncio.Event | None = None

    def dies(self, actor_id: str) -> None:
        """Gone for good."""
        self.sessions.pop(actor_id, None)

    def restarts(self, actor_id: str) -> None:
        """Unavailable for now."""
        self.fate[actor_id] = lambda: Unavailable(actor_id, "restarting")

    def hangs(self, actor_id: str) -> None:
        self.fate[actor_id] = lambda: DeadlineExceeded(actor_id, 1.0)

    async def start(self, actor_id: str, timeout_seconds: float) -> None:
        self.started += 1
        if self.release is not None:
            await self.release.wait()
        if self.failing_starts:
            self.failing_starts -= 1
            raise Unavailable(actor_id, "it does not start")
        self.sessions[actor_id] = None

    async def ping(self, actor_id: str, timeout_seconds: float) -> dict[str, Any]:
        self._check(actor_id)
        return {"pool": self.pool, "session_id": self.sessions[actor_id]}

    async def bind(
        self,
        actor_id: str,
        record: SessionRecord,
        container: ContainerRecord | None,
        key: str,
        timeout_seconds: float,
        rest_after: float | None,
    ) -> SessionRecord:
        self._check(actor_id)
        self.sessions[actor_id] = record.session_id
        container_id = container.container_id if container else None
        self.bound.append((actor_id, record.session_id, container_id))
        self.rests.append(rest_after)
        return record

    async def kill(self, actor_id: str) -> None:
        self.killed.append(actor_id)
        self.sessions.pop(actor_id, None)

    async def listed(self) -> list[str]:
        return list(self.sessions)

    def _check(self, actor_id: str) -> None:
        if actor_id not in self.sessions:
            raise ActorGone(actor_id)
        if actor_id in self.fate:
            error = self.fate[actor_id]()
            raise error


class ManualClock:
    """Time that goes on by ``advance`` alone. ``sleep`` returns when ``advance`` has passed it.

    A sleep counts from its call, not from the first turn of the task that it may have been given to:
    an ``advance`` between the two would be missed for good.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self.time = start
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        woken = asyncio.Event()
        self._sleepers.append((self.time + seconds, woken))
        return self._sleep(woken)

    async def _sleep(self, woken: asyncio.Event) -> None:
        await woken.wait()

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for at, woken in self._sleepers:
            if at <= self.time:
                woken.set()
        self._sleepers = [entry for entry in self._sleepers if not entry[1].is_set()]


class PoolLedger:
    """The part of a Ledger that pool, health and supervision use, over dicts.

    Each method is one step, as a transaction is. ``errors`` are raised by the next claims, after the
    claim was committed if ``commit_first`` is set.
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.sessions_by_id: dict[str, SessionRecord] = {}
        self.records: dict[str, ContainerRecord] = {}
        self.errors: list[CoditectError] = []
        self.commit_first = False
        self.passivated: list[str] = []
        self.is_stale = False
        self.left: dict[str, float] = {}
        self.leases: dict[str, int] = {}

    async def session(self, session_id: str) -> SessionRecord | None:
        return self.sessions_by_id.get(session_id)

    async def session_of_user(self, user_id: str, name: str) -> SessionRecord | None:
        for session in self.sessions_by_id.values():
            if (session.user_id, session.name) == (user_id, name):
                return session
        return None

    async def bound_session(self, actor_id: str) -> SessionRecord | None:
        owned = [s for s in self.sessions_by_id.values() if s.owner_actor_id == actor_id]
        assert len(owned) <= 1, f"{actor_id} owns {owned}"
        return owned[0] if owned else None

    async def claim(self, request: ClaimRequest) -> Claim:
        await asyncio.sleep(0)
        if self.errors and not self.commit_first:
            raise self.errors.pop(0)
        session = await self.session_of_user(request.user_id, request.name)
        bound = await self.bound_session(request.actor_id) if request.actor_id else None
        if bound is not None and bound is not session:
            raise ActorTaken(str(request.actor_id), bound.session_id)
        created = session is None
        if session is None:
            workspace_id = request.new_workspace_id
            if request.container_id is not None:
                record = self.records.get(request.container_id)
                if record is None or record.status is not ContainerStatus.WARM:
                    raise SlotGone(request.container_id, record.status if record else "gone")
                workspace_id = record.workspace_id
                self.records[request.container_id] = record.model_copy(
                    update={
                        "status": ContainerStatus.READY,
                        "session_id": request.new_session_id,
                        "user_id": request.user_id,
                    }
                )
            session = session_record(
                request.new_session_id,
                user_id=request.user_id,
                name=request.name,
                phase=SessionPhase.READY if request.container_id else SessionPhase.STARTING,
                workspace_id=workspace_id,
                container_id=request.container_id,
                updated_at=request.now,
                epoch=0,
            )
        owners = {None, request.dead_actor_id, request.actor_id}
        won = request.actor_id is not None and session.owner_actor_id in owners
        if request.lapsed is not None and await self.lease(session.session_id) != request.lapsed:
            won = False
        if won:
            session = session.model_copy(
                update={
                    "owner_actor_id": request.actor_id,
                    "owner_node_id": request.node_id,
                    "epoch": session.epoch + 1,
                }
            )
            self.leases.pop(session.session_id, None)
        if won or created:
            self.sessions_by_id[session.session_id] = session
        if self.errors:
            raise self.errors.pop(0)
        container = self.records.get(session.container_id) if session.container_id else None
        return Claim(session=session, created=created, won=won or created, container=container)

    async def lease(self, session_id: str) -> str:
        session = self.sessions_by_id.get(session_id)
        return token(session.epoch if session else 0, self.leases.get(session_id))

    async def passivate(self, record: SessionRecord, *, lapsed: str | None = None) -> None:
        if self.is_stale or lapsed not in {None, await self.lease(record.session_id)}:
            raise Fenced(record.session_id, record.epoch, record.epoch)
        self.passivated.append(record.session_id)
        nobody = {"owner_actor_id": None, "owner_node_id": None}
        self.sessions_by_id[record.session_id] = record.model_copy(update=nobody)

    async def left_workspaces(self, node_id: str, limit: int = 100) -> dict[str, float]:
        return dict(list(self.left.items())[:limit])

    async def forget_workspace(self, node_id: str, workspace_id: str) -> None:
        self.left.pop(workspace_id, None)

    async def container(self, container_id: str) -> ContainerRecord | None:
        return self.records.get(container_id)

    def container_feed(self, node_id: str) -> MemoryFeed[ContainerRecord]:
        return MemoryFeed(lambda: self.records, self._clock)

    def session_feed(self) -> MemoryFeed[SessionRecord]:
        return MemoryFeed(lambda: self.sessions_by_id, self._clock)

    async def put_container(self, record: ContainerRecord) -> None:
        self.records[record.container_id] = record

    async def set_container_status(
        self,
        container_id: str,
        status: ContainerStatus,
        *,
        expected: Sequence[ContainerStatus],
        health: Health | None = None,
        reason: str | None = None,
    ) -> bool:
        record = self.records.get(container_id)
        if record is None or record.status not in expected:
            return False
        changes = {"status": status, "health": health or record.health, "reason": reason}
        self.records[container_id] = record.model_copy(update=changes)
        return True

    async def note_loss(self, container_id: str, now: float) -> None:
        record = self.records.get(container_id)
        if record is not None and record.lost_at is None:
            self.records[container_id] = record.model_copy(update={"lost_at": now})

    async def remove_container(self, container_id: str) -> None:
        self.records.pop(container_id, None)


def settings(**changes: Any) -> ActorSettings:
    fields = ActorSettings(
        tenant_id="t",
        node_id="node-1",
        runtime="memory",
        warm_actors=2,
        warm_containers=2,
        max_pending_launches=4,
        idle=IdleRules(hibernate_after=600.0, weights=dict.fromkeys(Signal, 0.5)),
        launch_timeout=5.0,
        launch_wait=5.0,
        stop_grace=1.0,
        rest_after=60.0,
        attach_ttl=20.0,
        probe_interval=2.0,
        probe_timeout=1.0,
        probe_failures=3,
        reconcile_interval=1.0,
        orphan_lease=30.0,
        container_cpu=1.0,
        container_memory_bytes=1 << 30,
        container_pids=64,
        container_image="image",
        egress="none",
    )
    return replace(fields, **changes)


def services(
    ledger: Any,
    runtime: Any,
    clock: Any,
    *,
    journal: Any = None,
    codi: Any = None,
    environments: Any = None,
    generation: int = 1,
    **changes: Any,
) -> Services:
    """Identifiers are numbered; those of different generations differ."""
    numbers = count(1)
    return Services(
        settings=settings(**changes),
        ledger=ledger,
        journal=journal,
        archive=IdleArchive(),
        events=EventLog(),
        runtime=runtime,
        codi=codi,
        environments=environments or NoEnvironments(),
        clock=clock,
        new_id=lambda prefix: f"{prefix}-{generation:02}-{next(numbers):04}",
        new_secret=lambda: "secret",
    )


class NoEnvironments:
    """Implements ``Environments``: nobody has set anything, but what ``has`` says."""

    def __init__(self) -> None:
        self.has: dict[str, Environment] = {}
        self.noted: list[str] = []

    async def version(self, session_id: str) -> int:
        return (await self.current(session_id)).version

    async def current(self, session_id: str) -> Environment:
        return self.has.get(session_id, Environment())

    async def note_dotfiles(self, session_id: str) -> None:
        self.noted.append(session_id)


class IdleArchive:
    """Implements ``Archive``: there is never anything to be kept."""

    def __init__(self) -> None:
        self.made_whole: list[str] = []

    async def flush(self, session_id: str) -> None:
        return None

    async def whole(self, session_id: str) -> None:
        self.made_whole.append(session_id)


async def settle(turns: int = 50) -> None:
    """Let everything that can go on without time go on."""
    for _ in range(turns):
        await asyncio.sleep(0)
