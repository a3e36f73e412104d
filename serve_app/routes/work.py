"""Work inside a workspace: programs and files. Bytes go straight to the container."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, TypeVar
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import StreamingResponse

from actors.core.errors.requests import (
    InvalidArgument,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
)
from actors.core.errors.workspaces import ContentMissing
from actors.core.records.archive import Receipt
from actors.core.records.sessions import Route
from cluster.archive.restoring.versions import Expected
from cluster.codi.client import FileAnswer
from cluster.codi.conditions import CONDITIONS, Malformed, State, Verdict, judge
from serve_app.http.disconnect import while_connected
from serve_app.http.middleware import announced_length
from serve_app.ingress import Ingress
from serve_app.routes.common import SIGNED, IngressDep, KeyDep, SessionDep, may_fail
from serve_app.schemas import (
    Command,
    CommandResult,
    Move,
    NewDirectory,
    Process,
    Processes,
    Tree,
)
from serve_app.sessions.saving import Conditions, Hashed

T = TypeVar("T")


class AnyPath(Convertor[str]):
    """The rest of the path, line breaks included: file names may have them (Starlette's stops there)."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """Return it as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return it as it is."""
        return value


register_url_convertor("any_path", AnyPath())

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

_PathParameter = Annotated[
    str, Path(description="relative to the workspace", examples=["src/main.py"])
]


async def get_directory_path(request: Request) -> str:
    """Return the path behind ``/tree/``; empty for the workspace itself."""
    return as_sent(request, b"/tree")


async def get_archive_path(request: Request) -> str:
    """Return the path behind ``/archive/``; empty for the workspace itself."""
    return as_sent(request, b"/archive")


async def get_file_path(request: Request, path: _PathParameter) -> str:
    """Return the path behind ``/files/``. Raises InvalidArgument when there is none."""
    if not path:
        raise InvalidArgument("path", "the path of a file in the workspace")
    return as_sent(request, b"/files")


def as_sent(request: Request, marker: bytes) -> str:
    """Return a path to the byte as it was sent; bytes that are no UTF-8 become surrogate escapes."""
    raw: bytes = request.scope["raw_path"]
    # The session's id in front of it holds no slash, so the first marker is the right one.
    sent = raw.partition(marker)[2].removeprefix(b"/")
    return unquote_to_bytes(sent).decode("utf-8", "surrogateescape")


async def get_after(
    request: Request,
    after: Annotated[str, Query(description="list names behind this one, `next` of a page")] = "",
) -> str:
    """Return a name in a query to the byte. Raises InvalidArgument."""
    del after  # decoded by now, with what is no UTF-8 replaced
    for part in request.scope["query_string"].split(b"&"):
        name, _, value = part.partition(b"=")
        if name == b"after":
            return unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "surrogateescape")
    return ""


FilePath = Annotated[str, Depends(get_file_path)]
DirectoryPath = Annotated[str, Depends(get_directory_path)]
IfMatch = Annotated[
    str | None,
    Header(description='etags, one of which the file must have, or "*": it must be there'),
]
IfNoneMatch = Annotated[
    str | None,
    Header(description='etags that the file must not have, or "*": it must not be there'),
]
IfUnmodifiedSince = Annotated[
    str | None, Header(description="an HTTP date: the file must not have changed since")
]


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


# ---- files ------------------------------------------------------------------------------------------


@router.get("/tree", tags=["files"], include_in_schema=False)
@router.get("/tree/{path:any_path}", tags=["files"], responses=may_fail(400, 401, 403, 404, 422))
async def tree(
    path: DirectoryPath,
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


def fields_of(request: Request, names: Sequence[str]) -> dict[str, str]:
    """Return header fields by name; several lines of one are a list (RFC 9110, 5.3)."""
    found = {name: request.headers.getlist(name) for name in names}
    return {name: ", ".join(lines) for name, lines in found.items() if lines}


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
async def read_archive(
    path: Annotated[str, Depends(get_archive_path)], session: SessionDep, ingress: IngressDep
) -> Response:
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
    record = await ingress.deps.ledger.session(session)
    if record is None:
        raise NotFound("session", session)
    past = await ingress.deps.library.file(record.workspace_id, path, version)
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
    content = await ingress.deps.library.content(record.workspace_id, path, past.entry)
    return StreamingResponse(content, headers=headers)


@router.put(
    "/files/{path:any_path}",
    tags=["files"],
    responses=may_fail(400, 401, 403, 404, 412, 413, 415, 422, 507),
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
)
async def write_file(
    request: Request,
    response: Response,
    path: FilePath,
    session: SessionDep,
    ingress: IngressDep,
    key: KeyDep,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
    if_unmodified_since: IfUnmodifiedSince = None,
) -> Receipt:
    """Save a file. The receipt comes when the file is durable and its version committed.

    It keeps its permissions, owner, attributes and other names; one that is read-only is refused.
    """
    del if_match, if_none_match, if_unmodified_since  # for the document: each may be several lines
    limit = ingress.deps.settings.max_file
    length = announced_length(request.scope)
    if length > limit:
        raise PayloadTooLarge("file", limit)
    receipt = await ingress.saver.save(
        session,
        path,
        Hashed(request.stream(), limit),
        conditions_of(request),
        # A key that was made here cannot have been used.
        key=key if "idempotency-key" in request.headers else None,
        length=length or None,
    )
    response.headers["etag"] = receipt.etag
    return receipt


@router.delete(
    "/files/{path:any_path}",
    tags=["files"],
    status_code=204,
    responses=may_fail(400, 401, 403, 404, 412),
)
async def delete_file(
    request: Request,
    path: FilePath,
    session: SessionDep,
    ingress: IngressDep,
    recursive: Annotated[bool, Query(description="also a directory with what is in it")] = False,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
    if_unmodified_since: IfUnmodifiedSince = None,
) -> None:
    """Remove a file, a link, or with ``recursive`` a directory."""
    del if_match, if_none_match, if_unmodified_since
    asked = conditions_of(request)

    async def work(route: Route) -> None:
        await ingress.deps.codi.delete(
            route,
            path,
            recursive=recursive,
            if_match=asked.if_match,
            if_none_match=asked.if_none_match,
            if_unmodified_since=asked.if_unmodified_since,
        )

    expected = await _expected(ingress, session, path) if recursive else None
    give_up = expected is not None and not await _is_whole(ingress, session, expected)
    try:
        await found_or_missing(ingress, session, path, work, repeatable=False)
    except ContentMissing:
        # What cannot be put back can be given up.
        if asked.if_match is not None:
            raise
        give_up = True
    await ingress.saver.keep_deletion(session, path, give_up=give_up)


def conditions_of(request: Request) -> Conditions:
    """Return the conditions of a request that changes something."""
    fields = fields_of(request, CONDITIONS)
    return Conditions(
        fields.get("if-match"), fields.get("if-none-match"), fields.get("if-unmodified-since")
    )


@router.post(
    "/move", tags=["files"], status_code=204, responses=may_fail(400, 401, 403, 404, 409, 422, 507)
)
async def move(session: SessionDep, ingress: IngressDep, body: Move) -> None:
    """Rename a file or directory."""
    await found_or_missing(
        ingress,
        session,
        body.source,
        lambda route: ingress.deps.codi.move(
            route, body.source, body.target, overwrite=body.overwrite
        ),
        repeatable=False,
    )
    await ingress.saver.keep(session, [body.source, body.target])


@router.post(
    "/directories",
    tags=["files"],
    responses=may_fail(400, 401, 403, 404, 409, 422, 507) | {201: {"description": "It is new"}},
)
async def make_directory(
    response: Response, session: SessionDep, ingress: IngressDep, body: NewDirectory
) -> NewDirectory:
    """Make a directory, with its parents; 201 if it was not there before."""
    made = await ingress.gateway.on_container(
        session, lambda route: ingress.deps.codi.make_directory(route, body.path)
    )
    await ingress.saver.keep(session, [body.path])
    response.status_code = 201 if made else 200
    return body


async def found_or_missing(
    ingress: Ingress,
    session: str,
    path: str,
    work: Callable[[Route], Awaitable[T]],
    *,
    repeatable: bool = True,
) -> T:
    """Do something with a path in the container. Raises ContentMissing when it is not put back yet."""
    on_container = ingress.gateway.on_container
    try:
        return await on_container(session, work, repeatable=repeatable)
    except NotFound:
        expected = await _expected(ingress, session, path)
        if expected is None:
            raise
        if not await _is_whole(ingress, session, expected):
            raise expected.missing from None
    # It was deleted an instant ago, or put back since.
    return await on_container(session, work, repeatable=repeatable)


async def _expected(ingress: Ingress, session: str, path: str) -> Expected | None:
    return await ingress.deps.library.expected(session, path) if path.strip("/") else None


async def _is_whole(ingress: Ingress, session: str, expected: Expected) -> bool:
    """Return whether the container's directory has all that is kept."""
    found = await ingress.gateway.on_container(session, ingress.deps.codi.incarnation)
    return found == expected.incarnation


async def _closing(stack: AsyncExitStack, answer: FileAnswer) -> AsyncIterator[bytes]:
    async with stack:
        async for part in answer.content:
            yield part
