"""What is done inside a workspace: programs, files, terminals. Bytes go straight to the container."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import StreamingResponse

from actors.errors import InvalidArgument, NotFound, PayloadTooLarge
from actors.records import Receipt, Route
from cluster.codi.client import FileAnswer
from serve_app.callers import while_connected
from serve_app.ingress import Ingress
from serve_app.middleware import announced_length
from serve_app.routes.common import SIGNED, IngressDep, KeyDep, SessionDep, may_fail
from serve_app.saving import Conditions, Hashed
from serve_app.schemas import (
    Command,
    CommandResult,
    Move,
    NewDirectory,
    Process,
    Processes,
    Tree,
)


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

_PASSED_ON = ("range", "if-range", "if-none-match")
# Whatever a workspace holds must not run as a page of this server.
_AS_DATA = {
    "content-disposition": "attachment",
    "cache-control": "no-cache",
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


FilePath = Annotated[str, Depends(get_file_path)]
DirectoryPath = Annotated[str, Depends(get_directory_path)]
IfMatch = Annotated[str | None, Header(description='the etag that the file must have, or "*"')]
IfNoneMatch = Annotated[str | None, Header(description='"*": the file must not be there')]


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
@router.get("/tree/{path:any_path}", tags=["files"], responses=may_fail(400, 401, 404))
async def tree(path: DirectoryPath, session: SessionDep, ingress: IngressDep) -> Tree:
    """List a directory."""
    return Tree(
        **await ingress.gateway.on_container(
            session, lambda route: ingress.deps.codi.tree(route, path)
        )
    )


@router.get(
    "/files/{path:any_path}",
    tags=["files"],
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file's bytes"},
        206: {"content": {"application/octet-stream": {}}, "description": "A part of them"},
        304: {"description": "It has not changed"},
        **may_fail(400, 401, 404, 416),
    },
)
async def read_file(
    request: Request,
    path: FilePath,
    session: SessionDep,
    ingress: IngressDep,
    version: Annotated[int | None, Query(ge=1, description="as of this version")] = None,
) -> Response:
    """Return a file's bytes; honours ``Range``, ``If-Range`` and ``If-None-Match``.

    With ``version`` they come from the chunk store, whole, and the container is not woken.
    """
    if version is not None:
        return await _read_version(ingress, session, path, version)
    sent = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    stack = AsyncExitStack()

    async def work(route: Route) -> FileAnswer:
        return await stack.enter_async_context(ingress.deps.codi.get_file(route, path, sent))

    answer = await ingress.gateway.on_container(session, work)
    headers = {n: answer.headers[n] for n in _HANDED_BACK if n in answer.headers}
    return StreamingResponse(
        _closing(stack, answer), status_code=answer.status, headers=headers | _AS_DATA
    )


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

    answer = await ingress.gateway.on_container(session, work)
    name = path.strip("/").rpartition("/")[2] or "workspace"
    encoded = quote(name.encode("utf-8", "surrogateescape"), safe="")
    named = {"content-disposition": f"attachment; filename*=UTF-8''{encoded}.tar"}
    return StreamingResponse(
        _closing(stack, answer), media_type="application/x-tar", headers=_AS_DATA | named
    )


async def _read_version(ingress: Ingress, session: str, path: str, version: int) -> Response:
    record = await ingress.deps.ledger.session(session)
    if record is None:
        raise NotFound("session", session)
    past = await ingress.deps.library.file(record.workspace_id, path, version)
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(past.entry.size),
        "etag": f'"{past.entry.content}"',
    }
    content = ingress.deps.library.content(record.workspace_id, past.entry)
    return StreamingResponse(content, headers=headers | _AS_DATA)


@router.put(
    "/files/{path:any_path}",
    tags=["files"],
    responses=may_fail(400, 401, 404, 412, 413, 422, 507),
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
) -> Receipt:
    """Save a file. The receipt comes when the file is durable and its version committed."""
    limit = ingress.deps.settings.max_file
    length = announced_length(request.scope)
    if length > limit:
        raise PayloadTooLarge("file", limit)
    receipt = await ingress.saver.save(
        session,
        path,
        Hashed(request.stream(), limit),
        Conditions(if_match, if_none_match),
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
    responses=may_fail(400, 401, 404, 412),
)
async def delete_file(
    path: FilePath,
    session: SessionDep,
    ingress: IngressDep,
    recursive: Annotated[bool, Query(description="also a directory with what is in it")] = False,
    if_match: IfMatch = None,
) -> None:
    """Remove a file, a link, or with ``recursive`` a directory."""
    await ingress.gateway.on_container(
        session,
        lambda route: ingress.deps.codi.delete(route, path, recursive=recursive, if_match=if_match),
        repeatable=False,
    )
    await ingress.saver.keep(session, [path])


@router.post(
    "/move", tags=["files"], status_code=204, responses=may_fail(400, 401, 404, 409, 422, 507)
)
async def move(session: SessionDep, ingress: IngressDep, body: Move) -> None:
    """Rename a file or directory."""
    await ingress.gateway.on_container(
        session,
        lambda route: ingress.deps.codi.move(
            route, body.source, body.target, overwrite=body.overwrite
        ),
        repeatable=False,
    )
    await ingress.saver.keep(session, [body.source, body.target])


@router.post(
    "/directories",
    tags=["files"],
    responses=may_fail(400, 401, 404, 409, 422, 507) | {201: {"description": "It is new"}},
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


async def _closing(stack: AsyncExitStack, answer: FileAnswer) -> AsyncIterator[bytes]:
    async with stack:
        async for part in answer.content:
            yield part
