"""The Supervisor: one named, detached actor, made when the server comes up. Makes all other actors.

It knows nothing that it cannot find again: who lives, Ray says; what must be, the store says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate

import ray

from actors.core import names
from actors.core.calls import P, R, Ref, SupervisorCalls, Takes
from actors.core.directory import ActorDirectory
from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.ports.nodes import NodeBook
from actors.core.ports.services import ServicesFactory
from actors.core.process import Life
from actors.core.records.nodes import NodeRecord, NodeView
from actors.supervisor.nodes import NodeKeeper
from actors.supervisor.plan import Component
from actors.supervisor.reconciler import Member, SupervisorReconciler

STATS_FOR_SECONDS = 1.0
COMPONENTS_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class ActorBlueprint:
    """The recipe for one component. ``make`` blocks, and returns the handle of a *detached* actor.

    ``make`` names the actor ``name`` in the namespace ``names.NAMESPACE`` with ``max_restarts=-1``;
    it is pickled, so it is a function of a module or a partial of one. ``kind`` is what it is
    (``store``, ``pool``, ``health``); nothing that follows a missing ``vital`` one is made.
    """

    name: str
    make: Callable[[], Any]
    kind: str
    vital: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the Supervisor needs for nodes that join. ``blueprints`` are those of a node's actors."""

    head: NodeView
    book: Callable[[], NodeBook]
    blueprints: Callable[[NodeRecord], Sequence[ActorBlueprint]]


class RayActorGateway:
    """Implements ``actors.supervisor.reconciler.ActorGateway`` with blueprints and the directory."""

    def __init__(self, directory: ActorDirectory, blueprints: Sequence[ActorBlueprint]) -> None:
        self._directory = directory
        self._blueprints = {blueprint.name: blueprint for blueprint in blueprints}

    async def listed(self) -> Sequence[str]:
        """Return the names of all actors that live or are being restarted."""
        return await self._directory.names()

    async def make(self, name: str) -> None:
        """Make a component from its blueprint."""
        await self._directory.create(name, self._blueprints[name].make)

    async def call(
        self,
        name: Ref[Takes],
        method: Callable[Concatenate[Takes, P], Awaitable[R]],
        timeout_seconds: float,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call an actor."""
        return await self._directory.call(name, method, timeout_seconds, *args, **kwargs)

    async def kill(self, name: str, *, restart: bool) -> None:
        """End an actor's process."""
        await self._directory.kill(name, restart=restart)

    async def alive(self) -> frozenset[str]:
        """Return Ray's ids of the nodes that live."""
        nodes = await self._directory.run(ray.nodes)
        return frozenset(node["NodeID"] for node in nodes if node["Alive"])

    def learn(self, blueprints: Sequence[ActorBlueprint]) -> None:
        """Make components by these blueprints from now on; what was known of older ones is forgotten."""
        for blueprint in blueprints:
            self._blueprints[blueprint.name] = blueprint
            self._directory.forget(blueprint.name)


class RayNodesOf:
    """Implements ``actors.supervisor.nodes.RayNodes``."""

    def __init__(self, gateway: RayActorGateway, cluster: Cluster) -> None:
        self._gateway = gateway
        self._cluster = cluster

    async def alive(self) -> frozenset[str]:
        """Return Ray's ids of the nodes that live."""
        return await self._gateway.alive()

    def components(self, record: NodeRecord) -> list[Component]:
        """Learn how to make the actors of a node; return what they are."""
        parts = self._cluster.blueprints(record)
        self._gateway.learn(parts)
        return [Component(part.name, part.kind, part.vital, record.node_id) for part in parts]


class SupervisorActor:
    """Brings the components up in order and keeps the whole in the shape that the store says.

    ``components``: blueprints in the order in which they are made, the store first. With a ``cluster``
    nodes may join.
    """

    def __init__(
        self,
        services_factory: ServicesFactory,
        components: Sequence[ActorBlueprint],
        clock: Clock,
        cluster: Cluster | None = None,
    ) -> None:
        self._services_factory = services_factory
        self._clock = clock
        self._cluster = cluster
        self._gateway = RayActorGateway(ActorDirectory(), components)
        members = [Member(part.name, part.kind, part.vital) for part in components]
        self._runner = SupervisorReconciler(self._gateway, members)
        self._stats_at = float("-inf")
        self._ending = False
        self._life = Life(self._run)

    async def ping(self) -> dict[str, Any]:
        """Report that this process lives; ``ready`` once every component has answered."""
        return self._life.ping()

    async def snapshot(self) -> dict[str, Any]:
        """Return the state of the whole for operators; see ``SupervisorReconciler.snapshot``."""
        if self._clock.monotonic() - self._stats_at >= STATS_FOR_SECONDS:
            self._stats_at = self._clock.monotonic()
            await self._runner.refresh_stats()
        return self._runner.snapshot(self._clock.now())

    async def nodes(self) -> list[NodeView]:
        """Return the nodes and what they have room for, the head first."""
        if self._cluster is not None:
            await self._life.ready()
        return await self._runner.known_nodes()

    async def drain(self, node_id: str) -> None:
        """Have a node emptied; it leaves when it is empty. Idempotent. Raises NotFound."""
        await self._life.ready()
        await self._runner.drain(node_id)

    async def push_metrics(self, source: str, families: Any) -> None:
        """Keep the metrics of a process that is no actor (an ingress replica), by its name."""
        self._runner.push_metrics(source, families, self._clock.now())

    async def collect_metrics(self) -> dict[str, Any]:
        """Return everybody's metrics; see ``SupervisorReconciler.collect_metrics``."""
        self._stats_at = self._clock.monotonic()
        return await self._runner.collect_metrics(self._clock.now())

    async def shutdown(self) -> None:
        """End every actor of the server but this one. Containers live on. Idempotent."""
        if not self._ending:
            self._ending = True
            await self._life.stop()
        prefix = names.session_actor("")
        try:
            others = [name for name in await self._gateway.listed() if name.startswith(prefix)]
        except CoditectError:
            others = []
        await self._runner.shutdown(others)

    async def _run(self) -> None:
        while not await self._runner.components_up(self._clock.monotonic()):
            await self._clock.sleep(COMPONENTS_PAUSE)
        self._runner.attach_services(await self._services_factory())
        if self._cluster is not None:
            nodes = RayNodesOf(self._gateway, self._cluster)
            keeper = NodeKeeper(self._cluster.book(), nodes, self._clock, self._cluster.head)
            self._runner.attach_nodes(keeper)
        self._life.is_ready()
        try:
            await self._runner.run()
        except asyncio.CancelledError:
            await self._runner.close()
            raise


def _as_called(actor: SupervisorActor) -> SupervisorCalls:
    return actor  # for the type checker
