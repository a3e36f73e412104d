"""The hold of a backup under way: while it stands no pack is removed. Every function takes a transaction.

A backup holds first and looks at the store then; a collector looks for dead packs first and for a hold
then. So a pack that the backup's copy of the store needs was not dead when the collector looked, or
the collector sees the hold.
"""

from __future__ import annotations

import json

from actors.core.errors.base import Busy
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction


async def hold(tr: Transaction, keys: Keyspace, backup_id: str, now: float, seconds: float) -> None:
    """Hold, or hold on, for some seconds from ``now``. Raises Busy while another backup holds."""
    standing = await _standing(tr, keys, now)
    if standing not in {None, backup_id}:
        raise Busy(f"backup {standing} is being made", 30.0)
    value = {"id": backup_id, "expires_at": now + seconds}
    tr.set(keys.backup_hold.key(), json.dumps(value).encode())


async def release(tr: Transaction, keys: Keyspace, backup_id: str) -> None:
    """Let go. Idempotent; another backup's hold stays."""
    data = await tr.get(keys.backup_hold.key())
    if data is not None and json.loads(data)["id"] == backup_id:
        tr.clear(keys.backup_hold.key())


async def held(tr: Transaction, keys: Keyspace, now: float) -> bool:
    """Return whether a backup holds."""
    return await _standing(tr, keys, now) is not None


async def _standing(tr: Transaction, keys: Keyspace, now: float) -> str | None:
    data = await tr.get(keys.backup_hold.key())
    if data is None:
        return None
    value = json.loads(data)
    return str(value["id"]) if float(value["expires_at"]) > now else None
