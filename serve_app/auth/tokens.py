"""Signed statements of who somebody is: access tokens, and single-use tickets for sockets (RFC 7519).

Both are HS256 over the server's key. They differ in ``typ``, so that neither passes
for the other. A token is believed until it expires; that its login goes on and that the account is
still allowed in is checked by ``identity.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from actors.core.errors.access import Unauthenticated
from actors.core.records.accounts import Role

ALGORITHM = "HS256"
KEY_BYTES = 32
TICKET_SECONDS = 30.0
_ACCESS = "access"
_TICKET = "ticket"
_DEVICE = "device"
DEVICE_SECONDS = 365 * 86400.0
_MAX_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Login:
    """One login: ``family`` is its id, ``generation`` the account's when it began."""

    user_id: str
    family: str
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of a valid token. Times are seconds since the Unix epoch."""

    login: Login
    role: Role
    token_id: str
    expires_at: float


class Signer:
    """Issues and reads tokens of one tenant."""

    def __init__(self, key: bytes, tenant_id: str, new_id: Callable[[str], str]) -> None:
        self._key = key
        self._tenant_id = tenant_id
        self._new_id = new_id

    def access_token(self, login: Login, role: Role, *, now: float, ttl: float) -> str:
        """Return an access token of a login."""
        return self._sign(_ACCESS, login, role, now, ttl)

    def ticket(self, login: Login, role: Role, *, now: float) -> str:
        """Return a ticket, valid for ``TICKET_SECONDS`` and once."""
        return self._sign(_TICKET, login, role, now, TICKET_SECONDS)

    def device(self, account: str, device_id: str, *, now: float) -> str:
        """Return what proves that a device has signed in to an account; see ``throttle.account_digest``."""
        return self._encode(
            {"typ": _DEVICE, "sub": account, "jti": device_id, "exp": now + DEVICE_SECONDS}
        )

    def statement(self, kind: str, *, now: float, ttl: float, **claims: Any) -> str:
        """Return a signed statement of a kind of its own; ``claims`` need ``sub``."""
        return self._encode(claims | {"typ": kind, "jti": self._new_id("t"), "exp": now + ttl})

    def read_statement(self, kind: str, token: str, now: float) -> dict[str, Any]:
        """Return the claims of a statement of that kind. Raises Unauthenticated."""
        return self._checked(kind, token, now)

    def read_device(self, token: str, account: str, now: float) -> str:
        """Return the device's id; empty for one that proves nothing for this account."""
        try:
            claims = self._checked(_DEVICE, token, now)
        except Unauthenticated:
            return ""
        return str(claims["jti"]) if claims["sub"] == account else ""

    def read_access_token(self, token: str, now: float) -> Claims:
        """Return what a token says. Raises Unauthenticated."""
        return self._read(_ACCESS, token, now)

    def read_ticket(self, token: str, now: float) -> Claims:
        """Return what a ticket says. Raises Unauthenticated; that it is unspent is not checked here."""
        return self._read(_TICKET, token, now)

    def _sign(self, kind: str, login: Login, role: Role, now: float, ttl: float) -> str:
        claims = {
            "typ": kind,
            "sub": login.user_id,
            "role": role.value,
            "family": login.family,
            "gen": login.generation,
            "jti": self._new_id("t"),
            "iat": now,
            "exp": now + ttl,
        }
        return self._encode(claims)

    def _encode(self, claims: dict[str, Any]) -> str:
        token: str = jwt.encode(claims | {"tenant": self._tenant_id}, self._key, ALGORITHM)
        return token

    def _checked(self, kind: str, token: str, now: float) -> dict[str, Any]:
        claims = self._verified(token)
        if claims.get("typ") != kind or claims.get("tenant") != self._tenant_id:
            raise Unauthenticated("the token is not valid here")
        if now >= claims["exp"]:
            raise Unauthenticated("the token has expired")
        return claims

    def _read(self, kind: str, token: str, now: float) -> Claims:
        claims = self._checked(kind, token, now)
        return Claims(
            # A token of an earlier release has no generation: it is of the first one.
            login=Login(str(claims["sub"]), str(claims["family"]), int(claims.get("gen", 0))),
            role=Role(claims["role"]),
            token_id=str(claims["jti"]),
            expires_at=float(claims["exp"]),
        )

    def _verified(self, token: str) -> dict[str, Any]:
        # The clock is an argument, so the library checks the signature and we the time.
        options = {"verify_exp": False, "verify_iat": False, "require": ["exp", "sub", "jti"]}
        try:
            if len(token) > _MAX_TOKEN:
                raise Unauthenticated("the token is not valid")
            claims: dict[str, Any] = jwt.decode(
                token, self._key, algorithms=[ALGORITHM], options=options
            )
        except (jwt.PyJWTError, ValueError):
            raise Unauthenticated("the token is not valid") from None
        return claims
