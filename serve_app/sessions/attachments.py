"""Keeps this replica's sockets attached to their sessions.

Each node's HealthCheckerActor has a table of who is attached to its sessions. It gets what has changed once a
second, the whole when it asks for it or an answer was lost, and a sign of life otherwise; what a replica has
reported ends with the replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from actors.core import names
from actors.core.calls import ActorCaller, HealthCalls
from actors.core.errors.base import CoditectError
from actors.core.errors.limits import TooManyRequests
from actors.core.ports.clock import Clock
from actors.core.records.attendance import AttendanceReport
from actors.core.records.sessions import Route, SessionRecord
from serve_app.sessions.gateway import SessionGateway

logger = structlog.get_logger(__name__)

ROUND_SECONDS = 1.0
ALIVE_SECONDS = 5.0
REPORT_SECONDS = 2.0
MAX_SOCKETS = 1000
"""Sockets of one session through one replica."""


@dataclass(slots=True)
class _Attended:
    """A session, and the sockets that are attached to it."""

    home: str
    clients: set[str] = field(default_factory=set)


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

    def __len__(self) -> int:
        return sum(len(attended.clients) for attended in self._sessions.values())

    async def attach(self, session_id: str, client_id: str) -> Route | None:
        """Attach a socket; this brings up a session that sleeps.

        Return where the session's container is; None while it has none that is ready. Raises NotFound,
        SessionEnded, and TooManyRequests when very many sockets are attached here.
        """
        attended = self._sessions.setdefault(session_id, _Attended(self._node_id))
        if len(attended.clients) >= MAX_SOCKETS:
            raise TooManyRequests("attached clients", self._ttl)
        attended.clients.add(client_id)
        try:
            return await self._gateway.arrive(session_id)
        except BaseException:
            self.detach(session_id, client_id)
            raise

    def detach(self, session_id: str, client_id: str) -> None:
        """Note that a socket has gone. Idempotent."""
        attended = self._sessions.get(session_id)
        if attended is None:
            return
        attended.clients.discard(client_id)
        if not attended.clients:
            del self._sessions[session_id]

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            await self.report()

    async def report(self) -> None:
        """Report to each node who is attached to its sessions, as far as it does not know."""
        by_node: dict[str, dict[str, int]] = {node_id: {} for node_id in self._reported}
        for session_id, attended in self._sessions.items():
            attended.home = self._gateway.home(session_id) or attended.home
            by_node.setdefault(attended.home, {})[session_id] = len(attended.clients)
        await asyncio.gather(*(self._report_to(*each) for each in by_node.items()))

    async def of_all(self, records: Sequence[SessionRecord]) -> dict[str, int]:
        """Return how many sockets sessions have through all replicas, as far as their nodes answer."""
        by_node: dict[str, list[str]] = {}
        for record in records:
            by_node.setdefault(record.home or self._node_id, []).append(record.session_id)
        counts = await asyncio.gather(*(self._of_node(*each) for each in by_node.items()))
        return {session_id: count for found in counts for session_id, count in found.items()}

    async def _of_node(self, node_id: str, session_ids: list[str]) -> dict[str, int]:
        actor = names.health_checker_actor(node_id)
        try:
            counts = await self._actors.call(
                actor, HealthCalls.attendance, REPORT_SECONDS, session_ids
            )
        except CoditectError as error:
            logger.info("attendance is not known", node_id=node_id, reason=str(error))
            return {}
        return dict(zip(session_ids, counts, strict=True))

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
