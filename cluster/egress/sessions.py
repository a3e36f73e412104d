"""What each session of a node may do, did, and has under way: decided by pure files, written down here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter as Counted
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.accounts import AuditEntry
from actors.core.records.egress import EgressUse, NetworkRecord
from cluster.egress import policy
from cluster.egress.conversation import Refusal
from cluster.egress.host_log import HostLog
from cluster.egress.policy import Choice, Rules, Verdict
from cluster.egress.rates import Counter, Limits, TokenBucket
from cluster.egress.turns import Turns
from cluster.egress.wire import TUNNEL_IDLE_SECONDS

logger = logging.getLogger(__name__)

BATCH = 64
MAX_LINES = 5000
_FLUSH_SECONDS = 2.0
_FORGET_SECONDS = 600.0


class Books(Protocol):
    """What is kept of sessions' networks: ``cluster.store.layers.sessions.networks.NetworkStore``."""

    async def get(self, session_id: str) -> tuple[NetworkRecord | None, EgressUse | None]:
        """Return what a session's owner chose, and what it did."""
        ...

    async def note_use(self, used: Sequence[EgressUse]) -> None:
        """Keep what at most ``BATCH`` sessions did."""


class Trail(Protocol):
    """The audit trail."""

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Add at most ``BATCH`` entries."""


class Way(Protocol):
    """A connection to outside that is under way."""

    host: str
    port: int

    @property
    def active_at(self) -> float:
        """When it last moved something, by the loop's clock."""
        ...

    def end(self) -> None:
        """End it."""


@dataclass(eq=False, slots=True)
class Session:
    """A session that has used the network lately."""

    session_id: str
    user_id: str | None
    counter: Counter
    used_at: float
    ways: set[Way] = field(default_factory=set)


class Sessions:
    """The sessions of one node's gateway. Belongs to one event loop."""

    def __init__(
        self,
        tenant_id: str,
        books: Books,
        trail: Trail,
        rules: Rules,
        limits: Limits,
        turns: Turns,
        clock: Clock,
    ) -> None:
        self._books = books
        self._trail = trail
        self._rules = rules
        self._limits = limits
        self._turns = turns
        self._clock = clock
        self._choices: dict[str, NetworkRecord] = {}
        self._known: dict[str, Session] = {}
        self._hosts = HostLog(tenant_id)
        self._lines: list[AuditEntry] = []
        self._refused: Counted[str] = Counted()
        self._sent = self._received = self._connections = self._lost = self._failures = 0
        self._secrets = 0

    @property
    def refuse_networks(self) -> tuple[Any, ...]:
        """The networks that the operator refuses beside those that nobody reaches."""
        return self._rules.refuse

    async def find(self, session_id: str, user_id: str | None) -> Session:
        """Return a session, with what it did today. Raises what the store raises."""
        session = self._known.get(session_id)
        if session is None:
            _, used = await self._books.get(session_id)
            session = self._known.get(session_id)  # somebody else may have asked meanwhile
            if session is None:
                counter = Counter(session_id, used, self._day())
                session = Session(session_id, user_id, counter, self._clock.monotonic())
                self._known[session_id] = session
                bucket = TokenBucket(self._limits.rate, asyncio.get_running_loop().time())
                self._turns.limit(session_id, bucket)
        session.used_at = self._clock.monotonic()
        return session

    def choice(self, session_id: str) -> Choice:
        """Return the policy that is in force."""
        return policy.in_force(self._rules, self._choices.get(session_id))

    def decide(self, session: Session, host: str, port: int) -> Verdict:
        """Decide on a host, and on one connection more. Raises Refusal."""
        session.counter.begin(self._day())
        self.check_day(session)
        if len(session.ways) >= self._limits.connections:
            most = f"this session has {self._limits.connections} connections open"
            raise Refusal("connections", most, limit=True)
        verdict = policy.decide(self._rules, self.choice(session.session_id), host, port)
        if verdict.rule is not None:
            raise Refusal(verdict.rule, verdict.reason)
        return verdict

    def check_day(self, session: Session) -> None:
        """Raise Refusal when a session has moved what it may move in a day."""
        if self._limits.day and session.counter.moved >= self._limits.day:
            words = f"this session has moved the {self._limits.day} bytes of its day (UTC)"
            raise Refusal("bytes_per_day", words, limit=True)

    def count(self, session: Session, sent: int, received: int) -> None:
        """Count bytes. Raises Refusal, and ends all that is under way, when there were enough."""
        self._sent += sent
        self._received += received
        session.counter.begin(self._day())
        session.counter.move(sent, received)
        self._turns.spend(session.session_id, sent + received)
        try:
            self.check_day(session)
        except Refusal as refusal:
            self.refuse(session, "*", 0, refusal)
            for way in list(session.ways):
                way.end()
            raise

    def connect(self, session: Session, way: Way) -> None:
        """Note a connection."""
        self._connections += 1
        session.counter.connect()
        session.ways.add(way)
        self._note(session, f"{way.host}:{way.port}", "ok")

    def refuse(self, session: Session, host: str, port: int, refusal: Refusal) -> None:
        """Note a refusal."""
        now = self._clock.now()
        self._refused[refusal.rule] += 1
        session.counter.refuse(host, port, refusal.rule, refusal.reason, now)
        self._note(session, f"{host}:{port}", "refused")

    def add_secrets(self, session: Session, host: str, names: Sequence[str]) -> None:
        """Note that a request to a host (and port) gets these secrets."""
        self._secrets += len(names)
        now = self._clock.now()
        for name in names:
            self._add(self._hosts.note_secret(session.session_id, session.user_id, host, name, now))

    def see_choices(self, choices: dict[str, NetworkRecord]) -> None:
        """Take over what owners chose, and end what is not allowed any more."""
        former, self._choices = self._choices, choices
        for session in self._known.values():
            session_id = session.session_id
            if choices.get(session_id) == former.get(session_id):
                continue
            choice = self.choice(session_id)
            for way in list(session.ways):
                if policy.decide(self._rules, choice, way.host, way.port).rule is not None:
                    way.end()

    async def keep(self) -> None:
        """Write down what sessions do, until cancelled."""
        while True:
            await self._clock.sleep(_FLUSH_SECONDS)
            self._sweep()
            try:
                await self.flush()
            except CoditectError as error:
                self._failures += 1
                logger.warning("what sessions reach has to wait for the store: %s", error)

    async def flush(self) -> None:
        """Write what has not been written. Raises what the store raises, and loses nothing then."""
        self._add(self._hosts.due(self._clock.now()))
        changed = [session for session in self._known.values() if session.counter.changed]
        for begin in range(0, len(changed), BATCH):
            batch = changed[begin : begin + BATCH]
            for session in batch:
                session.counter.changed = False
            try:
                await self._books.note_use([session.counter.use() for session in batch])
            except BaseException:
                for session in batch:
                    session.counter.changed = True
                raise
        while self._lines:
            lines = self._lines[:BATCH]
            await self._trail.append(lines)
            del self._lines[: len(lines)]

    async def close(self) -> None:
        """Write all that is left, for a limited time."""
        self._add(self._hosts.rest(self._clock.now()))
        with contextlib.suppress(CoditectError, TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self.flush()

    def stats(self) -> dict[str, int]:
        """Return counters and gauges."""
        by_rule = {f"refused_{rule}_total": count for rule, count in self._refused.items()}
        return {
            "sessions": len(self._known),
            "open": sum(len(session.ways) for session in self._known.values()),
            "connections_total": self._connections,
            "refused_total": self._refused.total(),
            "sent_bytes_total": self._sent,
            "received_bytes_total": self._received,
            "secrets_added_total": self._secrets,
            "audit_entries_lost_total": self._lost,
            "store_failures_total": self._failures,
            **by_rule,
        }

    def _sweep(self) -> None:
        """End connections that nothing has moved over for long, and forget sessions without any."""
        idle_since = asyncio.get_running_loop().time() - TUNNEL_IDLE_SECONDS
        unused_since = self._clock.monotonic() - _FORGET_SECONDS
        for session in list(self._known.values()):
            for way in list(session.ways):
                if way.active_at < idle_since:
                    way.end()
            if session.ways or session.counter.changed:
                session.used_at = self._clock.monotonic()
            elif session.used_at < unused_since:
                del self._known[session.session_id]
                self._turns.limit(session.session_id, None)

    def _note(self, session: Session, host: str, result: str) -> None:
        now = self._clock.now()
        self._add(self._hosts.note(session.session_id, session.user_id, host, result, now))

    def _add(self, lines: list[AuditEntry]) -> None:
        room = MAX_LINES - len(self._lines)
        self._lines += lines[:room]
        self._lost += len(lines[room:])

    def _day(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()
