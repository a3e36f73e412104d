"""Sessions and containers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fastapi import APIRouter, Request, Response

from actors.core.calls import SessionCalls
from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.errors.sessions import SessionEnded
from actors.core.names import DEFAULT_SESSION
from actors.core.records.idleness import Idleness
from actors.core.records.sessions import SessionPhase
from serve_app.ingress import Ingress
from serve_app.routes.common import (
    SIGNED,
    CallerDep,
    IngressDep,
    KeyDep,
    SessionDep,
    VisitorDep,
    base_url,
    described,
    listed,
    may_fail,
)
from serve_app.schemas.base import workspace_url
from serve_app.schemas.sessions import (
    Container,
    Containers,
    DiskOf,
    Idle,
    KeepAwake,
    LaunchContainer,
    Launched,
    NotArchived,
    NotRestored,
    OpenSession,
    Session,
    SessionChange,
    Sessions,
)
from serve_app.schemas.users import UsageOf

router = APIRouter(prefix="/api/v1", dependencies=SIGNED)

SLOW_SECONDS = 150.0
"""Ending and hibernating wait for the container to stop."""

LOOK_SECONDS = 1.0


@router.get("/sessions", tags=["sessions"], responses=may_fail(401))
async def list_sessions(request: Request, caller: CallerDep, ingress: IngressDep) -> Sessions:
    """List the caller's live sessions."""
    records = await ingress.deps.ledger.sessions_of_user(caller.user_id)
    return Sessions(sessions=await listed(request, ingress, records))


@router.post(
    "/sessions",
    tags=["sessions"],
    responses=may_fail(401, 403, 409, 422) | {201: {"model": Session, "description": "It is new"}},
)
async def open_session(
    request: Request,
    response: Response,
    caller: CallerDep,
    ingress: IngressDep,
    key: KeyDep,
    body: OpenSession | None = None,
) -> Session:
    """Open the session of that name: attach, resume or create (201)."""
    name = body.name if body else DEFAULT_SESSION
    record, created = await ingress.gateway.open(caller.user_id, name, key)
    if created:
        response.status_code = 201
        response.headers["location"] = f"/api/v1/sessions/{record.session_id}"
    return (await described(request, ingress, [record]))[0]


@router.get("/sessions/{session_id}", tags=["sessions"], responses=may_fail(401, 404))
async def get_session(request: Request, session: SessionDep, ingress: IngressDep) -> Session:
    """Return a session's details."""
    ledger, quotas = ingress.deps.ledger, ingress.deps.settings.quotas
    user_id = await ingress.gateway.user_of(session)
    record = await ingress.gateway.view(session)
    [activity], known, unarchived, lacking, usage = await asyncio.gather(
        ledger.activity_of([record]),
        ledger.idleness(session),
        ledger.unarchived(session),
        ledger.unrestored(session),
        ledger.usage(user_id, quotas),
    )
    disk = await ingress.gateway.look_into(record, ingress.deps.codi.disk, LOOK_SECONDS)
    return Session.of(
        record,
        activity,
        base_url(request),
        idle=_idle(ingress, known) if record.phase is SessionPhase.READY else None,
        disk=None if disk is None else DiskOf.of(disk),
        unarchived=NotArchived.of(unarchived),
        unrestored=NotRestored.of(lacking),
        usage=UsageOf.of(usage),
    )


@router.post(
    "/sessions/{session_id}/keep-awake", tags=["sessions"], responses=may_fail(400, 401, 404, 422)
)
async def keep_awake(session: SessionDep, ingress: IngressDep, body: KeepAwake) -> Idle:
    """Veto hibernation by idleness for some seconds from now; 0 takes the veto back.

    Hibernating by request is still possible.
    """
    deps = ingress.deps
    if body.seconds > deps.settings.max_keep_awake:
        raise InvalidArgument("seconds", f"at most {deps.settings.max_keep_awake:g}")
    until = deps.clock.now() + body.seconds if body.seconds else None
    known = await deps.ledger.keep_awake(session, until)
    deps.events.publish(session, "idle", known.event)
    return _idle(ingress, known)


@router.patch("/sessions/{session_id}", tags=["sessions"], responses=may_fail(401, 404, 413, 422))
async def change_session(
    request: Request, session: SessionDep, ingress: IngressDep, body: SessionChange, key: KeyDep
) -> Session:
    """Merge into the session's ``workspace_state`` (RFC 7396)."""
    record = await ingress.gateway.patch_state(session, body.workspace_state, key)
    return (await described(request, ingress, [record]))[0]


@router.delete(
    "/sessions/{session_id}", tags=["sessions"], status_code=204, responses=may_fail(401, 404)
)
async def end_session(
    session: SessionDep, caller: CallerDep, ingress: IngressDep, visitor: VisitorDep, key: KeyDep
) -> None:
    """End the session and remove its container and its workspace. There is no way back."""
    # It was there when the caller was checked; that another call ends it meanwhile is no error.
    with suppress(NotFound, SessionEnded):
        await ingress.gateway.call(session, SessionCalls.end, SLOW_SECONDS, key)
    ingress.gateway.forget(session)
    await ingress.sign_in.note(caller.user_id, "session.end", f"session/{session}", visitor)


@router.post("/sessions/{session_id}/hibernate", tags=["sessions"], responses=may_fail(401, 404))
async def hibernate(
    request: Request, session: SessionDep, ingress: IngressDep, key: KeyDep
) -> Session:
    """Stop the container and keep the session; answers when that is done."""
    record = await ingress.gateway.call(session, SessionCalls.hibernate, SLOW_SECONDS, key)
    return (await described(request, ingress, [record]))[0]


@router.post("/sessions/{session_id}/resume", tags=["sessions"], responses=may_fail(401, 404, 409))
async def resume(
    request: Request, session: SessionDep, ingress: IngressDep, key: KeyDep
) -> Session:
    """Bring a hibernated session back; does not wait for its container."""
    record = await ingress.gateway.resume(session, key)
    return (await described(request, ingress, [record]))[0]


@router.get("/containers", tags=["containers"], responses=may_fail(401))
async def list_containers(caller: CallerDep, ingress: IngressDep) -> Containers:
    """List the containers of the caller's sessions."""
    records = await ingress.deps.ledger.containers_of_user(caller.user_id)
    return Containers(containers=[Container.of(record) for record in records])


@router.post(
    "/containers", tags=["containers"], status_code=201, responses=may_fail(401, 403, 409, 422)
)
async def launch_container(
    request: Request,
    caller: CallerDep,
    ingress: IngressDep,
    key: KeyDep,
    body: LaunchContainer | None = None,
) -> Launched:
    """Launch a container. It serves a session of its own; a name that is known gets its container.

    Answers when the container is ready; the same ``Idempotency-Key`` names the same session.
    """
    name = body.name if body and body.name else f"container {key}"[:63].rstrip()
    record, _ = await ingress.gateway.open(caller.user_id, name, key)
    route = await ingress.gateway.awake_route(record.session_id)
    return Launched(
        container_id=route.container_id,
        status="ready",
        session_id=record.session_id,
        workspace_url=workspace_url(base_url(request), record.session_id),
    )


def _idle(ingress: Ingress, known: Idleness | None) -> Idle:
    deps = ingress.deps
    return Idle.of(known, deps.settings.hibernate_after, deps.clock.now())
