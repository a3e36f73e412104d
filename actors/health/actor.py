"""The HealthCheckerActor: one per node, made by the Supervisor.

A shell round ``checker``, round ``actors.idleness.sampler``, which looks at the same containers, and round
``service``: the node's events, and who is attached to its sessions.

It keeps nothing that others do not have: after its own end it reads the node's containers again and watches
them anew, and an end that it missed is seen at once, since waiting for a process that has ended returns
immediately. Followers read what they may have missed, and replicas report again who is attached.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from actors.core import names
from actors.core.calls import HealthCalls, PoolCalls, Ref, SessionCalls
from actors.core.directory import ActorDirectory
from actors.core.errors.base import Unavailable
from actors.core.ports.services import ServicesFactory
from actors.core.process import Pair, Shell
from actors.core.records.attendance import AttendanceAnswer, AttendanceReport
from actors.core.records.events import EventPage, Place, Published
from actors.core.records.idleness import Quiet
from actors.core.records.sessions import Cause, SessionRecord
from actors.health.checker import CALL_SECONDS, HealthChecker
from actors.health.service import HealthService
from actors.idleness.sampler import IdlenessSampler

REOPEN_SECONDS = 30.0
SLEEP_SECONDS = 15.0
REVIVALS_PER_CORE = 2
"""As many as there are turns to start a container."""


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

    async def reopen(
        self, session: SessionRecord, dead_actor_id: str | None, cause: Cause
    ) -> str | None:
        """Have the pool open a session whose owner is gone, or that has none; return its owner."""
        return await _open(self._directory, self._pool_name, session, dead_actor_id, cause)


async def _open(
    directory: ActorDirectory,
    pool_name: Ref[PoolCalls],
    session: SessionRecord,
    dead_actor_id: str | None,
    cause: Cause,
) -> str | None:
    opened = await directory.call(
        pool_name,
        PoolCalls.open_session,
        REOPEN_SECONDS,
        user_id=session.user_id,
        name=session.name,
        key=names.wake_key(session.session_id, dead_actor_id),
        session_id=session.session_id,
        dead_actor_id=dead_actor_id,
        cause=cause,
    )
    return opened.actor_id


class RaySessionOwners:
    """Implements ``actors.idleness.sampler.SessionOwners`` likewise."""

    def __init__(self, directory: ActorDirectory, pool_name: Ref[PoolCalls]) -> None:
        self._directory = directory
        self._pool_name = pool_name

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

    async def open(self, session: SessionRecord) -> str:
        """Give a session at rest an owner."""
        owner = await _open(self._directory, self._pool_name, session, None, Cause.SLEEP)
        if owner is None:
            raise Unavailable("pool", "the session got no owner")
        return owner


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
        self._service: HealthService | None = None
        super().__init__()

    async def publish(
        self, sender: str, number: int, events: Sequence[Published], lost: int = 0
    ) -> None:
        """Give a sender's batch of events to all who follow the node; see ``HealthService.publish``."""
        await (await self._serving()).publish(sender, number, events, lost)

    async def follow(self, place: Place | None, timeout_seconds: float) -> EventPage:
        """Return the events behind a place; see ``HealthService.follow``."""
        return await (await self._serving()).follow(place, timeout_seconds)

    async def attend(self, report: AttendanceReport) -> AttendanceAnswer:
        """Take note of who is attached through a replica; see ``HealthService.attend``."""
        return await (await self._serving()).attend(report)

    async def attendance(self, session_ids: Sequence[str]) -> list[int]:
        """Return how many sockets each session has; at least 1 while that is not known."""
        return await (await self._serving()).attendance(session_ids)

    async def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions."""
        return {**await super().stats(), **(await self._serving()).stats()}

    async def _serving(self) -> HealthService:
        await self._ready()
        assert self._service is not None
        return self._service

    async def _make(self) -> Pair[HealthChecker, IdlenessSampler]:
        services = await self._services_factory()
        owners = RayOwners(self._directory, self._pool_name)
        sessions = RaySessionOwners(self._directory, self._pool_name)
        self._service = service = HealthService(
            services.clock, attach_ttl=services.settings.attach_ttl
        )
        checker = HealthChecker(
            services,
            owners,
            self._chance,
            revivals=REVIVALS_PER_CORE * (os.cpu_count() or 1),
            attended=lambda session_id: service.attached(session_id) > 0,
        )
        sampler = IdlenessSampler(services, sessions, checker.containers, service.attached)
        return Pair(checker, sampler)


def _as_called(actor: HealthCheckerActor) -> HealthCalls:
    return actor  # for the type checker
