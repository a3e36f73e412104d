"""When people last used a session, beside its record: it is written without an owner. Takes transactions."""

from __future__ import annotations

import json
from collections.abc import Sequence

from actors.core.records.sessions import SessionActivity, SessionRecord
from cluster.store.layers.codec import decode_optional
from cluster.store.layers.entries import ManifestHead
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction


async def note(tr: Transaction, keys: Keyspace, session_ids: Sequence[str], now: float) -> None:
    """Note that sessions were used at a Unix time; those that have ended are left out."""
    found = await tr.get_many([keys.sessions.key(session_id) for session_id in session_ids])
    for session_id, record in zip(session_ids, found, strict=True):
        if record is not None:
            tr.set(keys.activity.key(session_id), json.dumps(now).encode())


async def of_sessions(
    tr: Transaction, keys: Keyspace, records: Sequence[SessionRecord]
) -> list[SessionActivity]:
    """Return what each session was used for last, in their order. Snapshot reads."""
    wanted = [keys.activity.key(record.session_id) for record in records]
    wanted += [keys.manifests.key(record.workspace_id) for record in records]
    found = await tr.get_many(wanted, snapshot=True)
    times, heads = found[: len(records)], found[len(records) :]
    return [
        SessionActivity(
            save_version=(decode_optional(ManifestHead, head) or ManifestHead()).version,
            last_activity=max(record.last_activity, json.loads(at) if at else 0.0),
        )
        for record, at, head in zip(records, times, heads, strict=True)
    ]
