"""The HealthCheckerActor: one per node, made by the Supervisor. A shell round ``health_runner``.

It keeps nothing: after its own end it reads the node's containers again and watches them anew, and an
end that it missed is seen at once, since waiting for a process that has ended returns immediately.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from actors import names
from actors.directory import ActorDirectory
from actors.health_runner import CALL_SECONDS, HealthRunner
from actors.ports import ServicesFactory
from actors.process import Life

REOPEN_SECONDS = 30.0


class RayOwners:
    """Implements ``actors.health_runner.Owners`` with calls to session actors and the node's pool."""

    def __init__(self, directory: ActorDirectory, pool_name: str) -> None:
        self._directory = directory
        self._pool_name = pool_name

    async def container_lost(
        self, actor_id: str, session_id: str, container_id: str, reason: str
    ) -> None:
        """Tell a session's owner that its container is lost."""
        await self._directory.call(
            names.session_actor(actor_id),
            "container_lost",
            session_id,
            container_id,
            reason,
            timeout_seconds=CALL_SECONDS,
        )

    async def reopen(self, user_id: str, name: str, key: str, dead_actor_id: str) -> None:
        """Have the pool open a session whose owner is gone."""
        await self._directory.call(
            self._pool_name,
            "open_session",
            user_id=user_id,
            name=name,
            key=key,
            dead_actor_id=dead_actor_id,
            timeout_seconds=REOPEN_SECONDS,
        )

    async def resync(self) -> None:
        """Have the pool look at its warm containers."""
        await self._directory.call(self._pool_name, "resync", timeout_seconds=CALL_SECONDS)


class HealthCheckerActor:
    """Watches the node's containers. ``chance`` returns numbers in [0, 1) that spread the probes."""

    def __init__(
        self, services_factory: ServicesFactory, pool_name: str, chance: Callable[[], float]
    ) -> None:
        self._services_factory = services_factory
        self._pool_name = pool_name
        self._chance = chance
        self._directory = ActorDirectory()
        self._runner: HealthRunner | None = None
        self._life = Life(self._run)

    async def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions."""
        await self._life.ready()
        assert self._runner is not None
        return self._runner.stats()

    async def ping(self) -> dict[str, Any]:
        """Say that this process lives."""
        return self._life.ping()

    async def _run(self) -> None:
        services = await self._services_factory()
        owners = RayOwners(self._directory, self._pool_name)
        self._runner = runner = HealthRunner(services, owners, self._chance)
        self._life.is_ready()
        try:
            await runner.run()
        except asyncio.CancelledError:
            await runner.close()
            raise
