"""Backups of the whole server, for operators."""

from __future__ import annotations

from fastapi import APIRouter

from actors.core import names
from actors.core.calls import ArchiveCalls, Ref
from serve_app.routes.common import SIGNED, AdminDep, IngressDep, VisitorDep, may_fail
from serve_app.schemas.admin import Backups

CALL_SECONDS = 30.0

router = APIRouter(prefix="/api/admin", tags=["admin"], dependencies=SIGNED)


@router.get("/backups", responses=may_fail(401, 403))
async def list_backups(_: AdminDep, ingress: IngressDep) -> Backups:
    """List the backups, the newest first, and say what is being made."""
    return await _backups(ingress)


@router.post("/backups", status_code=202, responses=may_fail(401, 403))
async def start_backup(admin: AdminDep, ingress: IngressDep, visitor: VisitorDep) -> Backups:
    """Have a backup made, unless one is being made; ask ``GET`` how far it is."""
    await ingress.deps.actors.call(_archive(ingress), ArchiveCalls.start_backup, CALL_SECONDS)
    await ingress.sign_in.note(admin.user_id, "backup.create", "backup", visitor)
    return await _backups(ingress)


def _archive(ingress: IngressDep) -> Ref[ArchiveCalls]:
    return names.archive_actor(ingress.deps.node_id)


async def _backups(ingress: IngressDep) -> Backups:
    actors = ingress.deps.actors
    return Backups(**await actors.call(_archive(ingress), ArchiveCalls.backups, CALL_SECONDS))
