"""Connects an actor's services. What is here can be pickled, sent to another process and called there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from actors.core import names
from actors.core.directory import ActorDirectory
from actors.core.event_sender import EventSender
from actors.core.ports.runtime import ContainerRuntime
from actors.core.ports.services import Services
from actors.core.settings import ActorSettings, IdleRules, Signal
from cluster.archive.ray_archive import RayArchive
from cluster.clock import SystemClock
from cluster.codi.control import CodiControl
from cluster.identifiers import new_id, new_secret
from cluster.paths import store_socket
from cluster.secrets.environments import StoredEnvironments
from cluster.secrets.key_file import load
from cluster.settings import Settings
from cluster.store.engines.interface import Engine
from cluster.store.layers.accounts.environment import EnvironmentStore
from cluster.store.layers.sessions.journal import StoreJournal
from cluster.store.ledger import StoreLedger
from cluster.store.remote.client import RemoteEngine
from cluster.wiring.containers import make_runtime


@dataclass(frozen=True, slots=True)
class NodeWiring:
    """One node of a server: calling it makes an actor's services (a ``ServicesFactory``).

    ``ray_node_id``: Ray's id of a node that joined, on which its actors are made; those of the head are made
    where their maker is.
    """

    settings: Settings
    node_id: str
    ray_node_id: str | None = None

    async def __call__(self) -> Services:
        """Make the services of one process; belongs to the running event loop."""
        clock = SystemClock()
        directory = ActorDirectory()
        engine = self.engine()
        return Services(
            settings=actor_settings(self.settings, self.node_id),
            ledger=StoreLedger(engine, self.settings.tenant, clock),
            journal=self.journal(engine),
            archive=RayArchive(directory, names.archive_actor(self.node_id)),
            events=self.events(directory),
            runtime=self.runtime(),
            codi=CodiControl(),
            environments=self.environments(engine),
            clock=clock,
            new_id=new_id,
            new_secret=new_secret,
        )

    def engine(self) -> RemoteEngine:
        """Return the store as a process of this node other than the StoreActor's sees it."""
        return RemoteEngine(store_socket(self.settings, self.node_id))

    def events(self, directory: ActorDirectory) -> EventSender:
        """Return what publishes the events of one process."""
        broker = names.health_checker_actor(self.node_id)
        return EventSender(directory, broker, SystemClock(), new_id("events"))

    def environments(self, engine: Engine) -> StoredEnvironments:
        """Return what users' programs find in their environment."""
        settings = self.settings
        return StoredEnvironments(
            EnvironmentStore(engine, settings.tenant),
            settings.tenant,
            partial(load, settings),
            SystemClock(),
            settings.quotas,
        )

    def journal(self, engine: Engine) -> StoreJournal:
        """Return what is kept of the terminals."""
        settings = self.settings
        return StoreJournal(engine, settings.tenant, settings.terminal_scrollback, settings.quotas)

    def runtime(self) -> ContainerRuntime:
        """Return what starts containers."""
        return make_runtime(self.settings, self.node_id)


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
        rest_after=settings.passivate_after,
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
        egress="gateway" if settings.has_egress else "none",
        owner_lease=settings.owner_lease,
        quotas=settings.quotas,
    )
