"""Backups of the whole server, for operators."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from actors.core import names
from serve_app.routes.common import SIGNED, AdminDep, IngressDep, VisitorDep, may_fail
from serve_app.schemas import Backups

CALL_SECONDS = 30.0

router = APIRouter(prefix="/api/admin", tags=["admin"], dependencies=SIGNED)


@router.get("/backups", responses=may_fail(401, 403))
async def list_backups(_: AdminDep, ingress: IngressDep) -> Backups:
    """List the backups, the newest first, and say what is being made."""
    return Backups(**await _call(ingress, "backups"))


@router.post("/backups", status_code=202, responses=may_fail(401, 403))
async def start_backup(admin: AdminDep, ingress: IngressDep, visitor: VisitorDep) -> Backups:
    """Have a backup made, unless one is being made; ask ``GET`` how far it is."""
    await _call(ingress, "start_backup")
    await ingress.sign_in.note(admin.user_id, "backup.create", "backup", visitor)
    return Backups(**await _call(ingress, "backups"))


async def _call(ingress: IngressDep, method: str) -> Any:
    actor = names.archive_actor(ingress.deps.node_id)
    return await ingress.deps.actors.call(actor, method, timeout_seconds=CALL_SECONDS)
