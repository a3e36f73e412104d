"""A session's terminals: listed, started, ended, and what they have printed."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from starlette.responses import StreamingResponse

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import NotFound
from actors.core.records.sessions import Route, SessionPhase
from actors.core.records.terminals import TerminalRecord
from cluster.codi.terminals.frames import AUTOMATION_PREFIX, MAX_OFFSET
from serve_app.ingress import Ingress
from serve_app.routes.common import SIGNED, IngressDep, SessionDep, may_fail
from serve_app.schemas.terminals import TERMINAL_NAME, NewTerminal, Terminal, Terminals
from serve_app.terminals.kept_output import kept_output

TerminalName = Annotated[str, Path(json_schema_extra=TERMINAL_NAME)]

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)


@router.get("/terminals", tags=["terminals"], responses=may_fail(401, 404))
async def list_terminals(session: SessionDep, ingress: IngressDep) -> Terminals:
    """List the session's terminals; while no container runs, as their journal knows them."""
    kept = {record.name: record for record in await ingress.deps.journal.terminals(session)}
    if (await ingress.gateway.view(session)).phase is not SessionPhase.READY:
        # A program's terminal whose shell has ended is nothing that anybody comes back to.
        return Terminals(
            terminals=[
                _resting(record)
                for record in kept.values()
                if record.exit_code is None or not record.name.startswith(AUTOMATION_PREFIX)
            ]
        )
    found = await ingress.gateway.on_container(session, ingress.deps.codi.terminals)
    for each in found:  # CODI holds the end of what is kept
        if each["name"] in kept:
            each["start_offset"] = min(each["start_offset"], kept[each["name"]].start)
    return Terminals(terminals=[Terminal(**each) for each in found])


def _resting(record: TerminalRecord) -> Terminal:
    return Terminal(
        name=record.name,
        cols=record.cols,
        rows=record.rows,
        sizing=record.sizing,
        start_offset=record.start,
        end_offset=record.end,
        cwd=record.cwd,
        clients=0,
        exited=record.exit_code is not None,
    )


@router.get(
    "/terminals/{name}/output",
    tags=["terminals"],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/octet-stream": {}},
            "description": "Bytes `x-output-start` to `x-output-end` (exclusive) of the terminal",
        },
        **may_fail(401, 404, 422),
    },
)
async def read_output(
    name: TerminalName,
    session: SessionDep,
    ingress: IngressDep,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="the first byte wanted")] = 0,
) -> Response:
    """Return what a terminal has printed, as far as it is kept; needs no container."""
    record = await ingress.deps.journal.terminal(session, name)
    if record is None or record.deleted:
        raise NotFound("terminal", name)
    return await kept_output(ingress.deps.journal, record, offset)


@router.post(
    "/terminals",
    tags=["terminals"],
    responses=may_fail(400, 401, 404, 422) | {201: {"model": Terminal, "description": "New"}},
)
async def start_terminal(
    response: Response, session: SessionDep, ingress: IngressDep, body: NewTerminal
) -> Terminal:
    """Start a terminal; one of that name that is there already is returned as it is."""
    codi, gateway = ingress.deps.codi, ingress.gateway

    async def start(route: Route) -> tuple[dict[str, Any], bool]:
        return await codi.open_terminal(
            route, body.name, cols=body.cols, rows=body.rows, cwd=body.cwd
        )

    found, created = await gateway.on_container(session, lambda route: gateway.start(route, start))
    response.status_code = 201 if created else 200
    if created:
        await publish_terminals(ingress, session, body.name)
    return Terminal(**found)


@router.delete(
    "/terminals/{name}", tags=["terminals"], status_code=204, responses=may_fail(401, 404)
)
async def end_terminal(name: TerminalName, session: SessionDep, ingress: IngressDep) -> None:
    """Hang up a terminal: its programs get SIGHUP."""
    await ingress.gateway.on_container(
        session, lambda route: ingress.deps.codi.delete_terminal(route, name)
    )
    # Or a new container would start its shell again.
    await ingress.deps.journal.delete_terminal(session, name, ingress.deps.clock.now())
    await publish_terminals(ingress, session)


async def is_known(ingress: Ingress, session_id: str, name: str) -> bool:
    """Return whether a terminal is there as far as its journal knows; true if that cannot be read."""
    with suppress(CoditectError):
        record = await ingress.deps.journal.terminal(session_id, name)
        return record is not None and not record.deleted
    return True


async def publish_terminals(ingress: Ingress, session_id: str, *new: str) -> None:
    """Publish the names of a session's terminals; ``new`` are not in their journal yet."""
    with suppress(CoditectError):
        known = {record.name for record in await ingress.deps.journal.terminals(session_id)}
        names = sorted(known.union(new))
        ingress.deps.events.publish(session_id, "terminals", {"names": names})
