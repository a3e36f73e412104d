"""Secrets of the server itself, such as the one that signs access tokens."""

from __future__ import annotations

from collections.abc import Callable

from cluster.store.engines.interface import Engine
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact


class KeyStore:
    """Named secrets of one tenant."""

    def __init__(self, engine: Engine, tenant_id: str) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)

    async def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the secret of that name; the first caller's is kept for all."""
        fresh = make()

        async def work(tr: Transaction) -> bytes:
            key = self._keys.server_keys.key(name)
            known = await tr.get(key)
            if known is None:
                tr.set(key, fresh)
            return known or fresh

        return await transact(self._engine, work)
