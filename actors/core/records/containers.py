"""Containers: orders, handles, and their record."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from actors.core.records.base import Frozen, Record


class ContainerStatus(StrEnum):
    """Stages of a container's life. ``WARM`` is ready without a user; ``READY`` has one."""

    PENDING = "pending"
    STARTING = "starting"
    WARM = "warm"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    LOST = "lost"
    FAILED = "failed"


class Health(StrEnum):
    """The verdict of probes on a container."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DEAD = "dead"


class ContainerSpec(Frozen):
    """An order to launch a container. ``workspace_id`` names the lasting directory, its /workspace.

    ``user_id`` is None for a warm one, which is nobody's yet.
    """

    container_id: str
    tenant_id: str
    workspace_id: str
    secret: str
    user_id: str | None = None
    epoch: int = 0
    image: str = "coditect/workspace:latest"
    cpu: float = 2.0
    memory_bytes: int = 4 << 30
    pids: int = 512
    egress: str = "none"
    env: dict[str, str] = {}


class ContainerHandle(Frozen):
    """Finds a running container again, from any process of its node, after any restart.

    ``address`` is CODI's, as ``cluster.container_address`` reads it. ``data`` is the runtime's own (for the
    sandbox: pid, the process's start time in clock ticks, cgroup paths); nobody else reads it.
    """

    container_id: str
    tenant_id: str
    node_id: str
    workspace_id: str
    runtime: str
    address: str
    secret: str
    data: dict[str, Any] = {}


class ContainerRecord(Record):
    """``(tenant, "containers", container_id)``. ``session_id`` is empty while the container is warm.

    ``lost_at``: when it was seen to have ended, or not to answer, under a session at rest.
    """

    container_id: str
    tenant_id: str
    node_id: str
    workspace_id: str
    runtime: str
    status: ContainerStatus
    health: Health = Health.UNKNOWN
    session_id: str | None = None
    user_id: str | None = None
    handle: ContainerHandle | None = None
    cloud_run_url: str | None = None
    created_at: float
    ready_at: float | None = None
    assigned_at: float | None = None
    lost_at: float | None = None
    reason: str | None = None
