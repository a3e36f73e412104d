"""A whole server in one process, without Ray: the real store, session actors, CODI and ingress.

What Ray does is done by ``LocalActors`` (names to objects), what the sandbox does by
``ProcessRuntime`` (CODI as a plain process), what the pool does by ``LocalPool`` (every open is a
cold launch), what the JournalActor does by ``LocalJournalist``. Everything else is the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import uvicorn
from fastapi import FastAPI

from actors.core import names
from actors.core.errors.base import ActorGone, Busy, CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import LaunchFailed
from actors.core.event_sender import EventSender
from actors.core.ports.environment import Environments
from actors.core.ports.events import EventPublisher
from actors.core.ports.ledger import ClaimRequest
from actors.core.ports.services import Services
from actors.core.records.accounts import Role, UserRecord
from actors.core.records.containers import ContainerHandle, ContainerSpec, Health
from actors.core.records.events import EventPage, Place, Published
from actors.core.records.nodes import NodeState, NodeView
from actors.core.records.sessions import Cause, Opened
from actors.health.service import HealthService
from actors.journal.recorder import JournalRecorder
from cluster.archive.factory import make_archiver
from cluster.archive.restoring.versions import VersionReader
from cluster.blobs import open_blobs
from cluster.clock import SystemClock
from cluster.codi.bundle import Bundle
from cluster.codi.client import HttpCodiClient
from cluster.codi.control import CodiControl
from cluster.identifiers import new_id, new_secret
from cluster.paths import chunk_store
from cluster.secrets import key_file
from cluster.settings import Settings
from cluster.store.engines.interface import Engine
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.layers.accounts.attempts import AttemptStore
from cluster.store.layers.accounts.audit import AuditLog
from cluster.store.layers.accounts.server_keys import KeyStore
from cluster.store.layers.accounts.ssh_keys import SshKeyStore
from cluster.store.layers.accounts.tickets import TicketStore
from cluster.store.layers.accounts.tokens import TokenStore
from cluster.store.layers.accounts.users import UserStore
from cluster.store.layers.sessions.journal import StoreJournal
from cluster.store.layers.sessions.networks import NetworkStore
from cluster.store.ledger import StoreLedger
from cluster.wiring.node import NodeWiring, actor_settings
from coditect import AsyncClient
from serve_app.api import create_app
from serve_app.auth import passwords
from serve_app.dependencies import Dependencies
from serve_app.http.methods import Methods
from tests.fakes.session_fakes import LocalSession
from tests.support.codi_process import health_of, staged, without_capabilities

NODE = "node-1"
PASSWORD = "a password of some length"
EMAIL = "ada@example.com"
ADMIN_EMAIL = "admin@example.com"


class ProcessRuntime:
    """Implements ``ContainerRuntime`` with plain processes; ``refuse`` makes launches fail."""

    name = "process"
    keeps_workspaces = True

    def __init__(self, directory: Path, program: Bundle) -> None:
        self._directory = directory
        self._program = program
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._handles: dict[str, ContainerHandle] = {}
        self.refuse = False
        self.launched = 0

    def turn(self, limit_seconds: float) -> AbstractAsyncContextManager[None]:
        del limit_seconds
        return nullcontext()

    async def prepare(self, workspace_id: str) -> None:
        del workspace_id

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        if self.refuse:
            raise LaunchFailed(spec.container_id, "told to")
        self.launched += 1
        workspace = self._directory / spec.workspace_id
        workspace.mkdir(parents=True, exist_ok=True)
        config = {
            "container_id": spec.container_id,
            "secret": spec.secret,
            "epoch": spec.epoch,
            "workspace": str(workspace),
        }
        reading, writing = os.pipe()
        os.write(writing, json.dumps(config).encode())
        os.close(writing)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            process = await asyncio.create_subprocess_exec(
                *without_capabilities(),
                *self._program.python_argv,
                *("--listen-fd", str(listener.fileno()), "--config-fd", str(reading)),
                pass_fds=(listener.fileno(), reading),
                env={"HOME": str(workspace), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
                | self._program.env,
                cwd=workspace,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        os.close(reading)
        handle = ContainerHandle(
            container_id=spec.container_id,
            tenant_id=spec.tenant_id,
            node_id=NODE,
            workspace_id=spec.workspace_id,
            runtime=self.name,
            address=f"127.0.0.1:{port}",
            secret=spec.secret,
        )
        self._processes[spec.container_id] = process
        self._handles[spec.container_id] = handle
        await health_of(handle)  # the socket listens already: the answer is waited for
        return handle

    async def probe(self, handle: ContainerHandle) -> Health:
        process = self._processes.get(handle.container_id)
        return Health.HEALTHY if process and process.returncode is None else Health.DEAD

    async def ended(self, container_id: str) -> None:
        """Wait until its process is no more: a socket of one that is about to end still accepts."""
        await self._processes[container_id].wait()

    async def wait_exit(self, handle: ContainerHandle) -> str:
        process = self._processes.get(handle.container_id)
        if process is not None:
            await process.wait()
        return "ended"

    async def stop(self, handle: ContainerHandle, grace_seconds: float) -> None:
        process = self._processes.get(handle.container_id)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(3):
                await process.wait()
        except TimeoutError:
            self.kill(handle.container_id)
            await process.wait()

    async def list(self) -> Sequence[ContainerHandle]:
        return [self._handles[c] for c, p in self._processes.items() if p.returncode is None]

    async def delete_workspace(self, workspace_id: str) -> None:
        return None

    def kill(self, container_id: str) -> None:
        """End a container as the kernel's out-of-memory killer would, with all that runs in it."""
        process = self._processes[container_id]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    async def close(self) -> None:
        for container_id, process in self._processes.items():
            if process.returncode is None:
                self.kill(container_id)
                await process.wait()


class LocalJournalist:
    """Runs the node's journal. ``pause`` ends it for a while."""

    def __init__(self) -> None:
        self._services: Services | None = None
        self._runner: JournalRecorder | None = None
        self._run: asyncio.Task[None] | None = None

    def start(self, services: Services | None = None) -> None:
        self._services = services or self._services
        assert self._services is not None
        self._runner = JournalRecorder(self._services)
        self._run = asyncio.create_task(self._runner.run())

    async def pause(self) -> None:
        """End it as a death would; ``start`` brings another one."""
        runner, run = self._runner, self._run
        self._runner = self._run = None
        if runner is not None and run is not None:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            await runner.close()


class LocalActors:
    """Implements ``ActorCaller`` with objects of this process. ``gone`` and ``silent`` name the unlucky."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.silent: set[str] = set()
        self.calls: list[tuple[str, str]] = []

    async def call(
        self, name: str, called: Any, timeout_seconds: float, /, *args: Any, **kwargs: Any
    ) -> Any:
        method = called.__name__
        self.calls.append((name, method))
        try:
            async with asyncio.timeout(timeout_seconds):
                if name in self.silent:
                    await asyncio.Event().wait()
                if name not in self.objects:
                    raise ActorGone(name)
                return await getattr(self.objects[name], method)(*args, **kwargs)
        except TimeoutError:
            raise DeadlineExceeded(f"{name}.{method}", timeout_seconds) from None


class LocalSessionActor(LocalSession):
    """One that runs."""

    def __init__(self, actor_id: str, services: Services, pool: LocalPool) -> None:
        super().__init__(actor_id, services, pool, jitter=lambda: 0.0)
        self._run = asyncio.create_task(self.host.run())

    async def close(self) -> None:
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        await self.host.close()


class LocalPool:
    """A PoolActor that makes an actor for every open; ``busy`` refuses."""

    def __init__(self, actors: LocalActors, services: Services) -> None:
        self._actors = actors
        self._services = services
        self.busy = False
        self.opened = 0
        self.quotas = services.settings.quotas

    async def open_session(
        self,
        *,
        user_id: str,
        name: str,
        key: str,
        session_id: str | None = None,
        dead_actor_id: str | None = None,
        cause: Cause = Cause.CALL,
    ) -> Opened:
        if self.busy:
            raise Busy("launches", 7.0)
        self.opened += 1
        actor_id = new_id("a")
        claim = await self._services.ledger.claim(
            ClaimRequest(
                user_id=user_id,
                name=name,
                new_session_id=new_id("s"),
                new_workspace_id=new_id("w"),
                actor_id=actor_id,
                node_id=NODE,
                container_id=None,
                now=self._services.clock.now(),
                dead_actor_id=dead_actor_id,
                quotas=self.quotas,
                session_id=session_id,
            )
        )
        owner = str(claim.session.owner_actor_id)
        if claim.won and names.session_actor(owner) not in self._actors.objects:
            actor = LocalSessionActor(owner, self._services, self)
            await actor.bind(claim.session, None)
            self._actors.objects[names.session_actor(owner)] = actor
        return Opened(
            session_id=claim.session.session_id,
            actor_id=owner,
            created=claim.created,
            warm_actor=False,
            warm_container=False,
        )

    async def actor_released(self, actor_id: str) -> None:
        return None

    async def ping(self) -> dict[str, Any]:
        return {"pid": 1, "uptime_seconds": 1.0}

    async def stats(self) -> dict[str, Any]:
        return {
            "warm_containers_ready": 1,
            "warm_containers_target": 2,
            "pool_utilization": 0.5,
            "claims_total": self.opened,
            "container_launch_seconds": {
                "bounds": [0.1, 1.0],
                "counts": [1, 0, 0],
                "sum": 0.05,
                "count": 1,
            },
        }


class LocalHealth(HealthService):
    """A HealthCheckerActor's calls without Ray; ``heard`` are all events that were published."""

    def __init__(self, attach_ttl: float) -> None:
        super().__init__(SystemClock(), attach_ttl=attach_ttl)
        self.heard: list[Published] = []
        self._dead = False

    def die(self) -> None:
        """End as a killed process does: whoever waits for it learns so."""
        self._dead = True
        self._changed.set()

    async def follow(self, place: Place | None, timeout_seconds: float) -> EventPage:
        page = await super().follow(place, timeout_seconds)
        if self._dead:
            raise Unavailable("health", "it has died")
        return page

    async def publish(
        self, sender: str, number: int, events: Sequence[Published], lost: int = 0
    ) -> None:
        self.heard += events
        await super().publish(sender, number, events, lost)

    async def ping(self) -> dict[str, Any]:
        return {"pid": 1, "uptime_seconds": 1.0}


class LocalArchive:
    """An ArchiveActor without Ray: the product's own archiver."""

    def __init__(self, settings: Settings, engine: Engine, events: EventPublisher) -> None:
        self.archiver = make_archiver(settings, engine, NODE, events)
        self._run = asyncio.create_task(self.archiver.run())

    def __getattr__(self, method: str) -> Any:
        return getattr(self.archiver, method)

    async def ping(self) -> dict[str, Any]:
        return {"pid": 1, "uptime_seconds": 1.0}

    async def close(self) -> None:
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        await self.archiver.close()


class LocalSupervisor:
    """Answers what the ingress asks of the Supervisor."""

    def __init__(self, pool: LocalPool) -> None:
        self._pool = pool
        self.pushed: dict[str, Any] = {}
        self.views = {
            node_id: NodeView(
                node_id=node_id,
                address="10.0.0.1",
                is_head=False,
                state=NodeState.JOINED,
                alive=True,
            )
            for node_id in ("n-2", "n-3")
        }

    async def ping(self) -> dict[str, Any]:
        return {"pid": 1, "uptime_seconds": 1.0, "ready": True}

    async def nodes(self) -> list[NodeView]:
        return list(self.views.values())

    async def drain(self, node_id: str) -> None:
        if node_id not in self.views:
            raise NotFound("node", node_id)
        draining = {"state": NodeState.DRAINING}
        self.views[node_id] = self.views[node_id].model_copy(update=draining)

    async def snapshot(self) -> dict[str, Any]:
        return {"age_seconds": 0.5, "sessions": {"ready": 1}, "stuck": [], "actors": []}

    async def push_metrics(self, source: str, families: Any) -> None:
        self.pushed[source] = {"at": 0.0, "families": families}

    async def collect_metrics(self) -> dict[str, Any]:
        pool = {"kind": "pool", "stats": await self._pool.stats()}
        return {
            "actors": {names.pool_actor(NODE): pool},
            "pushed": dict(self.pushed),
            "supervisor": await self.snapshot(),
        }


@dataclass
class Rig:
    """One server of this process, reachable at ``url``."""

    url: str
    deps: Dependencies
    ledger: StoreLedger
    users: UserStore
    actors: LocalActors
    pool: LocalPool
    runtime: ProcessRuntime
    journalist: LocalJournalist
    health: LocalHealth
    app: Any
    _http: list[httpx.AsyncClient] = field(default_factory=list)

    async def add_user(
        self, email: str = EMAIL, *, role: Role = Role.USER, password: str = PASSWORD
    ) -> UserRecord:
        hasher = passwords.Passwords(parallel=1, queue=8)
        try:
            hashed = await hasher.hash(password)
        finally:
            hasher.close()
        return await self.users.create(
            UserRecord(
                user_id=new_id("u"),
                tenant_id=self.deps.settings.tenant,
                email=email,
                role=role,
                password_hash=hashed,
                created_at=0.0,
            )
        )

    async def sign_in(self, email: str = EMAIL) -> AsyncClient:
        """Return a signed-in client; the account is made when it is missing."""
        if await self.users.by_email(email) is None:
            role = Role.ADMIN if email == ADMIN_EMAIL else Role.USER
            await self.add_user(email, role=role)
        client = AsyncClient(self.url, timeout_seconds=60)
        await client.login(email, PASSWORD)
        return client

    def restart_health(self) -> None:
        """Kill the HealthCheckerActor; another one is there at once."""
        self.health.die()
        self.health = LocalHealth(self.deps.settings.attach_ttl)
        self.actors.objects[names.health_checker_actor(NODE)] = self.health

    def http(self, client: AsyncClient | None = None, **options: Any) -> httpx.AsyncClient:
        """Return a plain HTTP client, with a client's bearer token."""
        headers = {"authorization": f"Bearer {client.access_token}"} if client else {}
        headers |= options.pop("headers", {})
        made = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, **options)
        self._http.append(made)
        return made

    async def kill_container(self, session_id: str) -> str:
        """Kill the session's container and return its id when it has ended."""
        record = await self.actor_of(session_id, await self.owner(session_id)).view(session_id)
        container_id = str(record.container_id)
        self.runtime.kill(container_id)
        await self.runtime.ended(container_id)
        return container_id

    async def owner(self, session_id: str) -> str:
        record = await self.ledger.session(session_id)
        assert record is not None
        return str(record.owner_actor_id)

    def actor_of(self, _session_id: str, owner: str) -> Any:
        return self.actors.objects[names.session_actor(owner)]

    async def kill_actor(self, session_id: str) -> str:
        """End the session's actor for good and return its id."""
        owner = await self.owner(session_id)
        actor = self.actors.objects.pop(names.session_actor(owner))
        await actor.close()
        return owner


def _services(
    settings: Settings,
    ledger: StoreLedger,
    journal: StoreJournal,
    journalist: LocalJournalist,
    archive: LocalArchive,
    events: EventPublisher,
    runtime: ProcessRuntime,
    environments: Environments,
) -> Services:
    return Services(
        settings=actor_settings(settings, NODE),
        ledger=ledger,
        journal=journal,
        archive=archive,
        events=events,
        runtime=runtime,
        codi=CodiControl(),
        environments=environments,
        clock=SystemClock(),
        new_id=new_id,
        new_secret=new_secret,
    )


def _dependencies(
    settings: Settings,
    engine: LmdbEngine,
    ledger: StoreLedger,
    journal: StoreJournal,
    actors: LocalActors,
    events: EventPublisher,
) -> Dependencies:
    return Dependencies(
        settings=settings,
        node_id=NODE,
        replica_id="replica-1",
        users=UserStore(engine, settings.tenant),
        tokens=TokenStore(engine, settings.tenant),
        ssh_keys=SshKeyStore(engine, settings.tenant),
        attempts=AttemptStore(engine, settings.tenant),
        tickets=TicketStore(engine, settings.tenant),
        audit=AuditLog(engine, settings.tenant),
        keys=KeyStore(engine, settings.tenant),
        networks=NetworkStore(engine, settings.tenant),
        environments=NodeWiring(settings, NODE).environments(engine),
        ledger=ledger,
        library=VersionReader(engine, settings.tenant, open_blobs(chunk_store(settings))),
        journal=journal,
        actors=actors,
        events=events,
        codi=HttpCodiClient(),
        clock=SystemClock(),
        new_id=new_id,
        random_bytes=secrets.token_bytes,
    )


@contextlib.asynccontextmanager
async def rig(directory: Path, stage: Path, **changes: Any) -> AsyncIterator[Rig]:
    """Bring a server up, and down with everything it started."""
    settings = Settings(
        **({"data_dir": directory, "attach_ttl": 5.0, "passivate_after": 60.0} | changes)
    )
    key_file.make(settings)
    engine = LmdbEngine(directory / "store", map_size=64 << 20)
    await engine.open()
    ledger = StoreLedger(engine, settings.tenant, SystemClock())
    runtime = ProcessRuntime(directory / "workspaces", staged(stage))
    journal = StoreJournal(engine, settings.tenant, settings.terminal_scrollback, settings.quotas)
    journalist = LocalJournalist()
    actors = LocalActors()
    health = LocalHealth(settings.attach_ttl)
    events = EventSender(actors, names.health_checker_actor(NODE), SystemClock(), "events-1")
    archive = LocalArchive(settings, engine, events)
    environments = NodeWiring(settings, NODE).environments(engine)
    services = _services(
        settings, ledger, journal, journalist, archive, events, runtime, environments
    )
    pool = LocalPool(actors, services)
    actors.objects[names.pool_actor(NODE)] = pool
    actors.objects[names.health_checker_actor(NODE)] = health
    actors.objects[names.journal_actor(NODE)] = pool
    actors.objects[names.ssh_actor(NODE)] = pool
    actors.objects[names.SUPERVISOR] = LocalSupervisor(pool)
    actors.objects[names.archive_actor(NODE)] = archive
    actors.objects[names.egress_actor(NODE)] = pool
    deps = _dependencies(settings, engine, ledger, journal, actors, events)
    journalist.start(services)
    app = create_app(deps, static=directory / "static")
    _share_routes(app)
    made = None
    try:
        async with cheap_passwords(), serving(app) as url:
            made = Rig(
                url, deps, ledger, deps.users, actors, pool, runtime, journalist, health, app
            )
            yield made
    finally:
        for client in made._http if made else ():
            await client.aclose()
        await deps.codi.close()
        await archive.close()
        for actor in list(actors.objects.values()):
            if isinstance(actor, LocalSessionActor):
                await actor.close()
        await events.close()
        await journalist.pause()
        await runtime.close()
        await engine.close()


_routes: dict[int, Any] = {}


def _share_routes(app: FastAPI) -> None:
    """Let FastAPI build each router's routes once for all applications, not anew at first requests.

    That is the greater part of what a short test on a server costs.
    """
    [methods] = [each for each in app.user_middleware if each.cls is Methods]
    for routes in (app.router.routes, methods.kwargs["routes"]):
        for at, route in enumerate(routes):
            router = getattr(route, "original_router", None)
            if router is not None:
                routes[at] = _routes.setdefault(id(router), route)


@contextlib.asynccontextmanager
async def cheap_passwords() -> AsyncIterator[None]:
    """Let a password cost little: what it costs people is measured elsewhere."""
    with mock.patch.multiple(passwords, PASSES=1, MEMORY_KIB=8):
        yield


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an application with uvicorn, as Ray Serve does, on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    # Its connections have as much. By themselves they grow to megabytes for whoever reads nothing.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 << 10)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(60):
            while not server.started:
                if task.done():
                    task.result()
                await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


Failing = Callable[[], CoditectError]
