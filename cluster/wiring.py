"""What is connected to what: the services of an actor, and the actors that a node needs.

Everything here is a module-level function or a frozen dataclass, so that it can be sent to another
process and called there.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.core import names
from actors.core.directory import ActorDirectory
from actors.core.ports import ActorSettings, ContainerRuntime, Services
from actors.idleness.rules import IdleRules, Signal
from actors.journal.actor import RayJournalWatch
from actors.supervisor.actor import ActorBlueprint, SupervisorActor
from cluster.archive.ray_archive import RayArchive, SessionTeller
from cluster.clock import SystemClock
from cluster.codi.bundle import Limits, bundle
from cluster.codi.control import CodiControl
from cluster.id_range import IdRange
from cluster.identifiers import new_id, new_secret
from cluster.paths import backup_place, chunk_store, store_socket
from cluster.runtime.disks.images import DiskLimits
from cluster.runtime.sandbox import SandboxRuntime
from cluster.runtime.stub import StubRuntime
from cluster.secret_settings import complete
from cluster.settings import RuntimeName, Settings, StoreName
from cluster.store.engines.interface import Engine
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions.journal import StoreJournal
from cluster.store.ledger import StoreLedger
from cluster.store.remote.client import RemoteEngine

STORE_CONCURRENCY = 100
STORE_COPY_SECONDS = 3600.0
ARCHIVE_CONCURRENCY = 1000


@dataclass(frozen=True, slots=True)
class NodeWiring:
    """One node of a server: calling it makes an actor's services (``actors.core.ports.ServicesFactory``)."""

    settings: Settings
    node_id: str

    async def __call__(self) -> Services:
        """Make the services of one process; belongs to the running event loop."""
        clock = SystemClock()
        directory = ActorDirectory()
        engine = self.engine()
        return Services(
            settings=actor_settings(self.settings, self.node_id),
            ledger=StoreLedger(engine, self.settings.tenant, clock),
            journal=self.journal(engine),
            journal_watch=RayJournalWatch(directory, names.journal_actor(self.node_id)),
            archive=RayArchive(directory, names.archive_actor(self.node_id)),
            runtime=self.runtime(),
            codi=CodiControl(),
            clock=clock,
            new_id=new_id,
            new_secret=new_secret,
        )

    def engine(self) -> RemoteEngine:
        """Return the store as a process of this node other than the StoreActor's sees it."""
        return RemoteEngine(store_socket(self.settings, self.node_id))

    def journal(self, engine: Engine) -> StoreJournal:
        """Return what is kept of the terminals."""
        settings = self.settings
        return StoreJournal(engine, settings.tenant, settings.terminal_scrollback, settings.quotas)

    def runtime(self) -> ContainerRuntime:
        """Return what starts containers."""
        settings = self.settings
        if settings.runtime is RuntimeName.STUB:
            return StubRuntime(settings.data_dir, self.node_id)
        limits = Limits(
            max_terminals=settings.max_terminals,
            max_file=settings.max_file,
            exec_output=settings.exec_output,
            exec_timeout=settings.exec_timeout,
            excludes=tuple(filter(None, map(str.strip, settings.workspace_excludes.split(",")))),
        )
        return SandboxRuntime(
            settings.data_dir,
            self.node_id,
            agent=bundle(settings.data_dir / "runtime" / "codi", limits),
            clock=SystemClock(),
            host=container_host(settings),
            launch_timeout=settings.launch_timeout,
            launches_at_once=settings.launches_at_once or 2 * (os.cpu_count() or 1),
            probe_timeout=settings.probe_timeout,
            user_ids=IdRange.parse(settings.container_user_ids),
            ptys=settings.container_ptys,
            disks=DiskLimits(
                settings.container_disk, settings.container_inodes, settings.disk_reserve
            )
            if settings.container_disk
            else None,
        )

    def blueprints(self) -> list[ActorBlueprint]:
        """Return the actors that this node needs, in the order in which they are made."""
        pool = names.pool_actor(self.node_id)
        store = names.store_actor(self.node_id)
        health = names.health_checker_actor(self.node_id)
        archive = names.archive_actor(self.node_id)
        journal = names.journal_actor(self.node_id)
        return [
            ActorBlueprint(store, partial(_make_store, self, store), "store", vital=True),
            ActorBlueprint(journal, partial(_make_journal, self, journal), "journal", vital=True),
            ActorBlueprint(pool, partial(_make_pool, self, pool), "pool", vital=True),
            ActorBlueprint(health, partial(_make_health, self, health, pool), "health", vital=True),
            ActorBlueprint(archive, partial(_make_archive, self, archive), "archive", vital=True),
        ]


def container_host(settings: Settings) -> str:
    """Return the address on which containers are reached; by this machine alone if it is the only one."""
    return settings.ray_address


def actor_settings(settings: Settings, node_id: str) -> ActorSettings:
    """Return the numbers that the actors work with."""
    pool = settings.pool_size
    return ActorSettings(
        tenant_id=settings.tenant,
        node_id=node_id,
        runtime=settings.runtime.value,
        warm_actors=pool if settings.warm_actors is None else settings.warm_actors,
        warm_containers=pool if settings.warm_containers is None else settings.warm_containers,
        max_pending_launches=settings.max_pending_launches,
        launch_timeout=settings.launch_timeout,
        launch_wait=settings.launch_wait,
        stop_grace=settings.stop_grace,
        passivate_after=settings.passivate_after,
        attach_ttl=settings.attach_ttl,
        probe_interval=settings.probe_interval,
        probe_timeout=settings.probe_timeout,
        probe_failures=settings.probe_failures,
        reconcile_interval=settings.reconcile_interval,
        orphan_lease=settings.orphan_lease,
        idle=IdleRules(
            hibernate_after=settings.hibernate_after,
            weights={signal: getattr(settings, f"idle_weight_{signal.value}") for signal in Signal},
            cpu_share=settings.idle_cpu_share,
        ),
        container_cpu=settings.container_cpu,
        container_memory_bytes=settings.container_memory,
        container_pids=settings.container_pids,
        container_image=settings.workspace_image,
        egress=settings.egress.value,
        owner_lease=settings.owner_lease,
        quotas=settings.quotas,
    )


def make_supervisor(wiring: NodeWiring) -> Any:
    """Make the Supervisor and return its handle."""
    arguments = (wiring, wiring.blueprints(), SystemClock())
    return _detached(SupervisorActor, names.SUPERVISOR, 100, *arguments)


def make_lmdb_engine(directory: Path, map_size: int) -> Any:
    """Make the embedded engine; called in the StoreActor's process, the only one that loads LMDB."""
    from cluster.store.engines.lmdb.engine import LmdbEngine  # noqa: PLC0415

    return LmdbEngine(directory, map_size=map_size)


def make_fdb_engine(settings: Settings) -> Any:
    """Make the FoundationDB engine; called in the StoreActor's process, the only client of a node."""
    from cluster.store.engines.fdb.client import TlsOptions  # noqa: PLC0415
    from cluster.store.engines.fdb.engine import FdbEngine  # noqa: PLC0415

    settings = complete(settings)
    password = settings.store_fdb_tls_key_password
    return FdbEngine(
        settings.store_fdb_cluster_file,
        prefix=settings.store_fdb_prefix,
        api_version=settings.store_fdb_api_version,
        tls=TlsOptions(
            certificate=settings.store_fdb_tls_certificate,
            key=settings.store_fdb_tls_key,
            key_password=password.get_secret_value() if password else None,
            ca=settings.store_fdb_tls_ca,
            verify_peers=settings.store_fdb_tls_verify_peers,
        ),
    )


def engine_maker(settings: Settings) -> Callable[[], Any]:
    """Return what makes the engine that the settings choose."""
    if settings.store is StoreName.FOUNDATIONDB:
        return partial(make_fdb_engine, settings)
    return partial(make_lmdb_engine, settings.data_dir / "store", settings.store_map_size)


async def make_archiver(wiring: NodeWiring) -> Any:
    """Make what the ArchiveActor runs; called in its process."""
    engine = wiring.engine()
    ledger = StoreLedger(engine, wiring.settings.tenant, SystemClock())
    teller = SessionTeller(ActorDirectory(), ledger)
    return archiver(wiring.settings, engine, wiring.node_id, teller.tell)


async def make_backup_keeper(wiring: NodeWiring) -> Any:
    """Make what makes backups; called in the ArchiveActor's process."""
    directory = ActorDirectory()
    store = names.store_actor(wiring.node_id)

    async def copy(place: Path) -> None:
        await directory.call(store, "copy", str(place), timeout_seconds=STORE_COPY_SECONDS)

    return backup_keeper(wiring.settings, wiring.engine(), wiring.node_id, copy)


def backup_keeper(
    settings: Settings, engine: Engine, node_id: str, copy: Callable[[Path], Awaitable[None]]
) -> Any:
    """Return what makes backups of a server; ``copy`` writes its embedded store into a directory."""
    from cluster.backup import snapshots as moments  # noqa: PLC0415
    from cluster.backup.catalog import Catalog  # noqa: PLC0415
    from cluster.backup.fdb.tools import fdb_tools  # noqa: PLC0415
    from cluster.backup.scheduler import BackupKeeper  # noqa: PLC0415
    from cluster.backup.writer import BackupMaker, BackupTools  # noqa: PLC0415
    from cluster.blobs import open_blobs  # noqa: PLC0415 - only this process needs it

    settings = complete(settings)
    clock, forget = SystemClock(), None
    frozen: moments.EmbeddedMoments | moments.FdbMoments = moments.EmbeddedMoments(
        copy, settings.store_map_size
    )
    if settings.store is StoreName.FOUNDATIONDB:
        url = (
            settings.store_fdb_backup_url
            or f"file://{settings.data_dir.resolve()}/fdb-backup/{{id}}"
        )
        frozen = moments.FdbMoments(engine, fdb_tools(settings, clock), url)
        forget = frozen.forget
    place = open_blobs(backup_place(settings))
    tools = BackupTools(
        engine=engine,
        tenant_id=settings.tenant,
        node_id=node_id,
        chunks=open_blobs(chunk_store(settings)),
        place=place,
        freeze=frozen.freeze,
        scratch=settings.data_dir / "run" / "backup",
        clock=clock,
        new_id=new_id,
    )
    return BackupKeeper(
        BackupMaker(tools),
        Catalog(place),
        clock,
        interval=settings.backup_interval,
        keep=settings.backup_keep,
        six_hourly=settings.backup_keep_six_hourly,
        forget=forget,
    )


def archiver(
    settings: Settings, engine: Engine, node_id: str, tell: Callable[..., Awaitable[None]]
) -> Any:
    """Return what keeps the workspaces of a node; belongs to the running event loop.

    ``tell``: see ``cluster.archive.tools.Tell``.
    """
    from cluster.archive.archiver import Archiver  # noqa: PLC0415 - only this process needs it
    from cluster.archive.packs.collector import Collector  # noqa: PLC0415
    from cluster.archive.tools import Tools  # noqa: PLC0415
    from cluster.blobs import open_blobs  # noqa: PLC0415
    from cluster.codi.feed_client import FeedClient  # noqa: PLC0415

    clock, keys = SystemClock(), Keyspace(settings.tenant)
    blobs = open_blobs(chunk_store(settings))
    tools = Tools(
        engine=engine,
        keys=keys,
        blobs=blobs,
        client=FeedClient(),
        clock=clock,
        new_id=new_id,
        max_file=settings.workspace_max_file,
        quotas=settings.quotas,
        tell=tell,
    )
    collector = Collector(
        engine,
        keys,
        blobs,
        clock,
        keep_seconds=settings.history_keep,
        keep_versions=settings.history_versions,
        new_id=new_id,
    )
    ledger = StoreLedger(engine, settings.tenant, clock)
    return Archiver(tools, ledger, node_id, collector)


def _make_store(wiring: NodeWiring, name: str) -> Any:
    from cluster.store.remote.store_actor import StoreActor  # noqa: PLC0415 - only who makes it needs it

    path = store_socket(wiring.settings, wiring.node_id)
    return _detached(StoreActor, name, STORE_CONCURRENCY, engine_maker(wiring.settings), path)


def _make_pool(wiring: NodeWiring, name: str) -> Any:
    from actors.pool.actor import POOL_CONCURRENCY, PoolActor  # noqa: PLC0415

    return _detached(PoolActor, name, POOL_CONCURRENCY, wiring, name)


def _make_journal(wiring: NodeWiring, name: str) -> Any:
    from actors.journal.actor import JournalActor  # noqa: PLC0415

    return _detached(JournalActor, name, 1000, wiring)


def _make_health(wiring: NodeWiring, name: str, pool: str) -> Any:
    from actors.health.actor import HealthCheckerActor  # noqa: PLC0415

    return _detached(HealthCheckerActor, name, 100, wiring, pool, random.random)


def _make_archive(wiring: NodeWiring, name: str) -> Any:
    from cluster.archive_actor import ArchiveActor  # noqa: PLC0415

    makers = partial(make_archiver, wiring), partial(make_backup_keeper, wiring)
    return _detached(ArchiveActor, name, ARCHIVE_CONCURRENCY, *makers)


def _detached(kind: type, name: str, concurrency: int, *arguments: Any) -> Any:
    """Make a detached actor on the node of whoever makes it: what it works with lies there."""
    import ray  # noqa: PLC0415 - services are also made where Ray is there already, at no cost
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    here = ray.get_runtime_context().get_node_id()
    options = ray.remote(kind).options(
        name=name,
        namespace=names.NAMESPACE,
        lifetime="detached",
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=concurrency,
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    )
    return options.remote(*arguments)
