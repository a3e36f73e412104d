"""Owners' leases in the store; see ``actors/core/lease.py``. Every function takes a transaction."""

from __future__ import annotations

from actors.core import lease
from actors.core.errors.sessions import Fenced
from actors.core.records.sessions import SessionRecord
from cluster.store.layers.codec import decode_optional
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction


async def renew(tr: Transaction, keys: Keyspace, mine: SessionRecord, number: int) -> None:
    """Give the lease a new token, if the epoch and owner of ``mine`` still rule. Raises Fenced."""
    stored = decode_optional(SessionRecord, await tr.get(keys.sessions.key(mine.session_id)))
    if stored is None:
        raise Fenced(mine.session_id, mine.epoch, mine.epoch + 1)
    if stored.epoch != mine.epoch or stored.owner_actor_id != mine.owner_actor_id:
        raise Fenced(mine.session_id, mine.epoch, stored.epoch)
    tr.set(keys.leases.key(mine.session_id), str(number).encode())


async def token(tr: Transaction, keys: Keyspace, session_id: str) -> str:
    """Return what each renewal and each new epoch changes; of a session that is gone as well."""
    wanted = [keys.sessions.key(session_id), keys.leases.key(session_id)]
    session, renewal = await tr.get_many(wanted)
    record = decode_optional(SessionRecord, session)
    return lease.token(record.epoch if record else 0, int(renewal) if renewal else None)


async def is_still(tr: Transaction, keys: Keyspace, session_id: str, seen: str | None) -> bool:
    """Return whether the token is the one that was seen; always, when none needed to be seen."""
    return seen is None or await token(tr, keys, session_id) == seen
