"""Runtimes that are named by how they fail; ``MemoryRuntime`` does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from actors.core.errors.sessions import LaunchFailed
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerHandle, ContainerSpec, Health


class MemoryRuntime:
    """Containers are entries of a dict. ``crash`` ends one as an accident would."""

    name = "memory"
    keeps_workspaces = True

    def __init__(self, node_id: str = "node-1") -> None:
        self.node_id = node_id
        self.running: dict[str, ContainerHandle] = {}
        self.launched: list[ContainerSpec] = []
        self.stopped: list[str] = []
        self.prepared: list[str] = []
        self.deleted_workspaces: list[str] = []
        self.health: dict[str, Health] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._reasons: dict[str, str] = {}

    def turn(self, limit_seconds: float) -> AbstractAsyncContextManager[None]:
        del limit_seconds
        return nullcontext()

    async def prepare(self, workspace_id: str) -> None:
        self.prepared.append(workspace_id)

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        if running := self.running.get(spec.container_id):
            return running
        self.launched.append(spec)
        handle = ContainerHandle(
            container_id=spec.container_id,
            tenant_id=spec.tenant_id,
            node_id=self.node_id,
            workspace_id=spec.workspace_id,
            runtime=self.name,
            address=f"127.0.0.1:{10000 + len(self.launched)}",
            secret=spec.secret,
        )
        self.running[spec.container_id] = handle
        self._ended[spec.container_id] = asyncio.Event()
        return handle

    async def probe(self, handle: ContainerHandle) -> Health:
        if handle.container_id not in self.running:
            return Health.DEAD
        return self.health.get(handle.container_id, Health.HEALTHY)

    async def wait_exit(self, handle: ContainerHandle) -> str:
        if handle.container_id in self.running:
            await self._ended[handle.container_id].wait()
        return self._reasons.get(handle.container_id, "stopped")

    async def stop(self, handle: ContainerHandle, grace_seconds: float) -> None:
        self.stopped.append(handle.container_id)
        self._end(handle.container_id, "stopped")

    async def list(self) -> Sequence[ContainerHandle]:
        return list(self.running.values())

    async def delete_workspace(self, workspace_id: str) -> None:
        self.deleted_workspaces.append(workspace_id)

    def crash(self, container_id: str, reason: str = "killed by signal 9") -> None:
        """End a container from outside."""
        self._end(container_id, reason)

    def _end(self, container_id: str, reason: str) -> None:
        if self.running.pop(container_id, None):
            self._reasons[container_id] = reason
            self._ended[container_id].set()


class NeverRuntime(MemoryRuntime):
    """``launch`` never returns; ``launching`` counts those that wait."""

    def __init__(self, node_id: str = "node-1") -> None:
        super().__init__(node_id)
        self.launching = 0

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        self.launching += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.launching -= 1
        raise AssertionError("never")


class SlowRuntime(MemoryRuntime):
    """``launch`` takes ``seconds`` of the clock that it is given."""

    def __init__(self, clock: Clock, seconds: float, node_id: str = "node-1") -> None:
        super().__init__(node_id)
        self._clock = clock
        self._seconds = seconds

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        await self._clock.sleep(self._seconds)
        return await super().launch(spec)


class FailingRuntime(MemoryRuntime):
    """The first ``failures`` launches fail; without a number, all do."""

    def __init__(self, failures: int | None = None, node_id: str = "node-1") -> None:
        super().__init__(node_id)
        self.attempts = 0
        self._failures = failures

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        self.attempts += 1
        if self._failures is None or self.attempts <= self._failures:
            raise LaunchFailed(spec.container_id, "this runtime fails")
        return await super().launch(spec)


class CrashingRuntime(MemoryRuntime):
    """The first ``crashes`` containers end as soon as they are launched; without a number, all do."""

    def __init__(self, crashes: int | None = None, node_id: str = "node-1") -> None:
        super().__init__(node_id)
        self._crashes = crashes

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        handle = await super().launch(spec)
        if self._crashes is None or len(self.launched) <= self._crashes:
            self.crash(spec.container_id, "exited with code 1")
        return handle
