"""Has pools open sessions: of the node where a session's container is, else of the one with the most room."""

from __future__ import annotations

import asyncio
from typing import TypedDict

import structlog

from actors.core import names
from actors.core.calls import ActorCaller, PoolCalls, Ref
from actors.core.errors.base import Busy, DeadlineExceeded, Unavailable
from actors.core.ports.clock import Clock
from actors.core.records.nodes import LEAVING
from actors.core.records.sessions import Cause, Opened
from serve_app.sessions.node_map import NodeMap

logger = structlog.get_logger(__name__)

OPEN_SECONDS = 45.0
POOL_RESTART_SECONDS = 10.0
HOME_SECONDS = 10.0
HOME_PING_SECONDS = 3.0
MAX_PLACES = 3
_PAUSE = 0.5


class _Request(TypedDict):
    """The arguments of ``PoolCalls.open_session``."""

    user_id: str
    name: str
    key: str
    session_id: str | None
    dead_actor_id: str | None
    cause: Cause


class SessionOpener:
    """Asks pools. Every call is bounded in time."""

    def __init__(
        self, actors: ActorCaller, clock: Clock, node_id: str, nodes: NodeMap | None = None
    ) -> None:
        self._actors = actors
        self._clock = clock
        self._nodes = nodes or NodeMap(actors, clock)
        self._pool = names.pool_actor(node_id)

    async def open(
        self,
        user_id: str,
        name: str,
        key: str,
        *,
        home: str | None,
        session_id: str | None = None,
        dead_actor_id: str | None = None,
        cause: Cause = Cause.CALL,
    ) -> Opened:
        """Have the session opened where its container is, or elsewhere if that node does not answer.

        Elsewhere it goes on with another container and with what is kept of its workspace. A node that is
        only busy is waited for: raises DeadlineExceeded when it takes ``OPEN_SECONDS``.
        """
        request = _Request(
            user_id=user_id,
            name=name,
            key=key,
            session_id=session_id,
            dead_actor_id=dead_actor_id,
            cause=cause,
        )
        if home is None or self._nodes.is_gone(home):
            return await self._ask_elsewhere(request, home)
        at_home = names.pool_actor(home)
        if at_home == self._pool:
            return await self._ask_pool(at_home, request)
        try:
            return await self._ask_home(at_home, request)
        except Busy as error:
            if error.what != LEAVING:
                raise
        except Unavailable as error:
            logger.warning("a session's node does not answer", node_id=home, reason=str(error))
            self._nodes.note_refusal(home)
        return await self._ask_elsewhere(request, home)

    async def _ask_elsewhere(self, request: _Request, home: str | None) -> Opened:
        """Ask the nodes with the most room, and at last the pool here."""
        refused = set() if home is None else {home}
        for _ in range(MAX_PLACES):
            node_id = self._nodes.place(refused=refused)
            pool = self._pool if node_id is None else names.pool_actor(node_id)
            if node_id is None or pool == self._pool:
                break
            try:
                async with asyncio.timeout(HOME_SECONDS):
                    return await self._ask_pool(pool, request)
            except (Busy, Unavailable, DeadlineExceeded, TimeoutError) as error:
                logger.warning("a node does not take a session", node_id=node_id, reason=str(error))
                refused.add(node_id)
                self._nodes.note_refusal(node_id)
        return await self._ask_pool(self._pool, request)

    async def _ask_home(self, pool: Ref[PoolCalls], request: _Request) -> Opened:
        """Ask another node's pool, again and again while it lives. Raises Unavailable when it does not."""
        give_up_at = self._clock.monotonic() + OPEN_SECONDS
        while (left := give_up_at - self._clock.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(HOME_SECONDS, left)):
                    return await self._ask_pool(pool, request)
            except Unavailable as error:
                if error.component != pool:
                    raise
            except (DeadlineExceeded, TimeoutError):
                pass
            try:
                await self._actors.call(pool, PoolCalls.ping, HOME_PING_SECONDS)
            except DeadlineExceeded as error:
                raise Unavailable(pool, str(error)) from None
            # It may wait for an actor. What it does under this key already is joined, not done twice.
            await self._clock.sleep(_PAUSE)
        raise DeadlineExceeded(f"{pool}.open_session", OPEN_SECONDS)

    async def _ask_pool(self, pool: Ref[PoolCalls], request: _Request) -> Opened:
        give_up_at = self._clock.monotonic() + POOL_RESTART_SECONDS
        while True:
            try:
                return await self._actors.call(
                    pool, PoolCalls.open_session, OPEN_SECONDS, **request
                )
            except Unavailable as error:
                # Ray restarts a pool, and a lost call may be made again: see actors.pool.claims.
                if error.component != pool or self._clock.monotonic() > give_up_at:
                    raise
            await self._clock.sleep(_PAUSE)
