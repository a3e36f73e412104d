"""What a process that lets people in works with, over Ray: a replica of the ingress, or the SSH gateway."""

from __future__ import annotations

import secrets

from actors.core.directory import ActorDirectory
from actors.core.ports.events import EventPublisher
from cluster.archive.restoring.versions import VersionReader
from cluster.blobs import open_blobs
from cluster.clock import SystemClock
from cluster.codi.client import HttpCodiClient
from cluster.identifiers import new_id
from cluster.paths import chunk_store
from cluster.store.layers.accounts.attempts import AttemptStore
from cluster.store.layers.accounts.audit import AuditLog
from cluster.store.layers.accounts.server_keys import KeyStore
from cluster.store.layers.accounts.ssh_keys import SshKeyStore
from cluster.store.layers.accounts.tickets import TicketStore
from cluster.store.layers.accounts.tokens import TokenStore
from cluster.store.layers.accounts.users import UserStore
from cluster.store.layers.sessions.networks import NetworkStore
from cluster.store.ledger import StoreLedger
from cluster.wiring.node import NodeWiring
from serve_app.dependencies import Dependencies


def dependencies(
    wiring: NodeWiring, directory: ActorDirectory, events: EventPublisher, role: str = "replica"
) -> Dependencies:
    """Return what a process that lets people in works with, over Ray; belongs to the running event loop.

    ``role`` begins its id, under which it reports who is attached, and its metrics.
    """
    settings, clock = wiring.settings, SystemClock()
    engine = wiring.engine()
    tenant = settings.tenant
    return Dependencies(
        settings=settings,
        node_id=wiring.node_id,
        replica_id=new_id(role),
        users=UserStore(engine, tenant, keep_ended=2 * settings.access_token_ttl),
        tokens=TokenStore(engine, tenant, keep_ended=2 * settings.access_token_ttl),
        ssh_keys=SshKeyStore(engine, tenant, keep_ended=2 * settings.access_token_ttl),
        attempts=AttemptStore(engine, tenant),
        tickets=TicketStore(engine, tenant),
        audit=AuditLog(engine, tenant, keep_seconds=settings.audit_keep),
        keys=KeyStore(engine, tenant),
        networks=NetworkStore(engine, tenant),
        environments=wiring.environments(engine),
        ledger=StoreLedger(engine, tenant, clock),
        library=VersionReader(engine, tenant, open_blobs(chunk_store(settings))),
        journal=wiring.journal(engine),
        actors=directory,
        events=events,
        codi=HttpCodiClient(),
        clock=clock,
        new_id=new_id,
        random_bytes=secrets.token_bytes,
    )
