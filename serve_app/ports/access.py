"""Decides who may use a port, by what its owner said of it and by the visitor's pass."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache

from actors.core.errors.access import Unauthenticated
from actors.core.errors.requests import NotFound
from actors.core.ports.clock import Clock
from actors.core.records.ports import PortShare, PortShares, Visibility
from actors.core.records.sessions import Route, SessionRecord
from serve_app.auth.identity import Caller, Identity
from serve_app.auth.tokens import Login
from serve_app.dependencies import RefreshTokens, SessionReader
from serve_app.ports.passes import Pass
from serve_app.sessions.gateway import SessionGateway

KNOWN_SECONDS = 1.0
"""For so long a replica believes what it read of a session; changes of a share are in force then."""

_MAX_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """A session as the proxy sees it. ``route``: its container, if that is ready."""

    record: SessionRecord
    shares: PortShares
    route: Route | None


class PortAccess:
    """Belongs to one event loop. ``trusted_seconds``: how old a pass may be whose login is believed."""

    def __init__(
        self,
        ledger: SessionReader,
        gateway: SessionGateway,
        identity: Identity,
        tokens: RefreshTokens,
        clock: Clock,
        trusted_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._gateway = gateway
        self._identity = identity
        self._tokens = tokens
        self._clock = clock
        self._trusted_seconds = trusted_seconds
        self._known: LRUCache[str, tuple[Entry | None, float]] = LRUCache(_MAX_KNOWN)

    async def entry(self, session_id: str) -> Entry | None:
        """Return a session, at most ``KNOWN_SECONDS`` old; None for one that is not there."""
        now = self._clock.monotonic()
        known = self._known.get(session_id)
        if known is not None and now - known[1] < KNOWN_SECONDS:
            return known[0]
        try:
            _, shares = await self._ledger.shared_ports(session_id)
            record, route = await self._gateway.ready_route(session_id)
            entry = Entry(record, shares, route)
        except NotFound:
            entry = None
        self._known[session_id] = entry, now
        return entry

    def forget(self, session_id: str) -> None:
        """Read the session again at its next use."""
        self._known.pop(session_id, None)

    async def admits(self, entry: Entry, port: int, visitor: Pass | None) -> bool:
        """Return whether a visitor may use a port of a session."""
        share = entry.shares.of(port)
        if share.visibility is Visibility.PUBLIC:
            return True
        if visitor is None or (visitor.session_id, visitor.port) != (entry.record.session_id, port):
            return False
        if visitor.login is None:
            return visitor.links == share.links and self._clock.now() < visitor.expires_at
        return await self._admits_login(entry.record.user_id, share, visitor.login, visitor.made_at)

    async def _admits_login(
        self, owner_id: str, share: PortShare, login: Login, made_at: float
    ) -> bool:
        try:
            caller = await self._identity.of_login(login)
        except Unauthenticated:
            return False
        if not self.admits_caller(owner_id, share, caller):
            return False
        # Ends of logins are known for as long as access tokens live, which is shorter than cookies do.
        now = self._clock.now()
        trusted = now - made_at < self._trusted_seconds
        return trusted or await self._tokens.lives(login.family, now=now)

    @staticmethod
    def admits_caller(owner_id: str, share: PortShare, caller: Caller) -> bool:
        """Return whether somebody who is signed in may use a port."""
        if share.visibility is not Visibility.PRIVATE or caller.is_admin:
            return True
        return caller.user_id == owner_id
