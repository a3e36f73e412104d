"""Moves the sessions of a node away, one after the other.

A session hibernates where it is, so that all it has is kept, and is resumed on the node with the most room.
Sockets stay open meanwhile: the ingress hears that it has moved, and goes on at the new container.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence

from actors.core import placement
from actors.core.calls import ActorCaller, HealthCalls, PoolCalls, SessionCalls
from actors.core.errors.base import CoditectError
from actors.core.names import health_checker_actor, pool_actor, session_actor
from actors.core.ports.clock import Clock
from actors.core.ports.ledger import Ownership
from actors.core.records.events import MOVED, Published
from actors.core.records.nodes import NodeView
from actors.core.records.sessions import Opened, SessionPhase, SessionRecord

logger = logging.getLogger(__name__)

OPEN_SECONDS = 60.0
HIBERNATE_SECONDS = 60.0
RESUME_SECONDS = 10.0
PUBLISH_SECONDS = 5.0

_STAYS = frozenset({SessionPhase.HIBERNATED, SessionPhase.FAILED, SessionPhase.ENDED})


def left_on(node_id: str, sessions: Collection[SessionRecord]) -> list[SessionRecord]:
    """Return the sessions that have something running on a node."""
    return [s for s in sessions if s.home == node_id and s.phase not in _STAYS]


class Drainer:
    """Empties nodes. Belongs to one event loop."""

    def __init__(
        self,
        actors: ActorCaller,
        ownership: Ownership,
        clock: Clock,
        new_id: Callable[[str], str],
    ) -> None:
        self._actors = actors
        self._ownership = ownership
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
            target = placement.choose(views(), refused=(node_id,))
            if target is None:
                logger.warning("node %s is not emptied: no other has room", node_id)
                return len(sessions)
            try:
                await self._move(session, node_id, target)
                self.moved += 1
            except CoditectError as error:
                failed += 1
                logger.warning("session %s has to wait: %s", session.session_id, error)
        return failed

    async def _move(self, session: SessionRecord, node_id: str, target: str) -> None:
        session_id = session.session_id
        opened = await self._open(session, node_id)
        hibernated = await self._actors.call(
            session_actor(str(opened.actor_id)),
            SessionCalls.hibernate,
            HIBERNATE_SECONDS,
            session_id,
            self._new_id("k"),
        )
        # Its owner would keep it for some seconds; without it whoever opens the session next owns it.
        await self._ownership.passivate(hibernated)
        opened = await self._open(session, target)
        await self._actors.call(
            session_actor(str(opened.actor_id)),
            SessionCalls.resume,
            RESUME_SECONDS,
            session_id,
            self._new_id("k"),
        )
        self._published += 1
        moved = Published(session_id, MOVED, {"node_id": target}, self._clock.now())
        await self._actors.call(
            health_checker_actor(node_id),
            HealthCalls.publish,
            PUBLISH_SECONDS,
            self._sender,
            self._published,
            [moved],
        )

    async def _open(self, session: SessionRecord, node_id: str) -> Opened:
        return await self._actors.call(
            pool_actor(node_id),
            PoolCalls.open_session,
            OPEN_SECONDS,
            user_id=session.user_id,
            name=session.name,
            key=self._new_id("k"),
            session_id=session.session_id,
        )
