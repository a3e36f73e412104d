"""Files as they are, or as they were: listed, read, and as an archive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from actors.core.errors.requests import InvalidArgument, PreconditionFailed
from actors.core.records.sessions import Route
from cluster.codi.client import FileAnswer
from cluster.codi.conditions import CONDITIONS, Malformed, State, Verdict, judge
from serve_app.ingress import Ingress
from serve_app.routes.common import SIGNED, IngressDep, SessionDep, may_fail
from serve_app.routes.files.kept import fields_of, found_or_missing, workspace_of
from serve_app.routes.files.paths import ArchivePath, FilePath, TreePath, get_after
from serve_app.schemas.files import Tree

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)

MAX_LISTED = 10_000
_PASSED_ON = ("range", "if-range", *CONDITIONS)
# Whatever a workspace holds must not run as a page of this server.
_AS_DATA = {
    "content-disposition": "attachment",
    "cache-control": "private, no-cache",
    "content-security-policy": "sandbox; default-src 'none'",
}
_HANDED_BACK = (
    "etag",
    "last-modified",
    "accept-ranges",
    "content-range",
    "content-length",
    "content-type",
)


@router.get("/tree", tags=["files"], include_in_schema=False)
@router.get("/tree/{path:any_path}", tags=["files"], responses=may_fail(400, 401, 403, 404, 422))
async def tree(
    path: TreePath,
    session: SessionDep,
    ingress: IngressDep,
    after: Annotated[str, Depends(get_after)] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = MAX_LISTED,
) -> Tree:
    """List a directory, page by page."""
    found = await found_or_missing(
        ingress,
        session,
        path,
        lambda route: ingress.deps.codi.tree(route, path, after=after, limit=limit),
    )
    return Tree(**found)


@router.head(
    "/files/{path:any_path}",
    tags=["files"],
    response_class=Response,
    responses=may_fail(400, 401, 403, 404, 412)
    | {200: {"description": "How it is"}, 304: {"description": "It has not changed"}},
)
async def head_file(
    request: Request,
    path: FilePath,
    session: SessionDep,
    ingress: IngressDep,
    version: Annotated[int | None, Query(ge=1, description="as of this version")] = None,
) -> Response:
    """Return what a GET would say of a file, without its bytes."""
    return await read_file(request, path, session, ingress, version)


@router.get(
    "/files/{path:any_path}",
    tags=["files"],
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file's bytes"},
        206: {"content": {"application/octet-stream": {}}, "description": "A part of them"},
        304: {"description": "It has not changed"},
        **may_fail(400, 401, 403, 404, 412, 416),
    },
)
async def read_file(
    request: Request,
    path: FilePath,
    session: SessionDep,
    ingress: IngressDep,
    version: Annotated[int | None, Query(ge=1, description="as of this version")] = None,
) -> Response:
    """Return a file's bytes; honours conditions and a single ``Range`` with ``If-Range`` (RFC 9110).

    With ``version`` they come from the chunk store, whole, and the container is not woken.
    """
    if version is not None:
        return await _read_version(request, ingress, session, path, version)
    sent = fields_of(request, _PASSED_ON)
    stack = AsyncExitStack()

    async def work(route: Route) -> FileAnswer:
        asked = ingress.deps.codi.get_file(route, path, sent, request.method)
        return await stack.enter_async_context(asked)

    answer = await found_or_missing(ingress, session, path, work)
    headers = {n: answer.headers[n] for n in _HANDED_BACK if n in answer.headers} | _AS_DATA
    if request.method == "HEAD":
        await stack.aclose()
        return Response(status_code=answer.status, headers=headers)
    return StreamingResponse(_closing(stack, answer), status_code=answer.status, headers=headers)


@router.get("/archive", tags=["files"], include_in_schema=False)
@router.get(
    "/archive/{path:any_path}",
    tags=["files"],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/x-tar": {}},
            "description": "The directory as a tar archive",
        },
        **may_fail(400, 401, 404),
    },
)
async def read_archive(path: ArchivePath, session: SessionDep, ingress: IngressDep) -> Response:
    """Return a directory with all that is in it as a tar stream (pax), made while it is read.

    What cannot be read is listed in a file at its end. A stream that breaks off is not whole.
    """
    stack = AsyncExitStack()

    async def work(route: Route) -> FileAnswer:
        return await stack.enter_async_context(ingress.deps.codi.get_archive(route, path))

    answer = await found_or_missing(ingress, session, path, work)
    name = path.strip("/").rpartition("/")[2] or "workspace"
    encoded = quote(name.encode("utf-8", "surrogateescape"), safe="")
    named = {"content-disposition": f"attachment; filename*=UTF-8''{encoded}.tar"}
    return StreamingResponse(
        _closing(stack, answer), media_type="application/x-tar", headers=_AS_DATA | named
    )


async def _read_version(
    request: Request, ingress: Ingress, session: str, path: str, version: int
) -> Response:
    workspace_id = await workspace_of(ingress, session)
    past = await ingress.deps.library.file(workspace_id, path, version)
    state = State(f'"{past.entry.content}"', past.entry.modified_ns / 1e9)
    headers = _AS_DATA | {"etag": state.etag, "last-modified": state.last_modified}
    try:
        verdict = judge(request.method, fields_of(request, CONDITIONS), state)
    except Malformed as error:
        raise InvalidArgument("If-Match", str(error)) from None
    if verdict is Verdict.FAILED:
        raise PreconditionFailed("file", "another one", state.etag)
    if verdict is Verdict.NOT_MODIFIED:
        return Response(status_code=304, headers=headers)
    headers |= {
        "accept-ranges": "none",
        "content-type": "application/octet-stream",
        "content-length": str(past.entry.size),
    }
    if request.method == "HEAD":
        return Response(headers=headers)
    content = await ingress.deps.library.content(workspace_id, path, past.entry)
    return StreamingResponse(content, headers=headers)


async def _closing(stack: AsyncExitStack, answer: FileAnswer) -> AsyncIterator[bytes]:
    async with stack:
        async for part in answer.content:
            yield part
