"""Makes a node's egress gateway of the settings."""

from __future__ import annotations

import asyncio
import resource
from functools import cache

from actors.core import informer
from actors.core.informer import Informer
from cluster.egress.authority import Authority
from cluster.egress.bound import BoundSecrets
from cluster.egress.gateway import Gateway
from cluster.egress.resolver import Resolver
from cluster.egress.sessions import Sessions
from cluster.egress.tls import upstream_context
from cluster.egress.turns import Turns
from cluster.egress.visit import Network, is_own
from cluster.runtime.registry import user_of
from cluster.store.layers.accounts.audit import AuditLog
from cluster.store.layers.sessions.networks import NetworkStore
from cluster.wiring.egress_rules import limits, rules
from cluster.wiring.node import NodeWiring

_OTHER_FILES = 1024
_MOST = 8192


async def make_gateway(wiring: NodeWiring) -> Gateway:
    """Return the gateway of a node; belongs to the running event loop."""
    services = await wiring()
    settings = wiring.settings
    engine = wiring.engine()
    books = NetworkStore(engine, settings.tenant)
    trail = AuditLog(engine, settings.tenant, keep_seconds=settings.audit_keep)
    turns = Turns(asyncio.get_running_loop().time)
    its_limits = limits(settings)
    return Gateway(
        settings.data_dir.resolve(),
        containers=informer.of_containers(services),
        networks=Informer(books.feed(), services.clock),
        sessions=Sessions(
            settings.tenant, books, trail, rules(settings), its_limits, turns, services.clock
        ),
        turns=turns,
        network=Network(
            Resolver(),
            is_own,
            BoundSecrets(wiring.environments(engine), services.clock),
            Authority(settings.data_dir.resolve(), services.clock.now),
            cache(upstream_context),
        ),
        limits=its_limits,
        user_of=user_of,
        clock=services.clock,
        most=_descriptors(),
    )


def _descriptors() -> int:
    """Allow as many open files as there may be, and return for how many conversations that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(64, min(_MOST, (hard - _OTHER_FILES) // 3))
