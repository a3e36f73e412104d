"""What changes in a workspace as it happens, and what is in it by name or content."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from actors.core.errors.base import CoditectError
from actors.core.records.sessions import Route
from serve_app.http import problems, server_events
from serve_app.http.disconnect import while_connected
from serve_app.ingress import Ingress
from serve_app.routes.common import SIGNED, IngressDep, SessionDep, may_fail
from serve_app.routes.files.paths import WatchPath
from serve_app.schemas.files import Found
from serve_app.schemas.text import MAX_PATH

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)

MAX_MATCHES = 1000


@router.get("/watch", tags=["files"], include_in_schema=False)
@router.get(
    "/watch/{path:any_path}",
    tags=["files"],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {server_events.MEDIA_TYPE: {"schema": {"type": "string"}}},
            "description": "Events: `ready`, then `changed` with `path` and `type` (`gone`: it is not"
            " there), and `lost` with the `path` below which some may have been missed",
        },
        **may_fail(400, 401, 404),
    },
)
async def watch(
    request: Request, path: WatchPath, session: SessionDep, ingress: IngressDep
) -> Response:
    """Follow what changes below a path, as server-sent events, within a second; ends with an `error`."""
    events = _changes(ingress, session, path, request.url.path)
    return StreamingResponse(
        server_events.never_silent(await while_connected(request, server_events.begun(events))),
        media_type=server_events.MEDIA_TYPE,
        headers=server_events.HEADERS,
    )


async def _changes(
    ingress: Ingress, session: str, path: str, instance: str
) -> AsyncGenerator[bytes]:
    """Yield events; those of a container that replaces another begin with what may have been missed."""
    route: Route = await ingress.gateway.awake_route(session)
    begun = False
    while True:
        before = route
        try:
            async with ingress.deps.codi.watch(route, path) as lines:
                async for line in lines:
                    if "ready" in line:
                        yield _event("lost", {"path": path}) if begun else _event("ready", {})
                        begun = True
                    elif "lost" in line:
                        yield _event("lost", {"path": line["lost"]})
                    elif "path" in line:
                        yield _event("changed", {"path": line["path"], "type": line["type"]})
        except CoditectError as error:
            if not begun and not error.retryable:
                raise
            failed: CoditectError = error
        else:
            return
        try:
            # Who looks on keeps nothing awake.
            route = await ingress.gateway.newer_route(session, before, failed, wakes=not begun)
        except CoditectError as error:
            if not begun:
                raise
            yield _event("error", problems.from_error(error, instance)[0])
            return


def _event(name: str, data: dict[str, Any]) -> bytes:
    return server_events.event(name, data)


@router.get("/search", tags=["files"], responses=may_fail(400, 401, 404, 422, 504))
async def search(
    request: Request,
    session: SessionDep,
    ingress: IngressDep,
    q: Annotated[str, Query(min_length=1, max_length=1000)],
    kind: Literal["name", "content"] = "name",
    path: Annotated[str, Query(max_length=MAX_PATH, description="below this directory")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_MATCHES)] = 100,
    case: Annotated[bool, Query(description="case counts")] = False,
    regex: Annotated[bool, Query(description="q is a regular expression")] = False,
    everything: Annotated[
        bool, Query(description="also in .git, node_modules and the like")
    ] = False,
    after: Annotated[str, Query(max_length=MAX_PATH, description="`next` of a page")] = "",
) -> Found:
    """Find files by name, or lines of text files, in the order of the paths; binary files are left out.

    A search takes up to 8 s and reads up to 1 GiB. ``stopped_by`` says what ended it before everything was
    seen; with ``after`` = ``next`` it goes on there.
    """
    wanted = {
        "q": q,
        "kind": kind,
        "path": path,
        "limit": limit,
        "case": case,
        "regex": regex,
        "everything": everything,
        "after": after,
    }
    searching = ingress.gateway.on_container(
        session, lambda route: ingress.deps.codi.search(route, wanted)
    )
    return Found(**await while_connected(request, searching))
