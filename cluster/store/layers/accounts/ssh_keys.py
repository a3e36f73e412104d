"""Public keys with which accounts sign in by SSH.

A public key is no secret: whoever has seen it can add it to an account. So one key may be at several
accounts, and is looked up at the account that is to be signed in to, never the other way round.
"""

from __future__ import annotations

from actors.core.errors.limits import QuotaExceeded
from actors.core.errors.requests import AlreadyExists, NotFound
from actors.core.records.accounts import SshKeyRecord
from cluster.store.engines.interface import Engine
from cluster.store.layers.accounts.revocations import KEEP_SECONDS, Ends
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact

NOTED_EVERY_SECONDS = 60.0


class SshKeyStore:
    """The keys of one tenant's accounts; each method is one transaction.

    ``keep_ended``: as for ``TokenStore``.
    """

    def __init__(self, engine: Engine, tenant_id: str, *, keep_ended: float = KEEP_SECONDS) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)
        self._ends = Ends(self._keys, keep_ended)

    async def add(self, record: SshKeyRecord, *, limit: int) -> None:
        """Add a key to an account of fewer than ``limit``. Raises AlreadyExists, QuotaExceeded."""

        async def work(tr: Transaction) -> None:
            known = await self._of_user(tr, record.user_id)
            if any(each.fingerprint == record.fingerprint for each in known):
                raise AlreadyExists("SSH key", record.fingerprint)
            if len(known) >= limit:
                raise QuotaExceeded("ssh_keys", len(known), limit, 1)
            tr.set(self._key(record.user_id, record.fingerprint), encode(record))

        await transact(self._engine, work)

    async def of_user(self, user_id: str) -> list[SshKeyRecord]:
        """Return an account's keys, oldest first."""
        found = await transact(self._engine, self._of_user, user_id)
        return sorted(found, key=lambda record: (record.created_at, record.key_id))

    async def find(self, user_id: str, fingerprint: str) -> SshKeyRecord | None:
        """Return a key if the account has it."""

        async def work(tr: Transaction) -> SshKeyRecord | None:
            return decode_optional(SshKeyRecord, await tr.get(self._key(user_id, fingerprint)))

        return await transact(self._engine, work)

    async def note_use(self, user_id: str, fingerprint: str, *, now: float) -> None:
        """Note that somebody signed in with a key, once a minute at most; one that is gone is left out."""

        async def work(tr: Transaction) -> None:
            key = self._key(user_id, fingerprint)
            record = decode_optional(SshKeyRecord, await tr.get(key))
            if record is not None and now - (record.last_used_at or 0.0) >= NOTED_EVERY_SECONDS:
                tr.set(key, encode(record.model_copy(update={"last_used_at": now})))

        await transact(self._engine, work)

    async def remove(self, user_id: str, key_id: str, *, now: float) -> SshKeyRecord:
        """Take a key from an account, and end what was signed in by it. Raises NotFound."""

        async def work(tr: Transaction) -> SshKeyRecord:
            for record in await self._of_user(tr, user_id):
                if record.key_id == key_id:
                    tr.clear(self._key(user_id, record.fingerprint))
                    await self._ends.add_login(tr, user_id, key_id, now)
                    return record
            raise NotFound("SSH key", key_id)

        return await transact(self._engine, work)

    def _key(self, user_id: str, fingerprint: str) -> bytes:
        return self._keys.ssh_keys.key(user_id, fingerprint)

    async def _of_user(self, tr: Transaction, user_id: str) -> list[SshKeyRecord]:
        pairs = await tr.get_range(self._keys.ssh_keys.range(user_id))
        return [decode(SshKeyRecord, data) for _, data in pairs]
