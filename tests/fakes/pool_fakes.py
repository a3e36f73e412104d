"""What the pool's, the health checker's and the supervisor's tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from actors.errors import ActorGone, DeadlineExceeded, Unavailable
from actors.records import (
    ContainerHandle,
    ContainerRecord,
    ContainerStatus,
    Health,
    SessionPhase,
    SessionRecord,
)


def handle(container_id: str) -> ContainerHandle:
    return ContainerHandle(
        container_id=container_id,
        tenant_id="t",
        node_id="node-1",
        workspace_id=f"w-{container_id}",
        runtime="memory",
        address="127.0.0.1:9",
        secret="secret",
    )


def container_record(
    container_id: str, status: ContainerStatus = ContainerStatus.WARM, **changes: Any
) -> ContainerRecord:
    fields: dict[str, Any] = {
        "container_id": container_id,
        "tenant_id": "t",
        "node_id": "node-1",
        "workspace_id": f"w-{container_id}",
        "runtime": "memory",
        "status": status,
        "health": Health.UNKNOWN,
        "handle": None
        if status in {ContainerStatus.STARTING, ContainerStatus.PENDING}
        else handle(container_id),
        "created_at": 0.0,
    }
    return ContainerRecord(**(fields | changes))


def session_record(session_id: str = "s1", **changes: Any) -> SessionRecord:
    fields: dict[str, Any] = {
        "session_id": session_id,
        "tenant_id": "t",
        "user_id": "u1",
        "name": "main",
        "phase": SessionPhase.READY,
        "epoch": 1,
        "workspace_id": "w1",
        "created_at": 0.0,
        "updated_at": 0.0,
        "last_activity": 0.0,
    }
    return SessionRecord(**(fields | changes))


class FakeSessionActors:
    """Session actors as entries of a dict; ``fate`` names those that do not answer well.

    ``held`` keeps starts waiting until ``release`` is set.
    """

    def __init__(self, pool: str = "pool-node-1") -> None:
        self.pool = pool
        self.sessions: dict[str, str | None] = {}
        self.fate: dict[str, Callable[[], Exception]] = {}
        self.bound: list[tuple[str, str, str | None]] = []
        self.killed: list[str] = []
        self.started = 0
        self.failing_starts = 0
        self.release: asyncio.Event | None = None

    def dies(self, actor_id: str) -> None:
        """Gone for good."""
        self.sessions.pop(actor_id, None)

    def restarts(self, actor_id: str) -> None:
        """Unavailable for now."""
        self.fate[actor_id] = lambda: Unavailable(actor_id, "restarting")

    def hangs(self, actor_id: str) -> None:
        self.fate[actor_id] = lambda: DeadlineExceeded(actor_id, 1.0)

    async def start(self, actor_id: str, timeout_seconds: float) -> None:
        self.started += 1
        if self.release is not None:
            await self.release.wait()
        if self.failing_starts:
            self.failing_starts -= 1
            raise Unavailable(actor_id, "it does not start")
        self.sessions[actor_id] = None

    async def ping(self, actor_id: str, timeout_seconds: float) -> dict[str, Any]:
        self._check(actor_id)
        return {"pool": self.pool, "session_id": self.sessions[actor_id]}

    async def bind(
        self,
        actor_id: str,
        record: SessionRecord,
        handle: ContainerHandle | None,
        key: str,
        timeout_seconds: float,
    ) -> None:
        self._check(actor_id)
        self.sessions[actor_id] = record.session_id
        self.bound.append((actor_id, record.session_id, handle.container_id if handle else None))

    async def kill(self, actor_id: str) -> None:
        self.killed.append(actor_id)
        self.sessions.pop(actor_id, None)

    async def listed(self) -> list[str]:
        return list(self.sessions)

    def _check(self, actor_id: str) -> None:
        if actor_id not in self.sessions:
            raise ActorGone(actor_id)
        if actor_id in self.fate:
            raise self.fate[actor_id]()
