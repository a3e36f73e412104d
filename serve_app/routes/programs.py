"""Programs in the container. Bytes go straight to it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from cluster.codi.programs.client import start_program
from serve_app.http import server_events
from serve_app.http.disconnect import while_connected
from serve_app.ingress import Ingress
from serve_app.programs.streaming import events_of
from serve_app.routes.common import SIGNED, IngressDep, SessionDep, may_fail
from serve_app.schemas.programs import Command, CommandResult, Process, Processes

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)


@router.post(
    "/exec",
    tags=["programs"],
    responses={
        200: {
            "model": CommandResult,
            "content": {server_events.MEDIA_TYPE: {"schema": {"type": "string"}}},
            "description": "Its end; or with `Accept: text/event-stream` the events `started`, `stdout`,"
            " `stderr` and `exit`, or `error` with a problem document, as they come",
        },
        **may_fail(400, 401, 403, 404, 422, 504),
    },
)
async def execute(
    request: Request, session: SessionDep, ingress: IngressDep, body: Command
) -> CommandResult:
    """Run a program in the workspace and wait for its end. It is killed when the caller goes."""
    limit = body.timeout_seconds or ingress.deps.settings.exec_timeout
    if server_events.is_wanted(request.headers.get("accept", "")):
        return await _stream(request, session, ingress, body, limit)  # type: ignore[return-value]
    codi = ingress.deps.codi
    program = ingress.gateway.once_on_container(
        session,
        lambda route: codi.exec(
            route,
            body.argv,
            cwd=body.cwd,
            env=body.env,
            stdin=body.stdin,
            timeout_seconds=limit,
        ),
    )
    answer = await while_connected(request, program)
    return CommandResult(**answer)


async def _stream(
    request: Request, session: str, ingress: Ingress, body: Command, limit: float
) -> Response:
    starting = ingress.gateway.once_on_container(
        session, lambda route: start_program(route, body.argv, cwd=body.cwd, env=body.env)
    )
    program = await while_connected(request, starting)
    events = events_of(
        program,
        body.stdin,
        limit_seconds=limit,
        instance=request.url.path,
        monotonic=ingress.deps.clock.monotonic,
    )
    return StreamingResponse(
        server_events.never_silent(await server_events.begun(events)),
        media_type=server_events.MEDIA_TYPE,
        headers=server_events.HEADERS,
    )


@router.get("/processes", tags=["programs"], responses=may_fail(401, 404))
async def processes(session: SessionDep, ingress: IngressDep) -> Processes:
    """List the processes of the container."""
    found = await ingress.gateway.on_container(session, ingress.deps.codi.processes)
    return Processes(processes=[Process(**each) for each in found])
