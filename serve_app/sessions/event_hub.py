"""Publishes sessions' events to all sockets of this replica: one long poll for each node.

A node's broker has the events of all its sessions; those of sessions that nobody listens to here are
dropped. What a poll misses (a broker that died, or was away) is made up for by the sessions' records: they
are read again, in batches, and what differs from the last ``status`` that was heard is published as one.
So they are, seldom, without a reason, which also shows sessions that have moved to another node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from actors.core import names
from actors.core.backoff import Backoff
from actors.core.calls import ActorCaller, HealthCalls
from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.events import MOVED, EventPage, Place
from actors.core.records.sessions import SessionEvent, SessionRecord
from actors.core.tasks import Tasks
from serve_app.dependencies import SessionReader
from serve_app.sessions.gateway import SessionGateway

logger = structlog.get_logger(__name__)

POLL_SECONDS = 25.0
ROUND_SECONDS = 0.5
REREAD_SECONDS = 60.0
SETTLE_SECONDS = 5.0
"""How long an owner's news may take to its record, and a broker may be away before records are read."""

READ_AT_ONCE = 256
RENEWALS_AT_ONCE = 4
_SLACK_SECONDS = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 3.0

Listener = Callable[[SessionEvent], None]


@dataclass(slots=True)
class _Followed:
    """A session that somebody listens to, and its last ``status``.

    Its record is read at ``due``, and ``pause`` seconds later. Without a ``home`` the node is not known yet.
    """

    home: str | None
    due: float
    pause: float = REREAD_SECONDS
    listeners: set[Listener] = field(default_factory=set)
    status: dict[str, Any] | None = None
    status_at: float = 0.0


class EventHub:
    """Follows the nodes of the sessions that somebody listens to, and always its own.

    A listener is called for each event, in order, on the event loop; it must not block, and bounds
    whatever it keeps. After an event of type ``ended`` no other one comes.
    """

    def __init__(
        self,
        gateway: SessionGateway,
        ledger: SessionReader,
        actors: ActorCaller,
        clock: Clock,
        tasks: Tasks,
        node_id: str,
    ) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._actors = actors
        self._clock = clock
        self._tasks = tasks
        self._node_id = node_id
        self._followed: dict[str, _Followed] = {}
        self._nodes: set[str] = set()
        self._renewing: set[str] = set()
        self._renewals = asyncio.Semaphore(RENEWALS_AT_ONCE)

    @property
    def sessions(self) -> int:
        """The number of followed sessions."""
        return len(self._followed)

    def listen(self, session_id: str, listener: Listener) -> None:
        """Call the listener for every event from now on."""
        followed = self._followed.get(session_id)
        if followed is None:
            home = self._gateway.home(session_id)
            due = self._clock.monotonic() + (REREAD_SECONDS if home is not None else 0.0)
            followed = self._followed[session_id] = _Followed(home, due)
            self._follow(home or self._node_id)
        followed.listeners.add(listener)

    def unlisten(self, session_id: str, listener: Listener) -> None:
        """Stop calling it. Idempotent."""
        followed = self._followed.get(session_id)
        if followed is None:
            return
        followed.listeners.discard(listener)
        if not followed.listeners:
            del self._followed[session_id]

    async def run(self) -> None:
        """Follow this node, and read records that are due, until cancelled."""
        self._follow(self._node_id)
        while True:
            await self.round()
            await self._clock.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Read the records that are due; those that cannot be read stay so."""
        now = self._clock.monotonic()
        due = [session_id for session_id, each in self._followed.items() if each.due <= now]
        try:
            for begin in range(0, len(due), READ_AT_ONCE):
                page = due[begin : begin + READ_AT_ONCE]
                records = await self._ledger.sessions_by_id(page)
                for session_id in page:
                    self._take_record(session_id, records.get(session_id), now)
        except CoditectError as error:
            logger.info("sessions that are followed cannot be read", reason=str(error))

    def _take_record(self, session_id: str, record: SessionRecord | None, now: float) -> None:
        followed = self._followed.get(session_id)
        if followed is None:
            return
        if record is None:
            ended = SessionEvent(activation=0, seq=0, at=self._clock.now(), type="ended")
            self._publish(session_id, ended)
            return
        if followed.due <= now:
            followed.due, followed.pause = now + followed.pause, REREAD_SECONDS
        self._gateway.see(record)
        followed.home = record.home or self._node_id
        self._follow(followed.home)
        status = status_of(record)
        # A record that is older than the last event has yet to be written anew.
        if status.data != followed.status and status.at >= followed.status_at:
            self._publish(session_id, status)

    def _follow(self, node_id: str) -> None:
        if node_id not in self._nodes:
            self._nodes.add(node_id)
            self._tasks.offer(f"events of {node_id}", self._poll_forever(node_id))

    async def _poll_forever(self, node_id: str) -> None:
        try:
            place: Place | None = None
            heard = self._clock.monotonic()
            backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
            while self._is_wanted(node_id):
                try:
                    page = await self._poll(node_id, place)
                except CoditectError as error:
                    logger.info("events have to wait", node_id=node_id, reason=str(error))
                    if self._clock.monotonic() - heard >= SETTLE_SECONDS:
                        heard = self._clock.monotonic()
                        self._read_soon(node_id)
                        self._renew_all(node_id)
                    await self._clock.sleep(backoff.next())
                    continue
                backoff.reset()
                heard = self._clock.monotonic()
                place = page.place
                for session_id, event in page.events:
                    self._publish(session_id, event)
                if page.gap:
                    self._read_soon(node_id)
        finally:
            self._nodes.discard(node_id)

    async def _poll(self, node_id: str, place: Place | None) -> EventPage:
        broker, limit = names.health_checker_actor(node_id), POLL_SECONDS + _SLACK_SECONDS
        return await self._actors.call(broker, HealthCalls.follow, limit, place, POLL_SECONDS)

    def _is_wanted(self, node_id: str) -> bool:
        return node_id == self._node_id or any(
            followed.home == node_id for followed in self._followed.values()
        )

    def _read_soon(self, node_id: str) -> None:
        """Have the records of a node's sessions read, and once more when owners have written theirs."""
        for followed in self._followed.values():
            if followed.home in {node_id, None}:
                followed.due, followed.pause = self._clock.monotonic(), SETTLE_SECONDS

    def _renew_all(self, node_id: str) -> None:
        """Have the sessions of a node that does not answer go on elsewhere: theirs see no end of a socket."""
        if node_id == self._node_id:
            return
        for session_id, followed in self._followed.items():
            if followed.home == node_id and session_id not in self._renewing:
                self._renewing.add(session_id)
                if self._tasks.offer(f"renew {session_id}", self._renew(session_id)) is None:
                    self._renewing.discard(session_id)

    async def _renew(self, session_id: str) -> None:
        try:
            async with self._renewals:
                await self._gateway.renew(session_id)
        except CoditectError as error:
            logger.info("session does not go on yet", session_id=session_id, reason=str(error))
        finally:
            self._renewing.discard(session_id)

    def _publish(self, session_id: str, event: SessionEvent) -> None:
        followed = self._followed.get(session_id)
        if followed is None:
            return
        if event.type == MOVED:
            followed.due, followed.pause = self._clock.monotonic(), SETTLE_SECONDS
            return
        if event.type == "status":
            followed.status, followed.status_at = event.data, event.at
        elif event.type == "ended":
            del self._followed[session_id]
        for listener in tuple(followed.listeners):
            listener(event)


def status_of(record: SessionRecord) -> SessionEvent:
    """Return the state as the event that led to it would have had it."""
    data = {
        "phase": record.phase.value,
        "container_status": record.container_status.value,
        "container_id": record.container_id,
        "epoch": record.epoch,
        "failure": record.failure,
    }
    return SessionEvent(activation=0, seq=0, at=record.updated_at, type="status", data=data)
