"""Moves the sessions of a node away, one after the other.

A session hibernates where it is, so that all it has is kept, and is resumed on the node with the most room.
The node's record names it from before the one until after the other: whatever fails in between, it is not
left asleep. Few are under way at any time, so where nothing can be resumed few are put to sleep.
Sockets stay open meanwhile: the ingress hears that it has moved, and goes on at the new container.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from actors.core import placement
from actors.core.calls import ActorCaller, HealthCalls, PoolCalls, SessionCalls
from actors.core.errors.base import Busy, CoditectError, DeadlineExceeded, Unavailable
from actors.core.names import health_checker_actor, pool_actor, session_actor
from actors.core.ports.clock import Clock
from actors.core.ports.ledger import Ownership
from actors.core.records.events import MOVED, Published
from actors.core.records.nodes import NodeView
from actors.core.records.sessions import Cause, Opened, SessionPhase, SessionRecord

logger = logging.getLogger(__name__)

OPEN_SECONDS = 60.0
HIBERNATE_SECONDS = 60.0
RESUME_SECONDS = 10.0
PUBLISH_SECONDS = 5.0
MAX_PLACES = 3
MAX_MOVING = 8
"""Sessions of a node that may sleep because they could not be resumed elsewhere yet."""

_STAYS = frozenset({SessionPhase.HIBERNATED, SessionPhase.FAILED, SessionPhase.ENDED})


def left_on(node_id: str, sessions: Collection[SessionRecord]) -> list[SessionRecord]:
    """Return the sessions that have something running on a node."""
    return [s for s in sessions if s.home == node_id and s.phase not in _STAYS]


class Moving(Protocol):
    """What is known for good of the sessions that are being moved away from nodes."""

    def moving(self, node_id: str) -> Collection[str]:
        """Return those of a node."""
        ...

    async def set_moving(self, node_id: str, session_id: str, *, moving: bool) -> None:
        """Note that a session is being moved, or is no more. Raises NotFound."""


def asleep(moving: Collection[str], sessions: Collection[SessionRecord]) -> list[SessionRecord]:
    """Return those of the sessions being moved that sleep."""
    return [s for s in sessions if s.session_id in moving and s.phase is SessionPhase.HIBERNATED]


class Drainer:
    """Empties nodes. Belongs to one event loop."""

    def __init__(
        self,
        actors: ActorCaller,
        ownership: Ownership,
        moving: Moving,
        clock: Clock,
        new_id: Callable[[str], str],
    ) -> None:
        self._actors = actors
        self._ownership = ownership
        self._moving = moving
        self._clock = clock
        self._new_id = new_id
        self._sender = new_id("drain")
        self._published = 0
        self.moved = 0

    async def move_all(
        self,
        node_id: str,
        sessions: Sequence[SessionRecord],
        views: Callable[[], Sequence[NodeView]],
    ) -> int:
        """Move sessions away from a node; return how many could not be moved now."""
        failed = 0
        for session in sessions:
            if placement.choose(views(), refused=(node_id,)) is None:
                logger.warning("node %s is not emptied: no other has room", node_id)
                return len(sessions)
            try:
                await self._move(session, node_id, views)
                self.moved += 1
            except CoditectError as error:
                failed += 1
                logger.warning("session %s has to wait: %s", session.session_id, error)
        return failed

    async def _move(
        self, session: SessionRecord, node_id: str, views: Callable[[], Sequence[NodeView]]
    ) -> None:
        session_id, moving = session.session_id, self._moving.moving(node_id)
        if session_id not in moving:
            if len(moving) >= MAX_MOVING:
                raise Busy("moves", RESUME_SECONDS)
            await self._moving.set_moving(node_id, session_id, moving=True)
        if session.phase is not SessionPhase.HIBERNATED:
            opened = await self._open(session, node_id)
            session = await self._actors.call(
                session_actor(str(opened.actor_id)),
                SessionCalls.hibernate,
                HIBERNATE_SECONDS,
                session_id,
                self._new_id("k"),
            )
        if session.owner_node_id == node_id and session.owner_actor_id is not None:
            # It would keep it for some seconds; without it whoever opens the session next owns it.
            await self._ownership.passivate(session)
        opened, target = await self._open_elsewhere(session, node_id, views)
        await self._actors.call(
            session_actor(str(opened.actor_id)),
            SessionCalls.resume,
            RESUME_SECONDS,
            session_id,
            self._new_id("k"),
        )
        await self._moving.set_moving(node_id, session_id, moving=False)
        await self._publish(session_id, node_id, target)

    async def _open_elsewhere(
        self, session: SessionRecord, node_id: str, views: Callable[[], Sequence[NodeView]]
    ) -> tuple[Opened, str]:
        """Open a session on the best node that takes it, and return which one."""
        refused = {node_id}
        error: CoditectError = Unavailable("nodes", "no other has room")
        for _ in range(MAX_PLACES):
            target = placement.choose(views(), refused=refused)
            if target is None:
                break
            try:
                return await self._open(session, target), target
            except (Busy, Unavailable, DeadlineExceeded) as refusal:
                error = refusal
                refused.add(target)
        raise error

    async def _publish(self, session_id: str, node_id: str, target: str) -> None:
        """Have replicas look for the session elsewhere; without that they do once a call fails."""
        self._published += 1
        moved = Published(session_id, MOVED, {"node_id": target}, self._clock.now())
        try:
            await self._actors.call(
                health_checker_actor(node_id),
                HealthCalls.publish,
                PUBLISH_SECONDS,
                self._sender,
                self._published,
                [moved],
            )
        except CoditectError as error:
            logger.warning("nobody hears that session %s has moved: %s", session_id, error)

    async def _open(self, session: SessionRecord, node_id: str) -> Opened:
        return await self._actors.call(
            pool_actor(node_id),
            PoolCalls.open_session,
            OPEN_SECONDS,
            user_id=session.user_id,
            name=session.name,
            key=self._new_id("k"),
            session_id=session.session_id,
            cause=Cause.MOVE,
        )
