"""Accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from actors.core.errors.requests import AlreadyExists, NotFound, PreconditionFailed
from actors.core.quotas import Resource
from actors.core.records.accounts import Role, UserRecord
from cluster.emails import key_of, legacy_key
from cluster.store.engines.interface import Engine, KeyRange, key_after
from cluster.store.layers import usage
from cluster.store.layers.accounts.revocations import KEEP_SECONDS, Ends
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact


class UserStore:
    """The accounts of one tenant; each method is one transaction.

    ``keep_ended``: as for ``TokenStore``.
    """

    def __init__(self, engine: Engine, tenant_id: str, *, keep_ended: float = KEEP_SECONDS) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)
        self._ends = Ends(self._keys, keep_ended)

    async def create(self, record: UserRecord) -> UserRecord:
        """Add an account. Raises AlreadyExists for an address that has one."""

        async def work(tr: Transaction) -> UserRecord:
            email = self._keys.user_emails.key(key_of(record.email))
            if await tr.get(email) is not None:
                raise AlreadyExists("user", record.email)
            tr.set(email, record.user_id.encode())
            tr.set(self._keys.users.key(record.user_id), encode(record))
            return record

        return await transact(self._engine, work)

    async def by_id(self, user_id: str) -> UserRecord | None:
        """Return an account."""

        async def work(tr: Transaction) -> UserRecord | None:
            return decode_optional(UserRecord, await tr.get(self._keys.users.key(user_id)))

        return await transact(self._engine, work)

    async def by_email(self, email: str) -> UserRecord | None:
        """Return the account of an address, in whichever way it is written (``cluster.emails``)."""

        async def work(tr: Transaction) -> UserRecord | None:
            user_id = await tr.get(self._keys.user_emails.key(key_of(email)))
            if user_id is None:
                return None
            return decode_optional(UserRecord, await tr.get(self._keys.users.key(user_id.decode())))

        return await transact(self._engine, work)

    async def page(self, *, after: str | None = None, limit: int = 1000) -> list[UserRecord]:
        """Return accounts by id, after ``after``."""

        async def work(tr: Transaction) -> list[UserRecord]:
            begin, end = self._keys.users.range()
            if after is not None:
                begin = key_after(self._keys.users.key(after))
            pairs = await tr.get_range(KeyRange(begin, end), limit=limit, snapshot=True)
            return [decode(UserRecord, data) for _, data in pairs]

        return await transact(self._engine, work)

    async def find_by_prepared_addresses(self) -> list[UserRecord]:
        """Find accounts of an earlier release by the prepared forms of their addresses from now on.

        Return those that cannot be found any more, since another account has the same address.
        """
        hidden: list[UserRecord] = []
        after: str | None = None
        while page := await self.page(after=after):
            moving = [each for each in page if key_of(each.email) != legacy_key(each.email)]
            for record in moving:
                if not await transact(self._engine, self._move_address, record):
                    hidden.append(record)  # noqa: PERF401 - one after the other
            after = page[-1].user_id
        return hidden

    async def _move_address(self, tr: Transaction, record: UserRecord) -> bool:
        user_id = record.user_id.encode()
        key = self._keys.user_emails.key(key_of(record.email))
        old = self._keys.user_emails.key(legacy_key(record.email))
        if await tr.get(old) == user_id:
            tr.clear(old)
        elif await tr.get(key) == user_id:
            return True
        if await tr.get(key) is not None:
            return False
        tr.set(key, user_id)
        return True

    async def change(
        self,
        user_id: str,
        *,
        now: float,
        password_hash: str | None = None,
        role: Role | None = None,
        disabled: bool | None = None,
        kept_login: str | None = None,
        replacing: str | None = None,
    ) -> UserRecord:
        """Change what is given; the account's logins end with it, but ``kept_login`` goes on.

        ``replacing``: the password hash that is to be changed. Raises NotFound, PreconditionFailed
        when the hash is another one by now. What is so already changes nothing and ends nothing.
        """
        given = {"password_hash": password_hash, "role": role, "disabled": disabled}

        async def work(tr: Transaction) -> UserRecord:
            key = self._keys.users.key(user_id)
            record = decode_optional(UserRecord, await tr.get(key))
            if record is None:
                raise NotFound("user", user_id)
            if replacing is not None and record.password_hash != replacing:
                raise PreconditionFailed("password", "the one given", "another one")
            changes: dict[str, Any] = {
                name: value
                for name, value in given.items()
                if value is not None and value != getattr(record, name)
            }
            if not changes:
                return record
            changes |= {"generation": record.generation + 1, "kept_login": kept_login}
            changed = record.model_copy(update=changes)
            await self._ends.add_account(tr, user_id, changed.generation, kept_login, now)
            tr.set(key, encode(changed))
            return changed

        return await transact(self._engine, work)

    async def quotas(self, user_ids: Sequence[str]) -> list[dict[str, int]]:
        """Return the limits that each user has in place of the settings'."""

        async def work(tr: Transaction) -> list[dict[str, int]]:
            return await usage.overrides_of(tr, self._keys, user_ids)

        return await transact(self._engine, work)

    async def set_quotas(
        self, user_id: str, changes: Mapping[Resource, int | None]
    ) -> dict[str, int]:
        """Set limits (0: unlimited), take back those that are None; return all. Raises NotFound."""
        return await transact(self._engine, usage.override, self._keys, user_id, changes)
