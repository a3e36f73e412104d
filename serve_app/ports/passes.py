"""What lets a visitor use a port: tickets, cookies and links, all signed by the server.

=========  ==========================================  ==================================================
kind       who has it                                  how long
=========  ==========================================  ==================================================
ticket     the address to which the platform leads     30 s, once
cookie     the port's own origin, HttpOnly             a day; the login behind it has to go on
link       whoever was given it                        as its maker said, or until all of them are ended
=========  ==========================================  ==================================================

Each is of one port of one session and means nothing anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.core.errors.access import Unauthenticated
from serve_app.auth.tokens import Login, Signer

TICKET_SECONDS = 30.0
COOKIE_SECONDS = 86400.0
_TICKET, _COOKIE, _LINK = "port-ticket", "port-cookie", "port-link"


@dataclass(frozen=True, slots=True)
class Pass:
    """A visitor of a port: somebody who is signed in, or who came by a link of generation ``links``.

    ``base`` is the platform's address as they know it. Times are seconds since the Unix epoch.
    """

    session_id: str
    port: int
    login: Login | None = None
    links: int | None = None
    base: str = ""
    pass_id: str = ""
    made_at: float = 0.0
    expires_at: float = 0.0


class Passes:
    """Makes and reads passes."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def ticket(self, visitor: Pass, *, now: float) -> str:
        """Return what a visitor enters an origin with, once."""
        return self._sign(_TICKET, visitor, now, TICKET_SECONDS)

    def cookie(self, visitor: Pass, *, now: float) -> str:
        """Return what a visitor's browser keeps; a link's ends with the link."""
        left = COOKIE_SECONDS if visitor.login is not None else visitor.expires_at - now
        return self._sign(_COOKIE, visitor, now, left)

    def link(self, session_id: str, port: int, links: int, *, now: float, seconds: float) -> str:
        """Return what lets anybody in who has it."""
        return self._sign(_LINK, Pass(session_id, port, links=links), now, seconds)

    def read_ticket(self, token: str, now: float) -> Pass:
        """Return what a ticket says. Raises Unauthenticated; that it is unspent is not checked here."""
        return self._read(_TICKET, token, now)

    def read_cookie(self, token: str, now: float) -> Pass:
        """Return what a cookie says. Raises Unauthenticated."""
        return self._read(_COOKIE, token, now)

    def read_link(self, token: str, now: float) -> Pass:
        """Return what a link says. Raises Unauthenticated."""
        return self._read(_LINK, token, now)

    def base_of(self, token: str) -> str:
        """Return the platform's address from a cookie of any age; empty if it is none."""
        try:
            return self._read(_COOKIE, token, 0.0).base
        except Unauthenticated:
            return ""

    def _sign(self, kind: str, visitor: Pass, now: float, seconds: float) -> str:
        login = visitor.login
        claims: dict[str, Any] = {
            "sub": login.user_id if login else "",
            "session": visitor.session_id,
            "port": visitor.port,
            "iat": now,
        }
        if login is not None:
            claims |= {"family": login.family, "gen": login.generation, "base": visitor.base}
        else:
            claims["links"] = visitor.links
        return self._signer.statement(kind, now=now, ttl=seconds, **claims)

    def _read(self, kind: str, token: str, now: float) -> Pass:
        claims = self._signer.read_statement(kind, token, now)
        login = None
        if claims["sub"]:
            login = Login(str(claims["sub"]), str(claims["family"]), int(claims["gen"]))
        return Pass(
            session_id=str(claims["session"]),
            port=int(claims["port"]),
            login=login,
            links=None if login else int(claims["links"]),
            base=str(claims.get("base", "")),
            pass_id=str(claims["jti"]),
            made_at=float(claims["iat"]),
            expires_at=float(claims["exp"]),
        )
