"""Bodies for operators: health, backups, the audit trail."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel

from actors.core.records.nodes import NodeView


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


class Node(BaseModel):
    """A machine of the server. ``lost``: it does not answer; ``joined_at`` is Unix time, null for the head.

    ``warm_containers`` wait there for somebody; ``containers`` are all that run.
    """

    node_id: str
    address: str
    is_head: bool
    status: Literal["ready", "starting", "draining", "drained", "lost"]
    labels: dict[str, str] = {}
    version: str
    joined_at: float | None = None
    warm_containers: int
    containers: int
    cpus: int
    memory_free: float

    @classmethod
    def of(cls, node: NodeView) -> Self:
        """Return a node as it is shown."""
        status: Literal["ready", "starting", "draining", "drained", "lost"] = "ready"
        if node.state.value == "drained":
            status = "drained"
        elif node.gone:
            status = "lost"
        elif node.state.value == "draining":
            status = "draining"
        elif not node.alive:
            status = "starting"
        return cls(
            node_id=node.node_id,
            address=node.address,
            is_head=node.is_head,
            status=status,
            labels=node.labels,
            version=node.version,
            joined_at=node.joined_at,
            warm_containers=node.warm,
            containers=node.containers,
            cpus=node.cpus,
            memory_free=round(node.memory_free, 3),
        )


class Nodes(BaseModel):
    """The machines of the server, the head first; none when it is one that no other can join."""

    nodes: list[Node]
