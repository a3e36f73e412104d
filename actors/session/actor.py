"""The SessionActor: one per live session, or warm and waiting for one. ``service`` has its calls.

Made by a PoolActor only: detached, ``max_restarts=-1``. A restarted process runs the constructor and
finds its session in the store by the actor's own id. Each call waits until the store can be asked,
and raises DeadlineExceeded if it cannot.
"""

from __future__ import annotations

import random
from typing import Any

from actors.core.calls import PoolCalls, Ref, SessionCalls
from actors.core.directory import ActorDirectory
from actors.core.ports.services import ServicesFactory
from actors.core.process import Shell
from actors.session.host import SessionHost
from actors.session.service import SessionService

RELEASED_SECONDS = 2.0


class RayPool:
    """Implements ``actors.session.host.Pool`` by the name of a PoolActor."""

    def __init__(self, directory: ActorDirectory, pool_name: Ref[PoolCalls]) -> None:
        self._directory = directory
        self._pool_name = pool_name

    async def actor_released(self, actor_id: str) -> None:
        """Report that the actor is warm again."""
        await self._directory.call(
            self._pool_name, PoolCalls.actor_released, RELEASED_SECONDS, actor_id
        )


class SessionActor(Shell[SessionHost], SessionService):
    """Holds one session, or none. A plain class: the PoolActor makes it remote."""

    def __init__(self, actor_id: str, services: ServicesFactory, pool_name: Ref[PoolCalls]) -> None:
        self._actor_id = actor_id
        self._services_factory = services
        self._pool_name = pool_name
        self._directory = ActorDirectory(threads=1, max_handles=16)
        super().__init__()

    async def ping(self) -> dict[str, Any]:
        """Report that this process lives, and the session that it serves; never waits."""
        state = (
            self._runner.state()
            if self._runner is not None
            else {"actor_id": self._actor_id, "started": False, "session_id": None}
        )
        return self._life.ping() | state | {"pool": str(self._pool_name)}

    async def _make(self) -> SessionHost:
        return SessionHost(
            self._actor_id,
            await self._services_factory(),
            RayPool(self._directory, self._pool_name),
            jitter=random.Random(self._actor_id).random,  # noqa: S311 spreads retries, no secret
        )


def _as_called(actor: SessionActor) -> SessionCalls:
    return actor  # for the type checker
