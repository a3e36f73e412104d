"""Makes what archives the workspaces of a node."""

from __future__ import annotations

from actors.core.ports.events import EventPublisher
from cluster.archive.archiver import Archiver
from cluster.archive.packs.collector import Collector
from cluster.archive.tools import Tools
from cluster.blobs import open_blobs
from cluster.clock import SystemClock
from cluster.codi.feed_client import FeedClient
from cluster.identifiers import new_id
from cluster.paths import chunk_store
from cluster.settings import Settings
from cluster.store.engines.interface import Engine
from cluster.store.layers.keyspace import Keyspace
from cluster.store.ledger import StoreLedger


def make_archiver(
    settings: Settings, engine: Engine, node_id: str, events: EventPublisher
) -> Archiver:
    """Return a node's archiver; belongs to the running event loop."""
    clock, keys = SystemClock(), Keyspace(settings.tenant)
    blobs = open_blobs(chunk_store(settings))
    tools = Tools(
        engine=engine,
        keys=keys,
        blobs=blobs,
        client=FeedClient(),
        events=events,
        clock=clock,
        new_id=new_id,
        max_file=settings.workspace_max_file,
        quotas=settings.quotas,
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
