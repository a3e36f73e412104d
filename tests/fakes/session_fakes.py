"""Fakes of the session's tests: a CODI in memory, a pool that listens, a workbench of all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import PreconditionFailed
from actors.core.errors.sessions import Fenced
from actors.core.ports.codi import TerminalOpened
from actors.core.ports.journal import Journal
from actors.core.ports.ledger import ClaimRequest, Ledger
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerHandle, ContainerStatus, Health
from actors.core.records.environment import Environment
from actors.core.records.idleness import Activity, Quiet
from actors.core.records.sessions import Route, SessionRecord
from actors.core.records.terminals import TerminalRecord
from actors.session.host import SessionHost
from actors.session.service import SessionService
from actors.session.state import SessionRules
from tests.fakes.events import EventLog
from tests.fakes.ledgers import Stores
from tests.fakes.pool_fakes import IdleArchive, ManualClock, NoEnvironments, container_record
from tests.fakes.pool_fakes import services as pool_services
from tests.fakes.runtimes import MemoryRuntime

TEST_RULES = SessionRules(
    adopt_timeout=20.0,
    launch_timeout=60.0,
    stop_timeout=20.0,
    end_timeout=60.0,
    passivate_timeout=10.0,
    rest_after=60.0,
)


class MemoryCodi:
    """The epochs and terminals of the containers of a MemoryRuntime; answers while they run."""

    def __init__(self, runtime: MemoryRuntime) -> None:
        self._runtime = runtime
        self.epochs: dict[str, int] = {}
        self.emails: dict[str, str | None] = {}
        self.terminals: dict[str, dict[str, str | None]] = {}
        """The directory in which each container's terminals were started, by name."""
        self.deaf: set[str] = set()
        self.environments: dict[str, Environment] = {}
        self.activities: dict[str, Activity] = {}
        self.sealed: list[str] = []

    async def raise_epoch(
        self, route: Route, email: str | None = None, environment: Environment | None = None
    ) -> None:
        await self._answer(route.container_id)
        if environment is not None:
            self.environments[route.container_id] = environment
        self.emails[route.container_id] = email or self.emails.get(route.container_id)
        current = self.epochs.get(route.container_id, 0)
        if route.epoch < current:
            raise Fenced(route.session_id, route.epoch, current)
        self.epochs[route.container_id] = route.epoch

    async def open_terminal(
        self, route: Route, name: str, *, cwd: str | None
    ) -> tuple[dict[str, Any], bool]:
        await self.raise_epoch(route)
        terminals = self.terminals.setdefault(route.container_id, {})
        new = name not in terminals
        return {"name": name, "cwd": terminals.setdefault(name, cwd)}, new

    async def connect_journal(self, handle: ContainerHandle) -> Any:
        raise Unavailable("codi", "its terminals print nothing")

    async def activity(self, route: Route) -> Activity:
        await self.raise_epoch(route)
        return self.activities.get(route.container_id, Activity())

    async def seal(self, route: Route, quiet: Quiet, seconds: float) -> None:
        await self.raise_epoch(route)
        seen = self.activities.get(route.container_id, Activity())
        if seen.busy or (seen.input_age is not None and seen.at - seen.input_age > quiet.since):
            raise PreconditionFailed("container", "quiet", "somebody works in it")
        self.sealed.append(route.container_id)

    async def _answer(self, container_id: str) -> None:
        await asyncio.sleep(0)
        if container_id in self.deaf or container_id not in self._runtime.running:
            raise Unavailable("codi", "no answer")


class ListeningPool:
    """Remembers which actors were given back."""

    def __init__(self) -> None:
        self.released: list[str] = []

    async def actor_released(self, actor_id: str) -> None:
        self.released.append(actor_id)


class LocalSession(SessionService):
    """A SessionActor without Ray: its calls, and what else its host has."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.host = SessionHost(*arguments, **named)

    async def _ready(self) -> SessionHost:
        return self.host

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)


class Workbench:
    """A store, a runtime, its CODI, a clock, a pool, and the session actors that are started on them."""

    def __init__(
        self, stores: Stores, clock: ManualClock, runtime: MemoryRuntime | None = None
    ) -> None:
        self.ledger: Ledger = stores.ledger
        self.journal: Journal = stores.journal
        self.archive = IdleArchive()
        self.events = EventLog()
        self.clock = clock
        self.runtime = runtime or MemoryRuntime()
        self.codi = MemoryCodi(self.runtime)
        self.environments = NoEnvironments()
        self.pool = ListeningPool()
        self.runs: list[asyncio.Task[None]] = []
        self._runners: list[LocalSession] = []

    def services(self, **changes: Any) -> Services:
        made = pool_services(
            self.ledger,
            self.runtime,
            self.clock,
            journal=self.journal,
            codi=self.codi,
            environments=self.environments,
            generation=0,
            **changes,
        )
        self._new_id = getattr(self, "_new_id", made.new_id)
        return replace(made, archive=self.archive, events=self.events, new_id=self._new_id)

    def runner(self, actor_id: str = "a1", **changes: Any) -> LocalSession:
        """Start a session actor's runner."""
        runner = LocalSession(
            actor_id, self.services(**changes), self.pool, jitter=lambda: 0.0, rules=TEST_RULES
        )
        self._runners.append(runner)
        self.runs.append(asyncio.create_task(runner.run()))
        return runner

    async def kill(self, runner: LocalSession) -> None:
        """End an actor as kill -9 would: nothing of it happens any more."""
        index = self._runners.index(runner)
        self.runs[index].cancel()
        await asyncio.gather(self.runs[index], return_exceptions=True)
        await runner.close()

    async def warm_container(self, container_id: str = "warm") -> ContainerHandle:
        """Launch a container and record it as the pool would."""
        record = container_record(container_id)
        assert record.handle is not None
        self.runtime.running[container_id] = record.handle
        self.runtime._ended[container_id] = asyncio.Event()
        await self.ledger.put_container(
            record.model_copy(update={"status": ContainerStatus.WARM, "health": Health.HEALTHY})
        )
        return record.handle

    async def claim(
        self, actor_id: str = "a1", container_id: str | None = None, **changes: Any
    ) -> SessionRecord:
        """Claim the user's session for an actor."""
        claim = await self.ledger.claim(
            ClaimRequest(
                user_id="u1",
                name="main",
                new_session_id="s1",
                new_workspace_id="w1",
                actor_id=actor_id,
                container_id=container_id,
                now=self.clock.now(),
                **{"node_id": "node-1"} | changes,
            )
        )
        assert claim.won
        return claim.session

    async def ready(self, actor_id: str = "a1", **changes: Any) -> LocalSession:
        """Return a runner that holds a new session with a container."""
        runner = self.runner(actor_id, **changes)
        await runner.bind(await self.claim(actor_id), None)
        await runner.wake("s1")
        await runner.route("s1")
        return runner

    async def opens_terminal(
        self, container_id: str, name: str, cwd: str | None = None, number: int = 1
    ) -> TerminalRecord:
        """Record a terminal as the journal does when its shell has started."""
        opened = TerminalOpened(number, name, cols=80, rows=24, cwd=cwd, kept=None)
        return await self.journal.open_terminal(container_id, opened, self.clock.now())

    async def close(self) -> None:
        for runner in self._runners:
            await runner.close()
        for run in self.runs:
            run.cancel()
        await asyncio.gather(*self.runs, return_exceptions=True)


@asynccontextmanager
async def workbench(stores: Stores, clock: ManualClock, runtime: MemoryRuntime | None = None):
    """A workbench that is cleared when the test is over."""
    bench = Workbench(stores, clock, runtime)
    try:
        yield bench
    finally:
        await bench.close()


async def eventually(
    condition: Callable[[], Awaitable[bool]] | Callable[[], bool], seconds: float = 5.0
) -> None:
    """Wait until something is true that needs no more than the event loop's turns (and a disk's)."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.001)
