"""Programs in the container. Bytes go straight to it."""

from __future__ import annotations

from fastapi import APIRouter, Request

from serve_app.http.disconnect import while_connected
from serve_app.routes.common import SIGNED, IngressDep, SessionDep, may_fail
from serve_app.schemas.programs import Command, CommandResult, Process, Processes

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)


@router.post("/exec", tags=["programs"], responses=may_fail(400, 401, 404, 422, 504))
async def execute(
    request: Request, session: SessionDep, ingress: IngressDep, body: Command
) -> CommandResult:
    """Run a program in the workspace and wait for its end. It is killed when the caller goes."""
    codi, limit = ingress.deps.codi, ingress.deps.settings.exec_timeout
    program = ingress.gateway.once_on_container(
        session,
        lambda route: codi.exec(
            route,
            body.argv,
            cwd=body.cwd,
            env=body.env,
            stdin=body.stdin,
            timeout_seconds=body.timeout_seconds or limit,
        ),
    )
    answer = await while_connected(request, program)
    return CommandResult(**answer)


@router.get("/processes", tags=["programs"], responses=may_fail(401, 404))
async def processes(session: SessionDep, ingress: IngressDep) -> Processes:
    """List the processes of the container."""
    found = await ingress.gateway.on_container(session, ingress.deps.codi.processes)
    return Processes(processes=[Process(**each) for each in found])
