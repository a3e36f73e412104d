"""Keeps what sessions may reach, and what they did there."""

from __future__ import annotations

from collections.abc import Sequence

from actors.core.errors.requests import NotFound
from actors.core.records.egress import EgressUse, NetworkRecord
from cluster.store.engines.interface import Engine
from cluster.store.layers import changes
from cluster.store.layers.changes import StoreFeed
from cluster.store.layers.codec import decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact

MAX_BATCH = 64


class NetworkStore:
    """Networks of one tenant's sessions."""

    def __init__(self, engine: Engine, tenant_id: str) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)

    async def get(self, session_id: str) -> tuple[NetworkRecord | None, EgressUse | None]:
        """Return what a session's owner chose, and what it did."""

        async def work(tr: Transaction) -> tuple[NetworkRecord | None, EgressUse | None]:
            keys = self._keys.networks.key(session_id), self._keys.egress_use.key(session_id)
            chosen, used = await tr.get_many(list(keys))
            return decode_optional(NetworkRecord, chosen), decode_optional(EgressUse, used)

        return await transact(self._engine, work)

    async def put(self, record: NetworkRecord) -> None:
        """Keep a choice, which gateways learn at once. Raises NotFound."""

        async def work(tr: Transaction) -> None:
            if await tr.get(self._keys.sessions.key(record.session_id)) is None:
                raise NotFound("session", record.session_id)
            tr.set(self._keys.networks.key(record.session_id), encode(record))
            changes.note(tr, self._keys, changes.NETWORKS, record.session_id)

        await transact(self._engine, work)

    async def note_use(self, used: Sequence[EgressUse]) -> None:
        """Keep what at most ``MAX_BATCH`` sessions did; those that have ended are left out."""

        async def work(tr: Transaction) -> None:
            keys = [self._keys.sessions.key(use.session_id) for use in used]
            for use, session in zip(used, await tr.get_many(keys), strict=True):
                if session is not None:
                    tr.set(self._keys.egress_use.key(use.session_id), encode(use))

        await transact(self._engine, work)

    def feed(self) -> StoreFeed[NetworkRecord]:
        """Return all choices as a feed."""
        keys = self._keys
        return StoreFeed(self._engine, keys, changes.NETWORKS, keys.networks, NetworkRecord)
