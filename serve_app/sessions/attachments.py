"""Keeps this replica's sockets attached to their sessions.

Each node's HealthCheckerActor has a table of who is attached to its sessions. It gets what has changed once a
second, the whole when it asks for it or an answer was lost, and a sign of life otherwise; what a replica has
reported ends with the replica.

A socket holds a lease at the session's actor as well, renewed from here well before it runs out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from actors.core import names
from actors.core.calls import ActorCaller, HealthCalls, SessionCalls
from actors.core.errors.base import CoditectError
from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import SessionEnded
from actors.core.ports.clock import Clock
from actors.core.records.attendance import AttendanceReport
from actors.core.records.sessions import Route
from serve_app.sessions.gateway import SessionGateway

logger = structlog.get_logger(__name__)

ROUND_SECONDS = 1.0
ALIVE_SECONDS = 5.0
REPORT_SECONDS = 2.0
DETACH_SECONDS = 2.0
AT_ONCE = 64
MAX_SOCKETS = 1000
"""Sockets of one session through one replica."""


@dataclass(slots=True)
class _Attended:
    """A session, the sockets that are attached to it, and when the lease of each was renewed."""

    home: str
    clients: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Reported:
    """What a node's table has of this replica; no ``incarnation``: nobody knows what."""

    number: int = 0
    incarnation: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    at: float = 0.0


class Attachments:
    """The attached sockets of one replica. ``run`` is a task of its owner."""

    def __init__(
        self,
        gateway: SessionGateway,
        actors: ActorCaller,
        clock: Clock,
        *,
        replica_id: str,
        node_id: str,
        ttl: float,
    ) -> None:
        self._gateway = gateway
        self._actors = actors
        self._clock = clock
        self._replica_id = replica_id
        self._node_id = node_id
        self._ttl = ttl
        self._sessions: dict[str, _Attended] = {}
        self._reported: dict[str, _Reported] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    def __len__(self) -> int:
        return sum(len(attended.clients) for attended in self._sessions.values())

    async def attach(self, session_id: str, client_id: str) -> Route | None:
        """Attach a socket; this brings up a session that rests. Raises what the session's actor does.

        Return where the session's container is; None while it has none that is ready. Raises
        TooManyRequests when very many sockets are attached here.
        """
        attended = self._sessions.setdefault(session_id, _Attended(self._node_id))
        if len(attended.clients) >= MAX_SOCKETS:
            raise TooManyRequests("attached clients", self._ttl)
        attended.clients[client_id] = self._clock.monotonic()
        try:
            return await self._gateway.attach(session_id, client_id)
        except BaseException:
            self._drop(session_id, client_id)
            raise

    async def detach(self, session_id: str, client_id: str) -> None:
        """Give a lease back; if that cannot be said it runs out by itself."""
        if not self._drop(session_id, client_id):
            return
        try:
            await self._gateway.call_if_awake(
                session_id, SessionCalls.detach, DETACH_SECONDS, client_id
            )
        except CoditectError as error:
            logger.info("a lease will run out", session_id=session_id, reason=str(error))

    def _drop(self, session_id: str, client_id: str) -> bool:
        attended = self._sessions.get(session_id)
        if attended is None or attended.clients.pop(client_id, None) is None:
            return False
        if not attended.clients:
            del self._sessions[session_id]
        return True

    async def run(self) -> None:
        """Report and renew until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self.report, self.renew):
                group.create_task(self._repeat(work), name=f"attachments: {work.__name__}")

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            await work()

    # ---- attendance -----------------------------------------------------------------------------

    async def report(self) -> None:
        """Report to each node who is attached to its sessions, as far as it does not know."""
        by_node: dict[str, dict[str, int]] = {node_id: {} for node_id in self._reported}
        for session_id, attended in self._sessions.items():
            attended.home = self._gateway.home(session_id) or attended.home
            by_node.setdefault(attended.home, {})[session_id] = len(attended.clients)
        await asyncio.gather(*(self._report_to(*each) for each in by_node.items()))

    async def _report_to(self, node_id: str, counts: dict[str, int]) -> None:
        reported = self._reported.setdefault(node_id, _Reported())
        while (report := self._report(reported, counts)) is not None:
            reported.number = report.number
            reported.incarnation, reported.counts = None, counts
            try:
                answer = await self._actors.call(
                    names.health_checker_actor(node_id), HealthCalls.attend, REPORT_SECONDS, report
                )
            except CoditectError as error:
                logger.info("attendance is not reported", node_id=node_id, reason=str(error))
                return
            if not answer.whole_wanted:
                reported.incarnation, reported.at = answer.incarnation, self._clock.monotonic()
                return

    def _report(self, reported: _Reported, counts: dict[str, int]) -> AttendanceReport | None:
        """Return what a table lacks; None when that is nothing, and no sign of life is due.

        A table that may have something of a replica that has nobody left forgets it by itself.
        """
        number, before = reported.number + 1, reported.counts
        if not counts and not before:
            return None
        if reported.incarnation is None:
            return AttendanceReport(self._replica_id, number, counts, whole=True)
        changed = {each: count for each, count in counts.items() if before.get(each) != count}
        changed |= dict.fromkeys(before.keys() - counts.keys(), 0)
        quiet = self._clock.monotonic() - reported.at
        if not changed and quiet < min(ALIVE_SECONDS, self._ttl / 4):
            return None
        return AttendanceReport(self._replica_id, number, changed, reported.incarnation)

    # ---- leases at the sessions' actors ---------------------------------------------------------

    async def renew(self) -> None:
        """Renew the leases that are due."""
        results = await asyncio.gather(
            *(
                self._tend(session_id, client_id, renewed)
                for session_id, attended in list(self._sessions.items())
                for client_id, renewed in list(attended.clients.items())
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, Exception):
                logger.error("a lease could not be tended", exc_info=result)

    async def _tend(self, session_id: str, client_id: str, renewed: float) -> None:
        async with self._gate:
            try:
                if self._clock.monotonic() - renewed >= self._ttl / 3:
                    await self._gateway.attach(session_id, client_id)
                    attended = self._sessions.get(session_id)
                    if attended is not None and client_id in attended.clients:
                        attended.clients[client_id] = self._clock.monotonic()
            except (NotFound, SessionEnded):
                self._drop(session_id, client_id)
            except CoditectError as error:
                logger.info("a lease is not renewed", session_id=session_id, reason=str(error))
