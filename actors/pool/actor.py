"""The PoolActor: one per node, made by the Supervisor. A shell round ``reconciler``.

It makes the session actors, and nobody else does. Its own end loses nothing: reservations and
queues are worth only their moment, and the next process finds the warm actors by their names and the
warm containers in the store.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.core import names
from actors.core.calls import PoolCalls, Ref, SessionCalls
from actors.core.directory import ActorDirectory
from actors.core.errors.requests import InvalidArgument
from actors.core.ports.services import ServicesFactory
from actors.core.process import Shell
from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import Cause, Opened, SessionRecord
from actors.pool.claims import OpenRequest
from actors.pool.reconciler import PoolReconciler
from actors.session.actor import SessionActor

logger = logging.getLogger(__name__)

SESSION_CONCURRENCY = 1000
POOL_CONCURRENCY = 2000
PREFIX = names.session_actor("")


class RaySessionActors:
    """Implements ``actors.pool.warm.SessionActors`` with detached Ray actors of this node."""

    def __init__(
        self,
        directory: ActorDirectory,
        services_factory: ServicesFactory,
        pool_name: Ref[PoolCalls],
    ) -> None:
        self._directory = directory
        self._services_factory = services_factory
        self._pool_name = pool_name
        # A container lives on one node and its actor with it: elsewhere it could not watch it.
        self._strategy = NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._class = ray.remote(SessionActor)

    async def start(self, actor_id: str, timeout_seconds: float) -> None:
        """Make an actor and return when it answers."""
        await self._directory.create(names.session_actor(actor_id), lambda: self._make(actor_id))
        await self.ping(actor_id, timeout_seconds)

    async def ping(self, actor_id: str, timeout_seconds: float) -> dict[str, Any]:
        """Return what the actor says of itself."""
        actor = names.session_actor(actor_id)
        return await self._directory.call(actor, SessionCalls.ping, timeout_seconds)

    async def bind(
        self,
        actor_id: str,
        record: SessionRecord,
        container: ContainerRecord | None,
        key: str,
        timeout_seconds: float,
        rest_after: float | None,
    ) -> SessionRecord:
        """Give the actor the session that the store says it owns."""
        return await self._directory.call(
            names.session_actor(actor_id),
            SessionCalls.bind,
            timeout_seconds,
            record,
            container,
            key,
            rest_after,
        )

    async def kill(self, actor_id: str) -> None:
        """End its process for good."""
        await self._directory.kill(names.session_actor(actor_id))

    async def listed(self) -> list[str]:
        """Return the ids of all session actors that live or are being restarted."""
        every = await self._directory.names()
        return [name.removeprefix(PREFIX) for name in every if name.startswith(PREFIX)]

    def _make(self, actor_id: str) -> Any:
        options = self._class.options(
            name=str(names.session_actor(actor_id)),
            namespace=names.NAMESPACE,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=0,  # a call runs at most once; who repeats it does so by its key
            max_concurrency=SESSION_CONCURRENCY,
            num_cpus=0,
            scheduling_strategy=self._strategy,
        )
        return options.remote(actor_id, self._services_factory, self._pool_name)


class PoolActor(Shell[PoolReconciler]):
    """Opens sessions and keeps warm slots ready. See ``PoolReconciler`` for what the calls mean."""

    def __init__(self, services_factory: ServicesFactory, pool_name: Ref[PoolCalls]) -> None:
        self._services_factory = services_factory
        self._pool_name = pool_name
        self._directory = ActorDirectory()
        super().__init__()

    async def ping(self) -> dict[str, Any]:
        """Report that this process lives, and what its node has room for."""
        room = self._runner.room() if self._runner is not None else {}
        memory = psutil.virtual_memory()
        own = {"cpus": os.cpu_count() or 1, "memory_free": memory.available / memory.total}
        return self._life.ping() | room | own

    async def open_session(
        self,
        *,
        user_id: str,
        name: str,
        key: str,
        session_id: str | None = None,
        dead_actor_id: str | None = None,
        cause: Cause = Cause.CALL,
    ) -> Opened:
        """Return who holds the user's session of that name, opening it as needed. Idempotent by key.

        ``session_id``: the one session that is meant, so that none is made. ``dead_actor_id``: the owner
        that did not answer the caller. For a login nobody has to hold a session whose container is ready.
        Raises InvalidArgument, NotFound, Busy, Unavailable, DeadlineExceeded and the store's errors.
        """
        for field, value in (("user_id", user_id), ("name", name), ("key", key)):
            if not value or len(value) > 256:
                raise InvalidArgument(field, "1 to 256 characters")
        runner = await self._ready()
        return await runner.open_session(
            OpenRequest(user_id, name, key, cause, session_id), dead_actor_id
        )

    async def actor_released(self, actor_id: str) -> None:
        """Take back an actor whose session went to rest. Idempotent."""
        await (await self._ready()).actor_released(actor_id)

    async def _make(self) -> PoolReconciler:
        services = await self._services_factory()
        actors = RaySessionActors(self._directory, self._services_factory, self._pool_name)
        return PoolReconciler(
            services, actors, pool_name=self._pool_name, max_starting=max(2, os.cpu_count() or 2)
        )


def _as_called(actor: PoolActor) -> PoolCalls:
    return actor  # for the type checker
