"""The SessionActor: one per live session, or warm and waiting for one. A shell round ``service``.

Made by a PoolActor only: detached, ``max_restarts=-1``. A restarted process runs the constructor and
finds its session in the store by the actor's own id. See ``SessionService`` for what the calls mean and
raise; each of them also waits until the store can be asked, and raises DeadlineExceeded if it cannot.
``bind``, ``hibernate``, ``resume`` and ``end`` are idempotent by nature: they take a key like every
mutating call and need none.
"""

from __future__ import annotations

import random
from typing import Any

from actors.core.calls import PoolCalls, Ref, SessionCalls
from actors.core.directory import ActorDirectory
from actors.core.ports.services import ServicesFactory
from actors.core.process import Shell
from actors.core.records.archive import Receipt, Unarchived
from actors.core.records.containers import ContainerHandle
from actors.core.records.idleness import Idleness, Quiet
from actors.core.records.sessions import Route, SessionEvent, SessionRecord
from actors.session.service import SessionService

RELEASED_SECONDS = 2.0


class RayPool:
    """Implements ``actors.session.service.Pool`` by the name of a PoolActor."""

    def __init__(self, directory: ActorDirectory, pool_name: Ref[PoolCalls]) -> None:
        self._directory = directory
        self._pool_name = pool_name

    async def actor_released(self, actor_id: str) -> None:
        """Report that the actor is warm again."""
        await self._directory.call(
            self._pool_name, PoolCalls.actor_released, RELEASED_SECONDS, actor_id
        )


class SessionActor(Shell[SessionService]):
    """Holds one session, or none. A plain class: the PoolActor makes it remote."""

    def __init__(self, actor_id: str, services: ServicesFactory, pool_name: Ref[PoolCalls]) -> None:
        self._actor_id = actor_id
        self._services_factory = services
        self._pool_name = pool_name
        self._directory = ActorDirectory(threads=1, max_handles=16)
        super().__init__()

    async def bind(
        self, record: SessionRecord, handle: ContainerHandle | None, key: str
    ) -> SessionRecord:
        """Hold the session that the store says is this actor's."""
        return await (await self._ready()).bind(record, handle)

    async def attach(
        self, session_id: str, client_id: str, terminal: str | None = None
    ) -> Route | None:
        """Give or renew a client's lease; a new client brings the session up."""
        return await (await self._ready()).attach(session_id, client_id, terminal)

    async def detach(self, session_id: str, client_id: str) -> None:
        """End a client's lease."""
        await (await self._ready()).detach(session_id, client_id)

    async def view(self, session_id: str) -> SessionRecord:
        """Return the session as it is at this moment."""
        return await (await self._ready()).view(session_id)

    async def route(
        self,
        session_id: str,
        newer_than_epoch: int = 0,
        timeout_seconds: float = 30.0,
    ) -> Route:
        """Wait for a container under a newer epoch and return the way to it."""
        runner = await self._ready()
        return await runner.route(session_id, newer_than_epoch, timeout_seconds)

    async def hibernate(self, session_id: str, key: str = "") -> SessionRecord:
        """Stop the container and keep the session."""
        return await (await self._ready()).hibernate(session_id)

    async def resume(self, session_id: str, key: str = "") -> SessionRecord:
        """Bring the session up; does not wait for it."""
        return await (await self._ready()).resume(session_id)

    async def end(self, session_id: str, key: str = "") -> None:
        """End the session with its container and workspace."""
        await (await self._ready()).end(session_id)

    async def sleep_if_quiet(self, session_id: str, container_id: str, quiet: Quiet) -> bool:
        """Hibernate if nothing has happened since that was decided."""
        return await (await self._ready()).sleep_if_quiet(session_id, container_id, quiet)

    async def publish_idleness(self, session_id: str, idleness: Idleness) -> None:
        """Publish why the session is awake, or when it will sleep."""
        await (await self._ready()).publish_idleness(session_id, idleness)

    async def publish_unarchived(self, session_id: str, unarchived: Unarchived | None) -> None:
        """Publish what of the session is not archived."""
        await (await self._ready()).publish_unarchived(session_id, unarchived)

    async def note_save(self, session_id: str, receipt: Receipt) -> None:
        """Take note of a save that is durable already."""
        await (await self._ready()).note_save(session_id, receipt)

    async def patch_workspace_state(
        self, session_id: str, patch: dict[str, Any], key: str
    ) -> SessionRecord:
        """Apply a JSON merge patch to the workspace state and commit it."""
        return await (await self._ready()).patch_workspace_state(session_id, patch, key)

    async def terminal_deleted(self, session_id: str, name: str) -> None:
        """Publish that a terminal is gone."""
        await (await self._ready()).terminal_deleted(session_id, name)

    async def events(
        self,
        session_id: str,
        activation: int | None = None,
        since_seq: int = 0,
        timeout_seconds: float = 25.0,
    ) -> list[SessionEvent]:
        """Return the events after ``since_seq``; waits for one."""
        runner = await self._ready()
        return await runner.events(session_id, activation, since_seq, timeout_seconds)

    async def container_lost(self, session_id: str, container_id: str, reason: str) -> None:
        """Take note that somebody else found the container dead or deaf."""
        await (await self._ready()).container_lost(session_id, container_id, reason)

    async def ping(self) -> dict[str, Any]:
        """Report that this process lives, and the session that it serves; never waits."""
        state = (
            self._runner.state()
            if self._runner is not None
            else {"actor_id": self._actor_id, "started": False, "session_id": None}
        )
        return self._life.ping() | state | {"pool": str(self._pool_name)}

    async def _make(self) -> SessionService:
        return SessionService(
            self._actor_id,
            await self._services_factory(),
            RayPool(self._directory, self._pool_name),
            jitter=random.Random(self._actor_id).random,  # noqa: S311 spreads retries, no secret
        )


def _as_called(actor: SessionActor) -> SessionCalls:
    return actor  # for the type checker
