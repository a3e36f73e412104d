"""Kept versions of files: what there are, and putting one back. Neither wakes the container to look."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from actors.core.errors.requests import NotFound
from actors.core.records.archive import Receipt
from cluster.archive.restoring.versions import MAX_LISTED
from cluster.store.layers.entries import Kind
from cluster.store.layers.workspaces.manifests import Version
from serve_app.routes.common import SIGNED, IngressDep, KeyDep, SessionDep, may_fail
from serve_app.routes.files.kept import workspace_of
from serve_app.routes.files.paths import HistoryPath
from serve_app.schemas.files import FileVersion, History, Restore
from serve_app.sessions.saving import Conditions, Hashed

router = APIRouter(prefix="/api/v1/sessions/{session_id}", dependencies=SIGNED)

_TYPES = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.LINK: "link", Kind.GONE: "deleted"}


@router.get("/history/{path:any_path}", tags=["files"], responses=may_fail(400, 401, 404, 422))
async def history(
    path: HistoryPath,
    session: SessionDep,
    ingress: IngressDep,
    before: Annotated[int | None, Query(ge=1, description="versions before this one")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
) -> History:
    """List the kept versions of a path, the newest first, deletions included."""
    workspace_id = await workspace_of(ingress, session)
    found = await ingress.deps.library.history(workspace_id, path, before=before, limit=limit)
    if not found and before is None:
        raise NotFound("file", path)
    return History(versions=[_shown(state) for state in found])


@router.post("/restore", tags=["files"], responses=may_fail(400, 401, 404, 412, 413, 422, 507))
async def restore(
    response: Response, session: SessionDep, ingress: IngressDep, key: KeyDep, body: Restore
) -> Receipt:
    """Put a file back as it was at a version; what it is now stays in its history."""
    deps = ingress.deps
    workspace_id = await workspace_of(ingress, session)
    past = await deps.library.file(workspace_id, body.path, body.version)
    content = await deps.library.content(workspace_id, body.path, past.entry)
    receipt = await ingress.saver.save(
        session,
        body.target or body.path,
        Hashed(content, max(deps.settings.max_file, past.entry.size)),
        Conditions(mode=past.entry.mode),
        key=key,
        length=past.entry.size,
    )
    response.headers["etag"] = receipt.etag
    return receipt


def _shown(state: Version) -> FileVersion:
    entry = state.entry
    return FileVersion(
        version=state.version,
        at=state.at,
        type=_TYPES[entry.kind],
        size=entry.size,
        mode=entry.mode,
        content=entry.content if entry.kind is Kind.FILE else None,
    )
