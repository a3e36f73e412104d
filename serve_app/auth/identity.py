"""Identifies callers: bearer tokens for programs, cookies for browsers, tickets for browsers' sockets.

A cookie comes along with whatever page makes the browser send a request, so a cookie alone allows
only reading: a request that changes something must also carry an ``Origin`` of our own (RFC 6454;
browsers send it with every request that is not GET or HEAD). A socket is opened by a single-use
ticket, which no other page can have, or by a bearer token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cachetools import LRUCache

from actors.core.errors.access import PermissionDenied, Unauthenticated
from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.accounts import Role, UserRecord
from serve_app.auth.tokens import Claims, Login, Signer
from serve_app.dependencies import SpentTickets, Users
from serve_app.http.origins import Origins

SUBPROTOCOL = "coditect"
_BEARER_SUBPROTOCOL = "bearer."
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

KNOWN_SECONDS = 5.0
STALE_SECONDS = 60.0
MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has proved who they are, and by which login."""

    user: UserRecord
    login: Login

    @property
    def user_id(self) -> str:
        """The account's id."""
        return self.user.user_id

    @property
    def is_admin(self) -> bool:
        """True for administrators."""
        return self.user.role is Role.ADMIN


class Identity:
    """Identifies callers by what they send. Belongs to one event loop. ``over``: whether one has ended."""

    def __init__(
        self,
        signer: Signer,
        users: Users,
        tickets: SpentTickets,
        over: Callable[[Login], bool],
        clock: Clock,
        origins: Origins,
    ) -> None:
        self._signer = signer
        self._users = users
        self._tickets = tickets
        self._over = over
        self._clock = clock
        self._origins = origins
        self._known: LRUCache[str, tuple[UserRecord, float]] = LRUCache(MAX_KNOWN)

    async def of_request(
        self, method: str, scheme: str, headers: Mapping[str, str], cookies: Mapping[str, str]
    ) -> Caller:
        """Return who makes a request. Raises Unauthenticated, PermissionDenied for a foreign page."""
        token = bearer(headers)
        if token is None:
            names = self._origins.cookies(scheme, headers.get("host", ""))
            token = cookies.get(names.access)
            if not token:
                raise Unauthenticated
            if method not in SAFE_METHODS:
                self.require_own_origin(scheme, headers)
        return await self._caller(self._signer.read_access_token(token, self._clock.now()))

    async def of_socket(
        self,
        scheme: str,
        headers: Mapping[str, str],
        ticket: str | None,
        subprotocols: Sequence[str],
    ) -> Caller:
        """Return who opens a socket. Raises Unauthenticated, PermissionDenied for a foreign page."""
        if headers.get("origin") is not None:
            self.require_own_origin(scheme, headers)
        now = self._clock.now()
        token = bearer(headers) or next(
            (
                offered.removeprefix(_BEARER_SUBPROTOCOL)
                for offered in subprotocols
                if offered.startswith(_BEARER_SUBPROTOCOL)
            ),
            None,
        )
        if token is not None:
            return await self._caller(self._signer.read_access_token(token, now))
        if not ticket:
            raise Unauthenticated("a socket is opened with a ticket or a bearer token")
        claims = self._signer.read_ticket(ticket, now)
        caller = await self._caller(claims)
        if not await self._tickets.spend(claims.token_id, expires_at=claims.expires_at, now=now):
            raise Unauthenticated("the ticket was used before")
        return caller

    async def of_login(self, login: Login) -> Caller:
        """Return whose login it is, if it goes on. Raises Unauthenticated."""
        if self._over(login):
            raise Unauthenticated("signed out")
        user = await self._user(login)
        if user is None or not user.admits(login.family, login.generation):
            raise Unauthenticated("the account was changed or is not there; sign in again")
        return Caller(user, login)

    def require_own_origin(self, scheme: str, headers: Mapping[str, str]) -> None:
        """Raise PermissionDenied unless the page that makes the request is ours."""
        origin = headers.get("origin")
        if origin is None or origin == "null":
            raise PermissionDenied("a request with a cookie needs an Origin header")
        if not self._origins.admits(origin, scheme, headers.get("host", "")):
            raise PermissionDenied(
                "requests from another site; behind a proxy, public_url has to be the site's address"
            )

    def forget(self, user_id: str) -> None:
        """Look the account up again at its next request, since it was changed."""
        self._known.pop(user_id, None)

    async def _caller(self, claims: Claims) -> Caller:
        return await self.of_login(claims.login)

    async def _user(self, login: Login) -> UserRecord | None:
        """Return the account, at most ``KNOWN_SECONDS`` old, or older while the store is away."""
        now = self._clock.monotonic()
        user_id = login.user_id
        known = self._known.get(user_id)
        if known is not None and known[0].generation < login.generation:
            known = None  # what is known is from before the login
        if known is not None and now - known[1] < KNOWN_SECONDS:
            return known[0]
        try:
            user = await self._users.by_id(user_id)
        except CoditectError as error:
            if known is not None and error.retryable and now - known[1] < STALE_SECONDS:
                return known[0]
            raise
        self._known.pop(user_id, None)
        if user is not None:
            self._known[user_id] = (user, now)
        return user


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header (RFC 6750).

    None for any other scheme: it is between the browser and a proxy in front of us.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
