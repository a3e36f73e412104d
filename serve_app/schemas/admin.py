"""Bodies for operators: health, backups, the audit trail."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class ComponentHealth(BaseModel):
    """The health of one component."""

    status: Literal["ok", "degraded", "down"]
    vital: bool
    latency_ms: float
    detail: str | None = None


class Alive(BaseModel):
    """A replica that answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Readiness to serve people; ``down`` names the vital components that are not there."""

    status: Literal["ok", "down"]
    down: list[str] = []


class ServerHealth(BaseModel):
    """The health of the server: ``down`` when a vital component is, ``degraded`` when another one is."""

    status: Literal["ok", "degraded", "down"]
    components: dict[str, ComponentHealth]


class BackupInfo(BaseModel):
    """A backup of the whole server. ``size`` is all that it needs, ``copied_bytes`` what it added."""

    backup_id: str
    created_at: float | None = None
    finished_at: float | None = None
    sessions: int = 0
    users: int = 0
    packs: int = 0
    size: int = 0
    copied_bytes: int = 0
    damaged: str | None = None


class Backups(BaseModel):
    """The backups, the newest first; ``error`` is why the last one that was begun is none."""

    running: bool
    progress: str
    error: str | None
    backups: list[BackupInfo]


class AuditLine(BaseModel):
    """A line of the audit trail. ``count``: how many like it the line stands for."""

    id: str
    timestamp: float
    user_id: str | None
    action: str
    resource: str
    ip_address: str | None
    user_agent: str | None
    result: str
    count: int


class Audit(BaseModel):
    """Lines of the audit trail, newest first. ``next``: the id to go on from, if there is more."""

    entries: list[AuditLine]
    next: str | None
