"""Answers of calls made before, so that the same call again gets the same answer."""

from __future__ import annotations

import hashlib

from cluster.store.engines.interface import KeyRange
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction

LIFE_SECONDS = 24 * 3600.0
MAX_KEY_CHARACTERS = 200
_EXPIRED_PER_CALL = 2


def place(keys: Keyspace, key: str) -> bytes:
    """Return where the answer to this key is kept; a long key is kept by its digest."""
    if len(key) > MAX_KEY_CHARACTERS:
        key = hashlib.blake2b(key.encode(), digest_size=32).hexdigest()
    return keys.idempotency.key(key)


async def recall(tr: Transaction, keys: Keyspace, key: str) -> bytes | None:
    """Return what was answered under this key."""
    return await tr.get(place(keys, key))


async def remember(tr: Transaction, keys: Keyspace, key: str, answer: bytes, now: float) -> None:
    """Keep an answer for a day; removes a few that are older."""
    kept_at = place(keys, key)
    tr.set(kept_at, answer)
    tr.set(keys.idempotency_ages.key(int(now * 1000), *keys.idempotency.unpack(kept_at)), b"")
    ages = keys.idempotency_ages
    expired = KeyRange(ages.range().begin, ages.key(int((now - LIFE_SECONDS) * 1000)))
    for age, _ in await tr.get_range(expired, limit=_EXPIRED_PER_CALL, snapshot=True):
        tr.clear(age)
        tr.clear(keys.idempotency.key(ages.unpack(age)[1]))
