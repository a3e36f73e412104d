"""The audit trail (ADR 10.4), in the order of the commits: keys are versionstamps."""

from __future__ import annotations

from collections.abc import Sequence

from actors.records import AuditEntry
from cluster.store.codec import decode, encode
from cluster.store.engine import Engine, MutationKind
from cluster.store.keyspace import Keyspace
from cluster.store.transaction import Transaction, transact

KEEP_SECONDS = 90 * 86400.0
_REMOVED_PER_ENTRY = 2


class AuditLog:
    """The trail of one tenant; what is older than ``keep_seconds`` makes room for what is added."""

    def __init__(
        self, engine: Engine, tenant_id: str, *, keep_seconds: float = KEEP_SECONDS
    ) -> None:
        self._engine = engine
        self._keep_seconds = keep_seconds
        self._keys = Keyspace(tenant_id)

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries, each in a transaction of its own, since a versionstamp is a commit's."""

        async def work(tr: Transaction, entry: AuditEntry) -> None:
            # Read first: FoundationDB refuses reads of where a versionstamp may come to stand (1036).
            oldest = await tr.get_range(
                self._keys.audit.range(), limit=_REMOVED_PER_ENTRY, snapshot=True
            )
            for kept_at, data in oldest:
                if decode(AuditEntry, data).at < entry.at - self._keep_seconds:
                    tr.clear(kept_at)
            key = self._keys.audit.stamped_key()
            tr.atomic(MutationKind.SET_VERSIONSTAMPED_KEY, key, encode(entry))

        for entry in entries:
            await transact(self._engine, work, entry)

    async def newest(self, limit: int = 100) -> list[AuditEntry]:
        """Return the newest entries, newest first."""

        async def work(tr: Transaction) -> list[AuditEntry]:
            pairs = await tr.get_range(
                self._keys.audit.range(), limit=limit, reverse=True, snapshot=True
            )
            return [decode(AuditEntry, data) for _, data in pairs]

        return await transact(self._engine, work)
