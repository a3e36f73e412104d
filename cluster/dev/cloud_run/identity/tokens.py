"""Access tokens and identity tokens, and the key that signs the latter."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from actors.core.ports.clock import Clock

ISSUER = "https://accounts.google.com"
_RENEW_SECONDS = 300.0
"""A metadata server hands out the token that it has until so long before its end."""
_KEPT = 10_000


def new_key() -> rsa.RSAPrivateKey:
    """Make a key that signs identity tokens. Takes tenths of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class InvalidToken(Exception):
    """A token that proves nothing; the argument says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What an identity token proves. ``audience`` is whom it was made for."""

    email: str
    audience: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token for the Admin API; ``expires_at`` is Unix time."""

    token: str
    email: str
    expires_at: float


class TokenIssuer:
    """Makes tokens and checks them. ``lifetime_seconds`` is how long one is good for.

    ``key`` signs identity tokens, a new one unless given. As a metadata server does, it answers with the
    token that it has as long as that is good for a while.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        lifetime_seconds: float = 3600.0,
        key: rsa.RSAPrivateKey | None = None,
    ) -> None:
        self._clock = clock
        self._lifetime = lifetime_seconds
        self._key = key or new_key()
        self._key_id = secrets.token_hex(8)
        self._access: OrderedDict[str, AccessToken] = OrderedDict()
        self._identities: OrderedDict[tuple[str, str, bool], tuple[str, float]] = OrderedDict()

    def now(self) -> float:
        """Return the time by which tokens end."""
        return self._clock.now()

    def access_token(self, email: str) -> AccessToken:
        """Return an access token of an account."""
        now = self._clock.now()
        for found in reversed(self._access.values()):
            if found.email == email and found.expires_at - now > self._margin:
                return found
        token = AccessToken(f"ya29.{secrets.token_urlsafe(48)}", email, now + self._lifetime)
        self._access[token.token] = token
        while len(self._access) > _KEPT:
            self._access.popitem(last=False)
        return token

    def caller(self, token: str) -> str:
        """Return whose access token this is. Raises InvalidToken."""
        found = self._access.get(token)
        if found is None:
            raise InvalidToken("ACCESS_TOKEN_TYPE_UNSUPPORTED")
        if found.expires_at <= self._clock.now():
            raise InvalidToken("ACCESS_TOKEN_EXPIRED")
        return found.email

    def revoke_access_tokens(self) -> None:
        """Let no access token be good any more; the next ones are new."""
        self._access.clear()

    def identity_token(
        self, email: str, audience: str, *, more: Mapping[str, Any] | None = None
    ) -> str:
        """Return a signed token that proves an account to an audience. ``more`` are further claims."""
        now = self._clock.now()
        key = (email, audience, more is not None)
        kept = self._identities.get(key)
        if kept is not None and kept[1] - now > self._margin:
            return kept[0]
        subject = str(int.from_bytes(email.encode()[:12].ljust(12, b"\0")) % 10**21)
        claims = {
            "aud": audience,
            "azp": subject,
            "email": email,
            "email_verified": True,
            "exp": int(now + self._lifetime),
            "iat": int(now),
            "iss": ISSUER,
            "sub": subject,
            **(more or {}),
        }
        token = jwt.encode(claims, self._key, "RS256", headers={"kid": self._key_id})
        self._identities[key] = (token, now + self._lifetime)
        while len(self._identities) > _KEPT:
            self._identities.popitem(last=False)
        return str(token)

    def identify(self, token: str) -> Identity:
        """Return what an identity token proves; its audience is yours to check. Raises InvalidToken."""
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                ["RS256"],
                issuer=ISSUER,
                options={
                    "require": ["exp", "iat", "aud", "email"],
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError as error:
            raise InvalidToken(str(error)) from error
        identity = Identity(str(claims["email"]), str(claims["aud"]), float(claims["exp"]))
        if identity.expires_at <= self._clock.now():
            raise InvalidToken("it has expired")
        return identity

    @property
    def _margin(self) -> float:
        return min(_RENEW_SECONDS, self._lifetime / 2)
