"""What sessions may reach outside."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from actors.core.records.egress import NetworkRecord
from cluster.egress import policy
from cluster.wiring.egress_rules import limits, rules
from serve_app.ingress import Ingress
from serve_app.routes.common import (
    SIGNED,
    CallerDep,
    IngressDep,
    SessionDep,
    VisitorDep,
    may_fail,
)
from serve_app.schemas.network import ChangeNetwork, Network

router = APIRouter(prefix="/api/v1/sessions/{session_id}", tags=["sessions"], dependencies=SIGNED)


@router.get("/network", responses=may_fail(401, 404))
async def get_network(session: SessionDep, ingress: IngressDep) -> Network:
    """Return what the session may reach, what it did today, and what was refused lately."""
    return await _network(ingress, session)


@router.put("/network", responses=may_fail(400, 401, 403, 404, 422))
async def set_network(
    session: SessionDep,
    caller: CallerDep,
    ingress: IngressDep,
    visitor: VisitorDep,
    body: ChangeNetwork,
) -> Network:
    """Choose what the session may reach, within the server's limit. What is open and not allowed ends."""
    allow = policy.choose(rules(ingress.deps.settings), body.policy, body.allow)
    record = NetworkRecord(
        session_id=session, policy=body.policy, allow=allow, updated_at=ingress.deps.clock.now()
    )
    await ingress.deps.networks.put(record)
    resource = f"session/{session}"
    await ingress.sign_in.note(caller.user_id, "network.change", resource, visitor)
    return await _network(ingress, session)


async def _network(ingress: Ingress, session: str) -> Network:
    settings = ingress.deps.settings
    chosen, used = await ingress.deps.networks.get(session)
    day = datetime.fromtimestamp(ingress.deps.clock.now(), UTC).date().isoformat()
    return Network.of(rules(settings), limits(settings), chosen, used, day)
