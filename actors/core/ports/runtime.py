"""Starts, watches and stops containers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from actors.core.records.containers import ContainerHandle, ContainerSpec, Health


class ContainerRuntime(Protocol):
    """Starts, watches and stops containers. All methods may be called from any process of the node."""

    name: str

    keeps_workspaces: bool
    """Whether a workspace's directory outlives its container; else the archive alone has what was in it."""

    def turn(self, limit_seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold a turn to launch: so many at once as the node can start in time.

        Raises DeadlineExceeded.
        """
        ...

    async def prepare(self, workspace_id: str) -> None:
        """See to what a workspace needs before a launch and what may take minutes: repairs, growth.

        For somebody who holds no turn. Raises DeadlineExceeded; LaunchFailed when there can be no launch.
        """
        ...

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        """Start a container and return when CODI answers. For somebody who holds a turn.

        The container outlives the calling process. Raises LaunchFailed with nothing left
        behind but the workspace directory.
        """
        ...

    async def probe(self, handle: ContainerHandle) -> Health:
        """Return its health: DEAD when the process is gone, UNHEALTHY when CODI does not answer."""
        ...

    async def wait_exit(self, handle: ContainerHandle) -> str:
        """Return the reason when the container's process has ended (at once if it already has).

        Works for containers that another process started. Cancellable, holds no thread.
        """
        ...

    async def stop(self, handle: ContainerHandle, grace_seconds: float) -> None:
        """Ask it to end, kill it after the grace time, remove what it held. Idempotent."""
        ...

    async def list(self) -> Sequence[ContainerHandle]:
        """Return every container of this server on this node that is running, known or not."""
        ...

    async def delete_workspace(self, workspace_id: str) -> None:
        """Remove a workspace directory whose session has ended. Idempotent."""
        ...
