"""Everything that one replica of the ingress consists of, and its beginning and end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from actors.core import names
from actors.core.calls import SupervisorCalls
from actors.core.errors.base import CoditectError
from actors.core.tasks import Tasks
from cluster.settings import RuntimeName
from serve_app.auth.admin_visits import AdminVisits
from serve_app.auth.audit import AuditWriter
from serve_app.auth.identity import Caller, Identity
from serve_app.auth.passwords import Passwords
from serve_app.auth.refresh_tokens import RefreshTokenRotation
from serve_app.auth.revocations import Revocations
from serve_app.auth.sign_in import SignIn, SignInTools, Visitor
from serve_app.auth.throttle import LoginThrottle
from serve_app.auth.tokens import KEY_BYTES, Signer
from serve_app.dependencies import Dependencies
from serve_app.http.origins import Origins
from serve_app.ports.access import PortAccess
from serve_app.ports.hosts import PortHosts
from serve_app.ports.passes import Passes
from serve_app.ports.proxy import HttpProxy
from serve_app.ports.tools import PortTools
from serve_app.ports.upstream import Pools
from serve_app.ports.watcher import PortWatcher
from serve_app.sessions.activity import ActivityNotes
from serve_app.sessions.attachments import Attachments
from serve_app.sessions.environment import Personal
from serve_app.sessions.event_hub import EventHub
from serve_app.sessions.gateway import SessionGateway
from serve_app.sessions.node_map import NodeMap
from serve_app.sessions.saving import Saver
from serve_app.telemetry.metrics import IngressMetrics
from serve_app.terminals.relay import RelayTools

logger = structlog.get_logger(__name__)

SIGNING_KEY = "access-tokens"
PUSH_SECONDS = 5.0
PUSH_LIMIT_SECONDS = 3.0
SEAL_AGAIN_SECONDS = 60.0
SEAL_LATER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Ingress:
    """The parts that requests are answered with."""

    deps: Dependencies
    metrics: IngressMetrics
    passwords: Passwords
    signer: Signer
    origins: Origins
    identity: Identity
    ended: Revocations
    entries: AdminVisits
    sign_in: SignIn
    gateway: SessionGateway
    activity: ActivityNotes
    hub: EventHub
    attachments: Attachments
    audit: AuditWriter
    relay_tools: RelayTools
    saver: Saver
    ports: PortTools
    port_watcher: PortWatcher

    async def enter(self, session_id: str, caller: Caller, visitor: Visitor) -> None:
        """Let a caller into a session. Raises NotFound for one that is not theirs.

        Administrators enter any session, and the audit trail records it.
        """
        own = await self.gateway.require(session_id, caller.user_id, admin=caller.is_admin)
        if not own and self.entries.is_new(caller.login.family, session_id):
            resource = f"session/{session_id}"
            await self.sign_in.note(caller.user_id, "session.entered", resource, visitor)

    def snapshot(self) -> dict[str, Any]:
        """Return this replica's metrics."""
        return self.metrics.snapshot(
            {
                "attachments": len(self.attachments),
                "sessions_followed": self.hub.sessions,
                "password_checks_under_way": self.passwords.under_way,
                "audit_entries_lost": self.audit.lost,
                **self.gateway.statistics(),
            }
        )


@asynccontextmanager
async def running(deps: Dependencies, metrics: IngressMetrics) -> AsyncIterator[Ingress]:
    """Bring a replica's parts up, and down again. Raises what the store does when it is not there."""
    key = await deps.keys.get_or_create(SIGNING_KEY, lambda: deps.random_bytes(KEY_BYTES))
    tasks = Tasks()
    settings = deps.settings
    # More than one a processor would only take each other's time: nobody would be first.
    shared = max(1, len(os.sched_getaffinity(0)) // settings.ingress_replicas)
    parallel = settings.argon2_parallel or shared
    passwords = Passwords(parallel=parallel, queue=settings.argon2_queue)
    ingress = _assemble(deps, metrics, Signer(key, settings.tenant, deps.new_id), passwords, tasks)
    await ingress.ended.catch_up()
    tasks.spawn("ends of logins", ingress.ended.run())
    tasks.spawn("audit trail", ingress.audit.run())
    tasks.spawn("activity", ingress.activity.run())
    tasks.spawn("attachments", ingress.attachments.run())
    tasks.spawn("events", ingress.hub.run())
    tasks.spawn("connections to ports", ingress.ports.pools.run())
    tasks.spawn("watches of ports", ingress.port_watcher.run())
    tasks.spawn("older keys", _seal_anew(deps))
    tasks.spawn("push metrics", _push_forever(ingress))
    try:
        yield ingress
    finally:
        await tasks.close()
        await ingress.audit.drain()
        passwords.close()


def _assemble(
    deps: Dependencies,
    metrics: IngressMetrics,
    signer: Signer,
    passwords: Passwords,
    tasks: Tasks,
) -> Ingress:
    settings, clock = deps.settings, deps.clock
    activity = ActivityNotes(deps.ledger, clock)
    nodes = NodeMap(deps.actors, clock)
    if settings.is_joinable:
        tasks.spawn("nodes", nodes.run())
    gateway = SessionGateway(
        deps.ledger,
        deps.actors,
        clock,
        node_id=deps.node_id,
        new_id=deps.new_id,
        used=activity.note,
        personal=Personal(deps.environments, deps.codi),
        nodes=nodes,
    )
    hub = EventHub(gateway, deps.ledger, deps.actors, clock, tasks, deps.node_id)
    audit = AuditWriter(deps.audit)
    origins = Origins(settings.public_url, secure=settings.cookie_secure)
    ended = Revocations(deps.tokens, clock, keep=settings.access_token_ttl)
    tools = SignInTools(
        tenant_id=settings.tenant,
        access_ttl=settings.access_token_ttl,
        users=deps.users,
        ledger=deps.ledger,
        passwords=passwords,
        throttle=LoginThrottle(deps.attempts, clock),
        signer=signer,
        refresh=_refresh_tokens(deps),
        ended=ended,
        gateway=gateway,
        audit=audit,
        metrics=metrics,
        clock=clock,
        new_id=deps.new_id,
    )
    identity = Identity(signer, deps.users, deps.tickets, ended.is_over, clock, origins)
    return Ingress(
        deps=deps,
        metrics=metrics,
        passwords=passwords,
        signer=signer,
        origins=origins,
        identity=identity,
        ended=ended,
        entries=AdminVisits(clock.monotonic),
        sign_in=SignIn(tools),
        gateway=gateway,
        activity=activity,
        hub=hub,
        attachments=Attachments(
            gateway,
            deps.actors,
            clock,
            replica_id=deps.replica_id,
            node_id=deps.node_id,
            ttl=settings.attach_ttl,
        ),
        audit=audit,
        relay_tools=RelayTools(
            gateway,
            deps.codi,
            deps.journal,
            hub,
            clock,
            deps.new_id,
            metrics.recovery.observe,
            renew_after=settings.renew_seconds
            if settings.runtime is RuntimeName.CLOUD_RUN
            else None,
        ),
        saver=Saver(deps, gateway),
        ports=_port_tools(deps, signer, identity, gateway),
        port_watcher=PortWatcher(deps.ledger, gateway, deps.codi, hub, deps.events, clock),
    )


def _port_tools(
    deps: Dependencies, signer: Signer, identity: Identity, gateway: SessionGateway
) -> PortTools:
    settings, clock = deps.settings, deps.clock
    pools = Pools(clock)
    return PortTools(
        hosts=PortHosts(settings.ports_domain, settings.public_url, secure=settings.cookie_secure),
        passes=Passes(signer),
        access=PortAccess(
            deps.ledger, gateway, identity, deps.tokens, clock, settings.access_token_ttl
        ),
        gateway=gateway,
        tickets=deps.tickets,
        pools=pools,
        proxy=HttpProxy(
            pools,
            head_seconds=settings.ports_answer_timeout,
            rate=settings.transfer_min_rate,
            patience=settings.transfer_patience,
        ),
        clock=clock,
        new_id=deps.new_id,
    )


def _refresh_tokens(deps: Dependencies) -> RefreshTokenRotation:
    settings = deps.settings
    return RefreshTokenRotation(
        deps.tokens,
        settings.tenant,
        ttl=settings.refresh_token_ttl,
        overlap=settings.refresh_overlap,
        new_id=deps.new_id,
        random_bytes=deps.random_bytes,
    )


async def _seal_anew(deps: Dependencies) -> None:
    """Seal what older keys have sealed with the newest: at the start, and what is found later.

    A process that began with the older keys may go on sealing with them until it ends.
    """
    told = 0
    while True:
        try:
            done, locked = await deps.environments.reseal()
        except CoditectError as error:
            logger.warning("secrets under older keys wait", reason=str(error))
            await deps.clock.sleep(SEAL_AGAIN_SECONDS)
            continue
        if done or locked != told:
            logger.warning("secrets were sealed anew", sealed=done, locked=locked)
        told = locked
        await deps.clock.sleep(SEAL_LATER_SECONDS)


async def _push_forever(ingress: Ingress) -> None:
    """Push this replica's metrics to the Supervisor, so that whichever is asked can show them all."""
    deps = ingress.deps
    while True:
        await deps.clock.sleep(PUSH_SECONDS)
        try:
            await deps.actors.call(
                names.SUPERVISOR,
                SupervisorCalls.push_metrics,
                PUSH_LIMIT_SECONDS,
                deps.replica_id,
                ingress.snapshot(),
            )
        except CoditectError as error:
            logger.debug("metrics are not reported", reason=str(error))
