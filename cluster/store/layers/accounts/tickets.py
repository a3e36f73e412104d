"""Single-use tickets that were spent, so that no replica of the ingress takes one twice."""

from __future__ import annotations

from cluster.store.engines.interface import Engine, KeyRange
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact


class TicketStore:
    """The spent tickets of one tenant; kept until they could not be used any more anyway."""

    def __init__(self, engine: Engine, tenant_id: str) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)

    async def spend(self, ticket_id: str, *, expires_at: float, now: float) -> bool:
        """Use a ticket; false if it was used before. Forgets those that have expired."""
        expires = int(expires_at * 1000)

        async def work(tr: Transaction) -> bool:
            key = self._keys.spent_tickets.key(expires, ticket_id)
            if await tr.get(key) is not None:
                return False
            tr.set(key, b"")
            past = self._keys.spent_tickets.key(int(now * 1000))
            tr.clear_range(KeyRange(self._keys.spent_tickets.range().begin, past))
            return True

        return now < expires_at and await transact(self._engine, work)
