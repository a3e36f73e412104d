"""Refresh tokens: ``id.secret``, kept as a hash, traded for a successor with every use.

A browser with two tabs, or a client whose answer was lost, presents a token twice. Within a short
overlap both get the *same* successor. Its secret is kept for that, sealed under the token that was
presented: whoever reads the store learns no valid token, and who has the old one gets what they
would have got anyway. Later reuse means that a copy exists, and ends the whole login
(``cluster.store.layers.accounts.tokens``).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from actors.core.errors.access import Unauthenticated
from actors.core.records.accounts import RefreshTokenRecord
from serve_app.auth.tokens import Login
from serve_app.dependencies import RefreshTokens

SECRET_BYTES = 32
_MAX_TOKEN = 256
_REFUSED = "the refresh token is not valid any more; sign in again"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A valid token and the login it belongs to. ``repeated``: it had been given out before."""

    token: str
    login: Login
    repeated: bool = False


class RefreshTokenRotation:
    """Gives refresh tokens out and trades them."""

    def __init__(
        self,
        store: RefreshTokens,
        tenant_id: str,
        *,
        ttl: float,
        overlap: float,
        new_id: Callable[[str], str],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._ttl = ttl
        self._overlap = overlap
        self._new_id = new_id
        self._random_bytes = random_bytes

    def new_family(self) -> str:
        """Return the id of a new login."""
        return self._new_id("f")

    async def begin(self, login: Login, now: float) -> str:
        """Return the first token of a login."""
        record, token = self._make(login, now)
        await self._store.create(record)
        return token

    async def trade(self, presented: str, now: float) -> Refreshed:
        """Return the successor of a token. Raises Unauthenticated; reuse revokes the family."""
        old = await self._check(presented)
        successor, token = self._make(_login(old), now)
        _, secret = _split(token)
        _, old_secret = _split(presented)
        sealed = seal(secret, old_secret, successor.token_id)
        rotation = await self._store.rotate(
            old.token_id,
            successor,
            sealed_secret=sealed.hex(),
            now=now,
            overlap_seconds=self._overlap,
        )
        kept = rotation.token
        if rotation.repeated:
            if rotation.sealed_secret is None:
                raise Unauthenticated(_REFUSED)
            secret = seal(bytes.fromhex(rotation.sealed_secret), old_secret, kept.token_id)
        return Refreshed(
            _join(kept.token_id, secret),
            _login(kept),
            rotation.repeated,
        )

    async def login_of(self, presented: str) -> Login:
        """Return the login that a token belongs to. Raises Unauthenticated."""
        return _login(await self._check(presented))

    async def revoke_family(self, family_id: str, now: float) -> None:
        """End a login. Idempotent."""
        await self._store.revoke_family(family_id, now=now)

    async def _check(self, presented: str) -> RefreshTokenRecord:
        token_id, secret = _split(presented)
        record = await self._store.get(token_id)
        if record is None or not hmac.compare_digest(record.secret_hash, _hash(secret)):
            raise Unauthenticated(_REFUSED)
        return record

    def _make(self, login: Login, now: float) -> tuple[RefreshTokenRecord, str]:
        token_id, secret = self._new_id("r"), self._random_bytes(SECRET_BYTES)
        record = RefreshTokenRecord(
            token_id=token_id,
            tenant_id=self._tenant_id,
            family_id=login.family,
            user_id=login.user_id,
            generation=login.generation,
            secret_hash=_hash(secret),
            created_at=now,
            expires_at=now + self._ttl,
        )
        return record, _join(token_id, secret)


def seal(secret: bytes, under: bytes, successor_id: str) -> bytes:
    """Hide a secret under another, or uncover it: the same operation.

    A one-time pad: ``under`` is 256 random bits, and is used for one successor only.
    """
    pad = hmac.digest(under, b"successor " + successor_id.encode(), "sha256")
    return bytes(a ^ b for a, b in zip(secret, pad, strict=True))


def _login(record: RefreshTokenRecord) -> Login:
    return Login(record.user_id, record.family_id, record.generation)


def _hash(secret: bytes) -> str:
    """Return a secret's hash; 256 random bits cannot be guessed and need no slow one."""
    return hashlib.sha256(secret).hexdigest()


def _join(token_id: str, secret: bytes) -> str:
    return f"{token_id}.{secret.hex()}"


def _split(token: str) -> tuple[str, bytes]:
    token_id, _, secret = token.partition(".")
    try:
        decoded = bytes.fromhex(secret) if len(token) <= _MAX_TOKEN else b""
    except ValueError:
        decoded = b""
    if not token_id or not token.isascii() or len(decoded) != SECRET_BYTES:
        raise Unauthenticated(_REFUSED)
    return token_id, decoded
