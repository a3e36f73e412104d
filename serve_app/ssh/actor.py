"""The SshActor: one per node, made by the Supervisor. A shell round ``gateway``.

A process of its own, so that nobody's encryption keeps the ingress from answering. It enters sessions as a
replica of the ingress does, with the same parts. Killed, it is started anew by Ray, at the same port.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import asyncssh

from actors.core.calls import Component
from actors.core.directory import ActorDirectory
from actors.core.errors.base import Unavailable
from actors.core.process import Shell
from cluster.wiring.node import NodeWiring
from serve_app.assembly import dependencies
from serve_app.ingress import running
from serve_app.ssh.gateway import SshGateway
from serve_app.ssh.places import gateway_socket
from serve_app.telemetry import logs
from serve_app.telemetry.metrics import IngressMetrics


class SshService:
    """The gateway and what it stands on. ``start`` it, then ``run``; ``close`` it in the end."""

    def __init__(self, wiring: NodeWiring) -> None:
        self._wiring = wiring
        self._stack = AsyncExitStack()
        self._gateway: SshGateway | None = None

    async def start(self) -> None:
        """Bring everything up, or nothing. Raises Unavailable."""
        async with AsyncExitStack() as stack:
            directory = ActorDirectory()
            stack.callback(directory.close)
            events = self._wiring.events(directory)
            stack.push_async_callback(events.close)
            deps = dependencies(self._wiring, directory, events, "ssh")
            stack.push_async_callback(deps.codi.close)
            ingress = await stack.enter_async_context(running(deps, IngressMetrics()))
            socket_path = gateway_socket(self._wiring.settings, self._wiring.node_id)
            self._gateway = SshGateway(ingress, socket_path)
            stack.push_async_callback(self._gateway.close)
            try:
                await self._gateway.start()
            except OSError as error:
                raise Unavailable("ssh", str(error)) from error
            self._stack = stack.pop_all()

    async def run(self) -> None:
        """Serve until cancelled."""
        assert self._gateway is not None
        await self._gateway.run()

    async def close(self) -> None:
        """End connections and everything else."""
        await self._stack.aclose()

    def stats(self) -> dict[str, Any]:
        """Return counters and gauges."""
        return {} if self._gateway is None else dict(self._gateway.stats())


class SshActor(Shell[SshService]):
    """Speaks SSH for a node."""

    def __init__(self, wiring: NodeWiring) -> None:
        logs.configure(wiring.settings.log_level)
        asyncssh.set_log_level("CRITICAL")  # ours says what an operator can use
        self._wiring = wiring
        super().__init__()

    async def _make(self) -> SshService:
        service = SshService(self._wiring)
        await service.start()
        return service


def _as_called(actor: SshActor) -> Component:
    return actor  # for the type checker
