"""For operators: health, metrics, accounts, and what there is."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import PlainTextResponse

from actors.core import names
from actors.core.calls import SupervisorCalls
from actors.core.errors.base import CoditectError
from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.records.accounts import UserRecord
from actors.core.records.containers import ContainerStatus
from cluster.runtime.disks import reserve
from cluster.store.layers.accounts.audit import Wanted
from cluster.wiring.cloud_run_room import room_left
from serve_app.ingress import Ingress
from serve_app.routes.common import (
    SIGNED,
    AdminDep,
    IngressDep,
    VisitorDep,
    get_admin,
    get_caller,
    listed,
    may_fail,
    only_local,
)
from serve_app.schemas.admin import Audit, AuditLine, Node, Nodes, ServerHealth
from serve_app.schemas.sessions import Container, Containers, Sessions
from serve_app.schemas.users import NewUser, User, UserChange, Users
from serve_app.telemetry import health as health_checks
from serve_app.telemetry.exposition import CONTENT_TYPE, expose

router = APIRouter(prefix="/api/admin", tags=["admin"])

COLLECT_SECONDS = 5.0
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[
    str | None,
    Query(description="the `id` of a line", json_schema_extra={"pattern": "^[0-9a-f]{24}$"}),
]
After = Annotated[str | None, Query(max_length=64, description="the last id of the page before")]


@router.get("/health", responses={503: {"model": ServerHealth, "description": "It is down"}})
async def health(response: Response, ingress: IngressDep) -> ServerHealth:
    """Report how every component is; 503 when a vital one is down. Open to all, and holds no secret."""
    found = await health_checks.check(ingress.deps)
    response.status_code = 503 if found.status == "down" else 200
    response.headers["cache-control"] = "no-store"
    return found


@router.get("/metrics", response_class=PlainTextResponse, responses=may_fail(401, 403))
async def metrics(request: Request, ingress: IngressDep) -> Response:
    """Return all metrics in Prometheus' text format.

    Open to all while the server can only be reached from its own machine (it listens on a loopback
    address and has no ``public_url``); otherwise for administrators. The caller's own address says
    nothing here: behind a proxy everybody comes from it.
    """
    if not only_local(ingress.deps.settings):
        await get_admin(await get_caller(request))
    collected = await _collected(ingress)
    pushed = {source: entry["families"] for source, entry in collected["pushed"].items()}
    containers = await ingress.deps.ledger.containers()
    settings = ingress.deps.settings
    disk = await asyncio.to_thread(reserve.figures, settings.data_dir, settings.kept_reserve)
    text = expose(
        pushed | {ingress.deps.replica_id: ingress.snapshot()},
        collected["actors"],
        collected["supervisor"],
        active_containers=sum(record.status is ContainerStatus.READY for record in containers),
        disk=disk,
        cloud_run=await asyncio.to_thread(room_left, settings),
    )
    return Response(text, media_type=CONTENT_TYPE)


@router.get("/overview", dependencies=SIGNED, responses=may_fail(401, 403))
async def overview(_: AdminDep, ingress: IngressDep) -> dict[str, Any]:
    """Return what the Supervisor knows: actors, pools, sessions by phase, what is stuck.

    `wanting` is what the server did not find at its start that it could use: walls between users, and room.
    """
    found = await ingress.deps.actors.call(
        names.SUPERVISOR, SupervisorCalls.snapshot, COLLECT_SECONDS
    )
    return {**found, "wanting": [asdict(lack) for lack in health_checks.machine(ingress.deps)]}


@router.get("/users", dependencies=SIGNED, responses=may_fail(401, 403))
async def list_users(
    _: AdminDep,
    ingress: IngressDep,
    after: After = None,
    limit: Limit = 200,
    email: Annotated[
        str | None, Query(max_length=1000, description="the one account of this address")
    ] = None,
) -> Users:
    """List accounts, by id, with what they have and may have."""
    deps = ingress.deps
    if email is None:
        records = await deps.users.page(after=after, limit=limit)
    else:
        # As when somebody signs in: addresses that are written differently may be one.
        found = await deps.users.by_email(email)
        records = [found] if found is not None else []
    following = records[-1].user_id if email is None and len(records) == limit else None
    ids = [record.user_id for record in records]
    usages = await asyncio.gather(
        *(deps.ledger.usage(user_id, deps.settings.quotas) for user_id in ids)
    )
    rows = zip(records, await deps.users.quotas(ids), usages, strict=True)
    return Users(users=[User.of(*each) for each in rows], next=following)


@router.post(
    "/users", status_code=201, dependencies=SIGNED, responses=may_fail(400, 401, 403, 409, 422)
)
async def create_user(
    admin: AdminDep, ingress: IngressDep, visitor: VisitorDep, body: NewUser
) -> User:
    """Make an account."""
    deps = ingress.deps
    record = await deps.users.create(
        UserRecord(
            user_id=deps.new_id("u"),
            tenant_id=deps.settings.tenant,
            email=body.email,
            role=body.role,
            password_hash=await ingress.passwords.hash(body.password),
            created_at=deps.clock.now(),
        )
    )
    resource = f"user/{record.user_id}"
    await ingress.sign_in.note(admin.user_id, "user.create", resource, visitor)
    return User.of(record)


@router.patch("/users/{user_id}", dependencies=SIGNED, responses=may_fail(400, 401, 403, 404, 422))
async def change_user(
    user_id: str, admin: AdminDep, ingress: IngressDep, visitor: VisitorDep, body: UserChange
) -> User:
    """Change an account's password, role, quotas, or whether it may sign in.

    With any of these but quotas its logins end within a second, with the sockets, streams and
    transfers they have open; only the administrator's own goes on who changes their own account.
    """
    users = ingress.deps.users
    record = await _existing(ingress, user_id)
    if user_id == admin.user_id and (body.disabled or body.role not in {None, record.role}):
        raise InvalidArgument("user_id", "administrators do not lock themselves out")
    hashed = None if body.password is None else await ingress.passwords.hash(body.password)
    now = ingress.deps.clock.now()
    changed = await users.change(
        user_id,
        now=now,
        password_hash=hashed,
        role=body.role,
        disabled=body.disabled,
        kept_login=admin.login.family if user_id == admin.user_id else None,
    )
    if changed.generation != record.generation:
        ingress.ended.add_account(changed, now)
    if body.quotas is not None:
        await users.set_quotas(user_id, body.quotas.changes())
    ingress.identity.forget(user_id)
    fields = ",".join(sorted(body.model_fields_set))
    await ingress.sign_in.note(admin.user_id, f"user.change {fields}", f"user/{user_id}", visitor)
    usage = await ingress.deps.ledger.usage(user_id, ingress.deps.settings.quotas)
    return User.of(changed, (await users.quotas([user_id]))[0], usage)


@router.delete(
    "/users/{user_id}",
    status_code=204,
    dependencies=SIGNED,
    responses=may_fail(401, 403, 404, 422),
)
async def disable_user(
    user_id: str, admin: AdminDep, ingress: IngressDep, visitor: VisitorDep
) -> None:
    """Disable an account: nobody signs in with it any more. Its sessions and its trail are kept."""
    await change_user(user_id, admin, ingress, visitor, UserChange(disabled=True))


@router.get("/sessions", dependencies=SIGNED, responses=may_fail(401, 403))
async def list_sessions(
    request: Request, _: AdminDep, ingress: IngressDep, after: After = None, limit: Limit = 200
) -> Sessions:
    """List all live sessions, by id."""
    records = await ingress.deps.ledger.sessions(after=after, limit=limit)
    following = records[-1].session_id if len(records) == limit else None
    return Sessions(sessions=await listed(request, ingress, records), next=following)


@router.get("/containers", dependencies=SIGNED, responses=may_fail(401, 403))
async def list_containers(_: AdminDep, ingress: IngressDep) -> Containers:
    """List all containers that have not been stopped."""
    records = await ingress.deps.ledger.containers()
    return Containers(containers=[Container.of(record) for record in records])


@router.get("/nodes", dependencies=SIGNED, responses=may_fail(401, 403))
async def list_nodes(_: AdminDep, ingress: IngressDep) -> Nodes:
    """List the machines of the server, and what each has room for."""
    found = await ingress.deps.actors.call(names.SUPERVISOR, SupervisorCalls.nodes, COLLECT_SECONDS)
    return Nodes(nodes=[Node.of(node) for node in found])


@router.post(
    "/nodes/{node_id}/drain",
    status_code=202,
    dependencies=SIGNED,
    responses=may_fail(400, 401, 403, 404, 422),
)
async def drain_node(
    node_id: Annotated[str, Path(max_length=64)],
    admin: AdminDep,
    ingress: IngressDep,
    visitor: VisitorDep,
) -> Nodes:
    """Have a node's sessions moved to others, one by one with their sockets open; the node then leaves.

    Returns at once; `GET /api/admin/nodes` shows how far it is. The head cannot be drained.
    """
    await ingress.deps.actors.call(
        names.SUPERVISOR, SupervisorCalls.drain, COLLECT_SECONDS, node_id
    )
    await ingress.sign_in.note(admin.user_id, "node.drain", f"node/{node_id}", visitor)
    return await list_nodes(admin, ingress)


@router.get("/audit", dependencies=SIGNED, responses=may_fail(400, 401, 403, 422))
async def audit(
    _: AdminDep,
    ingress: IngressDep,
    limit: Limit = 100,
    before: Cursor = None,
    after: Cursor = None,
    user_id: Annotated[str | None, Query(max_length=64, description="lines of this user")] = None,
    action: Annotated[
        str | None, Query(max_length=64, description="of this action, or family as in `file`")
    ] = None,
) -> Audit:
    """Return lines of the audit trail, newest first: the newest, those before a line, or the next after one.

    `next` is where to go on in the same direction. With a filter a page may be short before the end.
    """
    page = await ingress.deps.audit.page(Wanted(limit, before, after, user_id, action))
    fields = set(AuditLine.model_fields)
    lines = [AuditLine(id=at, **each.model_dump(include=fields)) for at, each in page.entries]
    return Audit(entries=lines, next=page.next)


async def _existing(ingress: Ingress, user_id: str) -> UserRecord:
    record = await ingress.deps.users.by_id(user_id)
    if record is None:
        raise NotFound("user", user_id)
    return record


async def _collected(ingress: Ingress) -> dict[str, Any]:
    """Ask the Supervisor; without it there are still this replica's own metrics."""
    try:
        return await ingress.deps.actors.call(
            names.SUPERVISOR, SupervisorCalls.collect_metrics, COLLECT_SECONDS
        )
    except CoditectError:
        return {"pushed": {}, "actors": {}, "supervisor": {}}
