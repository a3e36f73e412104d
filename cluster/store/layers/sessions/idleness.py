"""Keeps why sessions are awake, and their owners' vetoes. Every function takes a transaction.

Whoever samples the containers and whoever takes a veto write the same record: each keeps what is the
other's.
"""

from __future__ import annotations

from actors.core.errors.requests import NotFound
from actors.core.records.idleness import Idleness
from cluster.store.layers.codec import decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction


async def get(tr: Transaction, keys: Keyspace, session_id: str) -> Idleness | None:
    """Return what is known of a session."""
    return decode_optional(Idleness, await tr.get(keys.idleness.key(session_id)))


async def record(tr: Transaction, keys: Keyspace, seen: Idleness) -> Idleness | None:
    """Write what was seen, with the veto that stands; None when the session is gone."""
    session, _ = await tr.get_many(
        [keys.sessions.key(seen.session_id), keys.idleness.key(seen.session_id)]
    )
    if session is None:
        return None
    known = await get(tr, keys, seen.session_id)
    veto = known.keep_awake_until if known is not None else None
    written = seen.model_copy(update={"keep_awake_until": veto})
    tr.set(keys.idleness.key(seen.session_id), encode(written))
    return written


async def keep_awake(
    tr: Transaction, keys: Keyspace, session_id: str, until: float | None, now: float
) -> Idleness:
    """Set the veto, or take it back. Raises NotFound."""
    if await tr.get(keys.sessions.key(session_id)) is None:
        raise NotFound("session", session_id)
    known = await get(tr, keys, session_id) or Idleness(session_id=session_id)
    written = known.model_copy(update={"keep_awake_until": until, "updated_at": now})
    tr.set(keys.idleness.key(session_id), encode(written))
    return written
