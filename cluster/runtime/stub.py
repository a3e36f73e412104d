"""Containers that are no processes: to measure the control plane alone, and to test it fast."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from actors.core.errors.requests import InvalidArgument
from actors.core.records.containers import ContainerHandle, ContainerSpec, Health
from cluster.runtime.disks.workspaces import Workspaces, check_id


class StubRuntime:
    """A ContainerRuntime whose containers are files: seen by every process, ended by ``stop``.

    They serve nothing (``address`` is the discard port), so terminals and files need the sandbox.
    ``poll_seconds`` is how soon an end that another process caused is seen; ends that this one
    caused are seen at once.
    """

    name = "stub"
    keeps_workspaces = True

    def __init__(self, data_dir: Path, node_id: str, *, poll_seconds: float = 0.5) -> None:
        self._directory = data_dir / "runtime" / "stubs"
        self._workspaces = Workspaces(data_dir / "workspaces", data_dir / "trash")
        self._node_id = node_id
        self._poll_seconds = poll_seconds
        self._ended: dict[str, asyncio.Event] = {}

    def turn(self, limit_seconds: float) -> contextlib.AbstractAsyncContextManager[None]:
        """Hold a turn: there are as many as anybody wants, since a start is no work."""
        del limit_seconds
        return contextlib.nullcontext()

    async def prepare(self, workspace_id: str) -> None:
        """Do nothing: there is nothing to see to."""
        check_id("workspace_id", workspace_id)

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        """Write the container down. Idempotent by its id."""
        check_id("container_id", spec.container_id)
        self._workspaces.ensure(spec.workspace_id)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = ContainerHandle(
            container_id=spec.container_id,
            tenant_id=spec.tenant_id,
            node_id=self._node_id,
            workspace_id=spec.workspace_id,
            runtime=self.name,
            address="127.0.0.1:9",
            secret=spec.secret,
        )
        path = self._path(handle)
        if path.exists():
            return ContainerHandle.model_validate_json(path.read_bytes())
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(handle.model_dump_json(), encoding="utf-8")
        draft.replace(path)
        return handle

    async def probe(self, handle: ContainerHandle) -> Health:
        """HEALTHY until stopped."""
        return Health.HEALTHY if self._path(handle).exists() else Health.DEAD

    async def wait_exit(self, handle: ContainerHandle) -> str:
        """Return when the container was stopped, by anybody."""
        ended = self._ended.setdefault(handle.container_id, asyncio.Event())
        try:
            while self._path(handle).exists():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await ended.wait()
        finally:
            if ended.is_set() or not self._path(handle).exists():
                self._ended.pop(handle.container_id, None)
        return "stopped"

    async def stop(self, handle: ContainerHandle, grace_seconds: float) -> None:
        """End the container."""
        if grace_seconds < 0:
            raise InvalidArgument("grace_seconds", "0 or more")
        self._path(handle).unlink(missing_ok=True)
        if ended := self._ended.pop(handle.container_id, None):
            ended.set()

    async def list(self) -> Sequence[ContainerHandle]:
        """Return every container that was launched and not stopped."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                found.append(ContainerHandle.model_validate_json(path.read_bytes()))
        return found

    async def delete_workspace(self, workspace_id: str) -> None:
        """Remove a workspace directory. Idempotent."""
        await self._workspaces.delete(workspace_id)

    def _path(self, handle: ContainerHandle) -> Path:
        return self._directory / f"{handle.container_id}.json"
