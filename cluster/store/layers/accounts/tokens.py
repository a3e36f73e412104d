"""Refresh tokens: rotation with a short overlap, and the end of a whole family on reuse.

A presented token is traded for a successor. The same token again within the overlap (a lost
answer, two tabs at once) yields the *same* successor; after it, somebody else has a copy, and the
family is revoked (RFC 9700, section 4.14.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.access import TokenReused, Unauthenticated
from actors.core.records.accounts import RefreshTokenRecord
from cluster.store.engines.interface import Engine, KeyRange
from cluster.store.layers import changes
from cluster.store.layers.accounts.revocations import KEEP_SECONDS, EndedLogin, Ends
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact

_PRUNED_PER_CALL = 8
_EXPIRED_PER_CALL = 4


@dataclass(frozen=True, slots=True)
class Rotation:
    """The outcome of a rotation: the token that is valid now; ``repeated`` when it was made before.

    ``sealed_secret`` is the successor's secret, sealed by whoever made it under the old token.
    """

    token: RefreshTokenRecord
    sealed_secret: str | None
    repeated: bool


class TokenStore:
    """The refresh tokens of one tenant; each method is one transaction.

    ``keep_ended``: for how long the ends of logins are listed, at least as long as an access
    token lives.
    """

    def __init__(self, engine: Engine, tenant_id: str, *, keep_ended: float = KEEP_SECONDS) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)
        self._ends = Ends(self._keys, keep_ended)
        self._newest_end = self._keys.newest_changes.key(changes.ENDED_LOGINS)

    async def create(self, record: RefreshTokenRecord) -> None:
        """Keep the first token of a family."""

        async def work(tr: Transaction) -> None:
            self._put(tr, record)
            await self._remove_expired(tr, record.created_at)

        await transact(self._engine, work)

    async def get(self, token_id: str) -> RefreshTokenRecord | None:
        """Return a token's record."""

        async def work(tr: Transaction) -> RefreshTokenRecord | None:
            return await self._get(tr, token_id)

        return await transact(self._engine, work)

    async def rotate(
        self,
        token_id: str,
        successor: RefreshTokenRecord,
        *,
        sealed_secret: str,
        now: float,
        overlap_seconds: float,
    ) -> Rotation:
        """Trade a token, whose secret the caller has checked, for its successor.

        Raises Unauthenticated for one that is unknown, expired, revoked, or reused after the
        overlap; reuse revokes the family, in the same transaction.
        """

        async def work(tr: Transaction) -> Rotation | TokenReused | None:
            token = await self._get(tr, token_id)
            if token is None or token.revoked or now >= token.expires_at:
                return None
            if token.successor_id is not None and token.replaced_at is not None:
                known = await self._get(tr, token.successor_id)
                timely = now - token.replaced_at <= overlap_seconds
                if timely and known is not None and not known.revoked:
                    return Rotation(known, token.successor_secret, repeated=True)
                await self._revoke(tr, token.family_id, now)
                return TokenReused(token.user_id, token.family_id)
            replaced = token.model_copy(
                update={
                    "replaced_at": now,
                    "successor_id": successor.token_id,
                    "successor_secret": sealed_secret,
                }
            )
            self._put(tr, replaced)
            self._put(tr, successor)
            await self._prune(tr, token.family_id, now, overlap_seconds)
            await self._remove_expired(tr, now)
            return Rotation(successor, sealed_secret, repeated=False)

        rotation = await transact(self._engine, work)
        if isinstance(rotation, TokenReused):
            raise rotation
        if rotation is None:
            raise Unauthenticated("the refresh token is not valid any more; sign in again")
        return rotation

    async def revoke_family(self, family_id: str, *, now: float) -> None:
        """End a login: none of its tokens is valid any more. Idempotent."""

        async def work(tr: Transaction) -> None:
            await self._revoke(tr, family_id, now)

        await transact(self._engine, work)

    async def lives(self, family_id: str, *, now: float) -> bool:
        """Return whether a login goes on: whether any of its tokens can still be used."""

        async def work(tr: Transaction) -> bool:
            family = await self._family(tr, family_id)
            return any(not token.revoked and now < token.expires_at for token in family)

        return await transact(self._engine, work)

    async def ended_after(self, place: bytes | None) -> list[EndedLogin]:
        """Return a page of logins that ended after ``place``, in order; an empty one at the end."""
        return await transact(self._engine, self._ends.after, place)

    async def newest_end(self) -> bytes | None:
        """Return what every end of a login changes."""
        return (await self._engine.get_many([self._newest_end], None)).values[0]

    async def wait_for_end(self, newest: bytes | None, seconds: float) -> None:
        """Return when that is not ``newest`` any more, at the latest after some seconds."""
        await self._engine.watch(self._newest_end, newest, seconds)

    async def _get(self, tr: Transaction, token_id: str) -> RefreshTokenRecord | None:
        return decode_optional(
            RefreshTokenRecord, await tr.get(self._keys.refresh_tokens.key(token_id))
        )

    def _put(self, tr: Transaction, record: RefreshTokenRecord) -> None:
        tr.set(self._keys.refresh_tokens.key(record.token_id), encode(record))
        tr.set(self._keys.token_families.key(record.family_id, record.token_id), b"")
        tr.set(self._expiry(record), record.family_id.encode())

    def _remove(self, tr: Transaction, record: RefreshTokenRecord) -> None:
        tr.clear(self._keys.refresh_tokens.key(record.token_id))
        tr.clear(self._keys.token_families.key(record.family_id, record.token_id))
        tr.clear(self._expiry(record))

    def _expiry(self, record: RefreshTokenRecord) -> bytes:
        return self._keys.token_expiries.key(int(record.expires_at * 1000), record.token_id)

    async def _remove_expired(self, tr: Transaction, now: float) -> None:
        """Forget a few expired tokens of whatever family: most logins end without a word.

        More go than come, so that what has expired cannot pile up.
        """
        expiries = self._keys.token_expiries
        expired = KeyRange(expiries.range().begin, expiries.key(int(now * 1000)))
        found = await tr.get_range(expired, limit=_EXPIRED_PER_CALL, snapshot=True)
        for key, family_id in found:
            token_id = expiries.unpack(key)[1]
            tr.clear(key)
            tr.clear(self._keys.refresh_tokens.key(token_id))
            tr.clear(self._keys.token_families.key(family_id.decode(), token_id))

    async def _family(self, tr: Transaction, family_id: str) -> list[RefreshTokenRecord]:
        members = await tr.get_range(self._keys.token_families.range(family_id))
        ids = [self._keys.token_families.unpack(key)[1] for key, _ in members]
        found = await tr.get_many([self._keys.refresh_tokens.key(token_id) for token_id in ids])
        return [decode(RefreshTokenRecord, data) for data in found if data is not None]

    async def _revoke(self, tr: Transaction, family_id: str, now: float) -> None:
        live = [token for token in await self._family(tr, family_id) if not token.revoked]
        for token in live:
            self._put(tr, token.model_copy(update={"revoked": True}))
        if live:
            await self._ends.add_login(tr, live[0].user_id, family_id, now)

    async def _prune(
        self, tr: Transaction, family_id: str, now: float, overlap_seconds: float
    ) -> None:
        """Forget tokens that could only be refused: expired, or replaced longer ago than a day.

        A replaced one is kept for a day past the overlap so that its reuse is still noticed.
        """
        old = [
            token
            for token in await self._family(tr, family_id)
            if now >= token.expires_at
            or (token.replaced_at is not None and now - token.replaced_at > overlap_seconds + 86400)
        ]
        for token in old[:_PRUNED_PER_CALL]:
            self._remove(tr, token)
