"""The calls that each kind of actor takes, and typed references to actors by name.

``ActorCaller.call(ref, PoolCalls.open_session, seconds, …)`` is checked against these signatures where it
is written, and each shell against its protocol where it is declared. Pure: nothing here calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from actors.core.records.archive import Kept, SaveAnswer
from actors.core.records.attendance import AttendanceAnswer, AttendanceReport
from actors.core.records.containers import ContainerRecord
from actors.core.records.events import EventPage, Place, Published
from actors.core.records.idleness import Quiet
from actors.core.records.nodes import NodeView
from actors.core.records.sessions import Cause, Opened, Route, SessionRecord

Takes = TypeVar("Takes")
P = ParamSpec("P")
R = TypeVar("R")


class Ref(str, Generic[Takes]):
    """An actor's name, with the calls that it takes."""

    __slots__ = ()


class ActorCaller(Protocol):
    """Calls actors by name: ``actors.core.directory.ActorDirectory``, whose errors these are."""

    async def call(
        self,
        ref: Ref[Takes],
        method: Callable[Concatenate[Takes, P], Awaitable[R]],
        timeout_seconds: float,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call within the limit. Raises ActorGone, Unavailable, DeadlineExceeded, or what it raised."""
        ...


class Component(Protocol):
    """Every actor."""

    async def ping(self) -> dict[str, Any]:
        """Return that this process lives: ``pid``, ``uptime_seconds``, ``ready``."""
        ...

    async def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions."""
        ...


class SessionCalls(Component, Protocol):
    """``actors.session.actor.SessionActor``, where the calls are described."""

    async def bind(
        self,
        record: SessionRecord,
        container: ContainerRecord | None,
        key: str,
        rest_after: float | None,
    ) -> SessionRecord:
        """Hold the session that the store says is this actor's; return it as it is then."""
        ...

    async def wake(self, session_id: str) -> None:
        """Bring the session up for somebody who has come."""

    async def view(self, session_id: str) -> SessionRecord:
        """Return the session as it is at this moment."""
        ...

    async def route(
        self, session_id: str, newer_than_epoch: int = 0, timeout_seconds: float = 30.0
    ) -> Route:
        """Wait for a container under a newer epoch and return where it is."""
        ...

    async def hibernate(self, session_id: str, key: str = "") -> SessionRecord:
        """Stop the container and keep the session."""
        ...

    async def resume(self, session_id: str, key: str = "") -> SessionRecord:
        """Bring the session up."""
        ...

    async def end(self, session_id: str, key: str = "") -> None:
        """End the session with its container and workspace."""

    async def sleep_if_quiet(self, session_id: str, container_id: str, quiet: Quiet) -> bool:
        """Hibernate if nothing has happened since that was decided."""
        ...

    async def patch_workspace_state(
        self, session_id: str, patch: dict[str, Any], key: str
    ) -> SessionRecord:
        """Apply a JSON merge patch to the workspace state and commit it."""
        ...

    async def container_lost(self, session_id: str, container_id: str, reason: str) -> None:
        """Take note that somebody else found the container dead or deaf."""


class PoolCalls(Component, Protocol):
    """``actors.pool.actor.PoolActor``."""

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
        """Return who holds the user's session of that name, opening it as needed."""
        ...

    async def actor_released(self, actor_id: str) -> None:
        """Take back an actor whose session went to rest."""


class HealthCalls(Component, Protocol):
    """``actors.health.actor.HealthCheckerActor``; see ``actors.health.service``."""

    async def publish(
        self, sender: str, number: int, events: Sequence[Published], lost: int = 0
    ) -> None:
        """Give a batch of events to all who follow the node."""

    async def follow(self, place: Place | None, timeout_seconds: float) -> EventPage:
        """Return the events of the node's sessions behind a place; waits for one."""
        ...

    async def attend(self, report: AttendanceReport) -> AttendanceAnswer:
        """Take note of who is attached through a replica."""
        ...

    async def attendance(self, session_ids: Sequence[str]) -> list[int]:
        """Return how many sockets each session has."""
        ...


class ArchiveCalls(Component, Protocol):
    """``cluster.wiring.archive_actor.ArchiveActor``."""

    async def save(
        self,
        session_id: str,
        paths: list[str],
        answer: SaveAnswer | None = None,
        give_up: bool = False,
    ) -> Kept:
        """Archive paths of a workspace at once."""
        ...

    async def flush(self, session_id: str) -> None:
        """Return when all that is in a workspace is archived."""

    async def whole(self, session_id: str, timeout_seconds: float) -> None:
        """Return when a workspace is as it was archived."""

    async def restoring(self, session_id: str) -> int:
        """Return how many paths of a workspace are yet to be put back."""
        ...

    async def start_backup(self) -> None:
        """Have a backup made, unless one is."""

    async def backups(self) -> dict[str, Any]:
        """Return the backups and what is being made."""
        ...


class StoreCalls(Component, Protocol):
    """``cluster.store.remote.store_actor.StoreActor``."""

    async def copy(self, directory: str) -> None:
        """Write an embedded store as of this moment into an empty directory."""


class SupervisorCalls(Protocol):
    """``actors.supervisor.actor.SupervisorActor``."""

    async def ping(self) -> dict[str, Any]:
        """Return that this process lives; ``ready`` once every component has answered."""
        ...

    async def snapshot(self) -> dict[str, Any]:
        """Return the state of the whole for operators."""
        ...

    async def nodes(self) -> list[NodeView]:
        """Return the nodes and what they have room for."""
        ...

    async def drain(self, node_id: str) -> None:
        """Have a node emptied; it leaves when it is."""

    async def push_metrics(self, source: str, families: Any) -> None:
        """Keep the metrics of a process that is no actor."""

    async def collect_metrics(self) -> dict[str, Any]:
        """Return everybody's metrics."""
        ...

    async def shutdown(self) -> None:
        """End every actor of the server but this one."""
