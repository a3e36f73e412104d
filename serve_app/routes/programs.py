"""Programs in the container. Bytes go straight to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from cluster.codi.programs.background_client import MAX_WAIT_SECONDS
from cluster.codi.programs.client import start_program
from cluster.codi.terminals.frames import MAX_OFFSET
from serve_app.http import server_events
from serve_app.http.disconnect import while_connected
from serve_app.ingress import Ingress
from serve_app.programs.background import Background
from serve_app.programs.streaming import events_of
from serve_app.routes.common import SIGNED, IngressDep, SessionDep, get_key, may_fail
from serve_app.schemas.programs import (
    Command,
    CommandResult,
    NamedProcess,
    NewProcess,
    Process,
    Processes,
    ProcessSignal,
)
from serve_app.schemas.terminals import TERMINAL_NAME
from serve_app.terminals.kept_output import OUTPUT_HEADERS, kept_output

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)

MAX_LISTED = 100
ProcessName = Annotated[str, Path(json_schema_extra=TERMINAL_NAME)]


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


@router.get("/processes", tags=["programs"], responses=may_fail(401, 404, 422))
async def processes(
    session: SessionDep,
    ingress: IngressDep,
    named: Annotated[bool, Query(description="programs by name only; wakes nothing")] = False,
    after: Annotated[str, Query(max_length=128, description="names behind this one")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = MAX_LISTED,
) -> Processes:
    """List the processes of the container, or with ``named`` the programs that were started by name."""
    if named:
        found, last = await Background(ingress).page(session, after, limit)
        return Processes(processes=[], named=found, next=last)
    running = await ingress.gateway.on_container(session, ingress.deps.codi.processes)
    return Processes(processes=[Process(**each) for each in running])


@router.post(
    "/processes",
    tags=["programs"],
    status_code=201,
    responses=may_fail(400, 401, 403, 404, 409, 422, 504),
)
async def start_process(
    request: Request, session: SessionDep, ingress: IngressDep, body: NewProcess
) -> NamedProcess:
    """Start a program under a name; it goes on when this call is answered, and its output is kept.

    The same request again is answered with the program that it has started, however that is by now, until it
    is deleted; another one for its name is 409, and 422 under the same ``Idempotency-Key``.
    """
    given = "idempotency-key" in request.headers
    key = await get_key(request, request.headers.get("idempotency-key")) if given else None
    return await Background(ingress).start(session, body, key)


@router.get("/processes/{name}", tags=["programs"], responses=may_fail(401, 404))
async def read_process(name: ProcessName, session: SessionDep, ingress: IngressDep) -> NamedProcess:
    """Return how a program is; needs no container."""
    return await Background(ingress).get(session, name)


@router.delete(
    "/processes/{name}", tags=["programs"], status_code=204, responses=may_fail(401, 404)
)
async def end_process(name: ProcessName, session: SessionDep, ingress: IngressDep) -> None:
    """Kill a program, and forget it and what it has printed."""
    await Background(ingress).delete(session, name)


@router.post(
    "/processes/{name}/signal",
    tags=["programs"],
    status_code=204,
    responses=may_fail(400, 401, 404, 422),
)
async def signal_process(
    name: ProcessName, session: SessionDep, ingress: IngressDep, body: ProcessSignal
) -> None:
    """Signal a program; nothing happens once it has ended."""
    await Background(ingress).signal(session, name, body.signal)


@router.get("/processes/{name}/wait", tags=["programs"], responses=may_fail(401, 404, 422))
async def wait_for_process(
    request: Request,
    name: ProcessName,
    session: SessionDep,
    ingress: IngressDep,
    timeout_seconds: Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS)] = 30.0,
) -> NamedProcess:
    """Return how a program is at its end, or as it is after the time."""
    waiting = Background(ingress).wait(session, name, timeout_seconds)
    return await while_connected(request, waiting)


@router.get(
    "/processes/{name}/output",
    tags=["programs"],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/octet-stream": {}},
            "description": "Bytes from `x-output-start` on; without `follow`, to `x-output-end`",
        },
        **may_fail(401, 404, 422),
    },
)
async def read_process_output(
    name: ProcessName,
    session: SessionDep,
    ingress: IngressDep,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="the first byte wanted")] = 0,
    follow: Annotated[bool, Query(description="go on to the program's end")] = False,
) -> Response:
    """Return what a program has printed, as far as it is kept; needs no container.

    A larger ``x-output-start`` than ``offset`` says that what lies between is not kept any more.
    """
    background = Background(ingress)
    record = await background.record(session, name)
    if not follow:
        return await kept_output(ingress.deps.journal, record, offset)
    start = min(max(offset, record.start), record.end)
    return StreamingResponse(
        background.follow(session, name, start),
        media_type="application/octet-stream",
        headers=OUTPUT_HEADERS | {"x-output-start": str(start)},
    )
