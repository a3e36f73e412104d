"""The Serve deployment: one replica is one process with everything that ``ingress.py`` lists."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.schema import LoggingConfig

from actors.core.directory import ActorDirectory
from cluster.wiring.node import NodeWiring
from serve_app.api import create_app
from serve_app.assembly import dependencies
from serve_app.http import keep_alive
from serve_app.listening import stay_at
from serve_app.telemetry import logs

MAX_ONGOING_REQUESTS = 20_000
"""A socket holds one for its life; HAProxy lets as many connections in (``maxconn``)."""

GRACE_SECONDS = 10.0
HEALTH_SECONDS = 5.0
"""How long a replica takes to say that it is well; Serve waits for twice as long."""


@serve.deployment(
    name="ingress",
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    graceful_shutdown_timeout_s=GRACE_SECONDS,
    graceful_shutdown_wait_loop_s=0.5,
    health_check_period_s=HEALTH_SECONDS,
    health_check_timeout_s=2 * HEALTH_SECONDS,
    # On the head: a replica works with the data directory of the node whose wiring it has.
    ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
    logging_config=LoggingConfig(enable_access_log=False),  # ours says more, see middleware.py
)
@serve.ingress()
class IngressDeployment:
    """Builds the application in the replica's own process and event loop."""

    def __init__(self, wiring: NodeWiring) -> None:
        logs.configure(wiring.settings.log_level)
        stay_at(wiring.settings.ray_address)
        keep_alive.install()  # before Serve begins to listen
        self._wiring = wiring
        self._stack = AsyncExitStack()
        self._was_asked = False

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application; called once by Serve after the constructor."""
        directory = ActorDirectory()
        events = self._wiring.events(directory)
        deps = dependencies(self._wiring, directory, events)
        self._stack.callback(directory.close)
        self._stack.push_async_callback(events.close)
        self._stack.push_async_callback(deps.codi.close)
        return create_app(deps)

    async def check_health(self) -> None:
        """Answer late, but for the first time: a call under way fails as soon as the replica dies.

        So Serve sees a death within a tenth of a second, and asks seldom.
        """
        if self._was_asked:
            await asyncio.sleep(HEALTH_SECONDS)
        self._was_asked = True

    async def __del__(self) -> None:
        """Let go of connections; Serve awaits this when the replica ends."""
        await self._stack.aclose()


def bound(wiring: NodeWiring) -> Any:
    """Return the deployment with its arguments."""
    deployment: Any = IngressDeployment  # the decorators make it one
    return deployment.options(num_replicas=wiring.settings.ingress_replicas).bind(wiring)
