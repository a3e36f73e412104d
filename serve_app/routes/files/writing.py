"""Changes of files: each is kept before it is acknowledged."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from actors.core.errors.requests import PayloadTooLarge
from actors.core.errors.workspaces import ContentMissing
from actors.core.records.archive import Receipt
from actors.core.records.sessions import Route
from cluster.codi.conditions import CONDITIONS
from serve_app.http.middleware import announced_length
from serve_app.routes.common import SIGNED, IngressDep, KeyDep, SessionDep, may_fail
from serve_app.routes.files.kept import expected_at, fields_of, found_or_missing, is_whole
from serve_app.routes.files.paths import ArchivePath, FilePath
from serve_app.schemas.files import Move, NewDirectory, NotMade, Unpacked
from serve_app.sessions.saving import Conditions, Hashed

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)

MAX_ARCHIVE = 64 << 30

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


@router.put("/archive", tags=["files"], include_in_schema=False)
@router.put(
    "/archive/{path:any_path}",
    tags=["files"],
    responses=may_fail(400, 401, 403, 404, 408, 409, 413, 504, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def unpack_archive(
    request: Request, path: ArchivePath, session: SessionDep, ingress: IngressDep
) -> Unpacked:
    """Unpack a tar stream, plain or by gzip, below a directory; answered when what was made is durable.

    Each file is put in place whole. Names that are absolute or have ``..``, links out of the workspace,
    devices and whatever else cannot be made are named in the answer, and the rest is made. It is no
    transaction: of a stream that breaks off, what came before stays.
    """
    length = announced_length(request.scope)
    found = await ingress.saver.unpack(
        session,
        path,
        Hashed(request.stream(), MAX_ARCHIVE, "archive"),
        length=length or None,
    )
    failed = [NotMade(path=name, reason=reason) for name, reason in found.failed]
    return Unpacked(
        path=path,
        version=found.version,
        made=found.made,
        bytes=found.bytes,
        failed=failed,
        more_failed=found.more_failed,
    )


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

    expected = await expected_at(ingress, session, path) if recursive else None
    give_up = expected is not None and not await is_whole(ingress, session, expected)
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
