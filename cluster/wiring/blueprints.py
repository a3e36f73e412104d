"""Makes the actors that a node needs. Imported where they are made: it loads them all."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.core import names
from actors.core.calls import PoolCalls, Ref, StoreCalls
from actors.core.directory import ActorDirectory
from actors.core.records.nodes import NodeRecord, NodeState, NodeView
from actors.health.actor import HealthCheckerActor
from actors.journal.actor import JournalActor
from actors.pool.actor import POOL_CONCURRENCY, PoolActor
from actors.supervisor.actor import ActorBlueprint, Cluster, SupervisorActor
from cluster.archive.archiver import Archiver
from cluster.backup.scheduler import BackupScheduler
from cluster.clock import SystemClock
from cluster.egress.gateway import Gateway
from cluster.membership import version
from cluster.paths import store_socket
from cluster.settings import Settings, parse_labels
from cluster.store.factory import make_engine
from cluster.store.layers.changes import trim_forever
from cluster.store.layers.nodes import NodeStore
from cluster.store.remote.store_actor import StoreActor
from cluster.wiring.archive_actor import ArchiveActor
from cluster.wiring.egress_actor import EgressActor
from cluster.wiring.node import NodeWiring
from cluster.wiring.welcome import network

STORE_CONCURRENCY = 100
STORE_COPY_SECONDS = 3600.0
ARCHIVE_CONCURRENCY = 1000
JOURNAL_CONCURRENCY = 1000
HEALTH_CONCURRENCY = 1000
EGRESS_CONCURRENCY = 100
SUPERVISOR_CONCURRENCY = 100


def make_supervisor(wiring: NodeWiring, *others: ActorBlueprint) -> ActorHandle:
    """Make the Supervisor and return its handle; ``others`` are components from outside of this package."""
    settings = wiring.settings
    head = NodeView(
        node_id=wiring.node_id,
        address=settings.ray_address,
        is_head=True,
        state=NodeState.JOINED,
        alive=False,
        labels=parse_labels(settings.node_labels),
        version=version.own(),
    )
    cluster = (
        Cluster(head, partial(_nodes, wiring), _joined_blueprints) if settings.is_joinable else None
    )
    arguments = (wiring, [*blueprints(wiring), *others], SystemClock(), cluster)
    return detached(wiring, SupervisorActor, names.SUPERVISOR, SUPERVISOR_CONCURRENCY, *arguments)


def _nodes(wiring: NodeWiring) -> NodeStore:
    return NodeStore(wiring.engine(), wiring.settings.tenant)


def _joined_blueprints(record: NodeRecord) -> list[ActorBlueprint]:
    settings = Settings.model_validate(record.settings)
    return blueprints(NodeWiring(settings, record.node_id, record.ray_node_id))


def blueprints(wiring: NodeWiring) -> list[ActorBlueprint]:
    """Return the actors that a node needs, in the order in which they are made."""
    pool = names.pool_actor(wiring.node_id)
    store = names.store_actor(wiring.node_id)
    health = names.health_checker_actor(wiring.node_id)
    archive = names.archive_actor(wiring.node_id)
    journal = names.journal_actor(wiring.node_id)
    egress = names.egress_actor(wiring.node_id)
    return [
        ActorBlueprint(store, partial(_make_store, wiring, store), "store", vital=True),
        ActorBlueprint(journal, partial(_make_journal, wiring, journal), "journal", vital=True),
        ActorBlueprint(pool, partial(_make_pool, wiring, pool), "pool", vital=True),
        ActorBlueprint(health, partial(_make_health, wiring, health, pool), "health", vital=True),
        ActorBlueprint(archive, partial(_make_archive, wiring, archive), "archive", vital=True),
        *(
            [ActorBlueprint(egress, partial(_make_egress, wiring, egress), "egress", vital=False)]
            if wiring.settings.has_egress
            else []
        ),
    ]


def _make_store(wiring: NodeWiring, name: str) -> ActorHandle:
    settings = wiring.settings
    tend = partial(trim_forever, tenant_id=settings.tenant, clock=SystemClock())
    return detached(
        wiring,
        StoreActor,
        name,
        STORE_CONCURRENCY,
        partial(make_engine, settings),
        store_socket(settings, wiring.node_id),
        tend,
        network(settings) if settings.is_joinable else None,
    )


def _make_pool(wiring: NodeWiring, name: Ref[PoolCalls]) -> ActorHandle:
    return detached(wiring, PoolActor, name, POOL_CONCURRENCY, wiring, name)


def _make_journal(wiring: NodeWiring, name: str) -> ActorHandle:
    return detached(wiring, JournalActor, name, JOURNAL_CONCURRENCY, wiring)


def _make_health(wiring: NodeWiring, name: str, pool: Ref[PoolCalls]) -> ActorHandle:
    return detached(
        wiring, HealthCheckerActor, name, HEALTH_CONCURRENCY, wiring, pool, random.random
    )


def _make_archive(wiring: NodeWiring, name: str) -> ActorHandle:
    makers = partial(_archiver, wiring), partial(_backup_scheduler, wiring)
    return detached(wiring, ArchiveActor, name, ARCHIVE_CONCURRENCY, *makers)


def _make_egress(wiring: NodeWiring, name: str) -> ActorHandle:
    return detached(wiring, EgressActor, name, EGRESS_CONCURRENCY, partial(_gateway, wiring))


def detached(
    wiring: NodeWiring, kind: type, name: str, concurrency: int, *arguments: Any
) -> ActorHandle:
    """Make a detached actor on the node of its wiring: what it works with lies there."""
    here = wiring.ray_node_id or ray.get_runtime_context().get_node_id()
    options = ray.remote(kind).options(
        name=str(name),
        namespace=names.NAMESPACE,
        lifetime="detached",
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=concurrency,
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    )
    return options.remote(*arguments)


async def _archiver(wiring: NodeWiring) -> Archiver:
    from cluster.archive.factory import make_archiver  # noqa: PLC0415 - only the ArchiveActor's process needs it

    events = wiring.events(ActorDirectory())
    return make_archiver(wiring.settings, wiring.engine(), wiring.node_id, events)


async def _backup_scheduler(wiring: NodeWiring) -> BackupScheduler:
    from cluster.backup.factory import make_backup_scheduler  # noqa: PLC0415 - as above

    directory = ActorDirectory()
    store = names.store_actor(wiring.node_id)

    async def copy(place: Path) -> None:
        await directory.call(store, StoreCalls.copy, STORE_COPY_SECONDS, str(place))

    return make_backup_scheduler(wiring.settings, wiring.engine(), wiring.node_id, copy)


async def _gateway(wiring: NodeWiring) -> Gateway:
    from cluster.wiring.egress_gateway import make_gateway  # noqa: PLC0415 - as above

    return await make_gateway(wiring)
