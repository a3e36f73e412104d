"""The HealthCheckerActor: one per node, made by the Supervisor.

A shell round ``checker``, and round ``actors.idleness.sampler``, which looks at the same containers.

It keeps nothing: after its own end it reads the node's containers again and watches them anew, and an
end that it missed is seen at once, since waiting for a process that has ended returns immediately.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.core import names
from actors.core.calls import Component, PoolCalls, Ref, SessionCalls
from actors.core.directory import ActorDirectory
from actors.core.ports.services import ServicesFactory
from actors.core.process import Pair, Shell
from actors.core.records.idleness import Idleness, Quiet
from actors.health.checker import CALL_SECONDS, HealthChecker
from actors.idleness.sampler import IdlenessSampler

REOPEN_SECONDS = 30.0
SLEEP_SECONDS = 15.0


class RayOwners:
    """Implements ``actors.health.checker.Owners`` with calls to session actors and the node's pool."""

    def __init__(self, directory: ActorDirectory, pool_name: Ref[PoolCalls]) -> None:
        self._directory = directory
        self._pool_name = pool_name

    async def container_lost(
        self, actor_id: str, session_id: str, container_id: str, reason: str
    ) -> None:
        """Report to a session's owner that its container is lost."""
        await self._directory.call(
            names.session_actor(actor_id),
            SessionCalls.container_lost,
            CALL_SECONDS,
            session_id,
            container_id,
            reason,
        )

    async def reopen(self, user_id: str, name: str, key: str, dead_actor_id: str | None) -> None:
        """Have the pool open a session whose owner is gone, or that has none."""
        await self._directory.call(
            self._pool_name,
            PoolCalls.open_session,
            REOPEN_SECONDS,
            user_id=user_id,
            name=name,
            key=key,
            dead_actor_id=dead_actor_id,
        )


class RaySessionOwners:
    """Implements ``actors.idleness.sampler.SessionOwners`` likewise."""

    def __init__(self, directory: ActorDirectory, pool_name: Ref[PoolCalls]) -> None:
        self._directory = directory
        self._pool_name = pool_name

    async def attached(self, actor_id: str, session_id: str) -> int:
        """Return how many clients are attached."""
        actor = names.session_actor(actor_id)
        said = await self._directory.call(actor, SessionCalls.ping, CALL_SECONDS)
        return int(said["attached"]) if said.get("session_id") == session_id else 0

    async def publish_idleness(self, actor_id: str, idleness: Idleness) -> None:
        """Have those who follow the session hear of it."""
        actor = names.session_actor(actor_id)
        await self._directory.call(
            actor, SessionCalls.publish_idleness, CALL_SECONDS, idleness.session_id, idleness
        )

    async def sleep_if_quiet(
        self, actor_id: str, session_id: str, container_id: str, quiet: Quiet
    ) -> bool:
        """Have it hibernate, unless something has happened."""
        return await self._directory.call(
            names.session_actor(actor_id),
            SessionCalls.sleep_if_quiet,
            SLEEP_SECONDS,
            session_id,
            container_id,
            quiet,
        )

    async def open(self, user_id: str, name: str, key: str) -> str:
        """Give a passive session an owner."""
        opened = await self._directory.call(
            self._pool_name,
            PoolCalls.open_session,
            REOPEN_SECONDS,
            user_id=user_id,
            name=name,
            key=key,
        )
        return opened.actor_id


class HealthCheckerActor(Shell[Pair[HealthChecker, IdlenessSampler]]):
    """Watches the node's containers. ``chance`` returns numbers in [0, 1) that spread the probes."""

    def __init__(
        self,
        services_factory: ServicesFactory,
        pool_name: Ref[PoolCalls],
        chance: Callable[[], float],
    ) -> None:
        self._services_factory = services_factory
        self._pool_name = pool_name
        self._chance = chance
        self._directory = ActorDirectory()
        super().__init__()

    async def _make(self) -> Pair[HealthChecker, IdlenessSampler]:
        services = await self._services_factory()
        owners = RayOwners(self._directory, self._pool_name)
        sessions = RaySessionOwners(self._directory, self._pool_name)
        checker = HealthChecker(services, owners, self._chance)
        return Pair(checker, IdlenessSampler(services, sessions, checker.containers))


def _as_called(actor: HealthCheckerActor) -> Component:
    return actor  # for the type checker
