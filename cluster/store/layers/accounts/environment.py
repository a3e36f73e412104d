"""What users set for their programs: variables, secrets (sealed), preferences; and which version all is of.

Every change raises the user's version in the same transaction: whoever starts a program compares one number
with what the container has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from actors.core.errors.requests import AlreadyExists, NotFound
from actors.core.quotas import Quotas, Resource
from actors.core.records.environment import PreferencesRecord, SecretRecord, VariableRecord
from actors.core.records.sessions import SessionRecord
from cluster.store.engines.interface import Engine, KeyRange, MutationKind, key_after
from cluster.store.layers import usage
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Directory, Keyspace
from cluster.store.transactions.transaction import Transaction, transact

R = TypeVar("R", VariableRecord, SecretRecord)
_ONE = (1).to_bytes(8, "little")
_LESS = (-1).to_bytes(8, "little", signed=True)
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything of a session's user, as of one moment. ``dotfiles``: they are yet to be installed there."""

    user_id: str
    version: int
    variables: tuple[VariableRecord, ...]
    secrets: tuple[SecretRecord, ...]
    preferences: PreferencesRecord
    dotfiles: bool


class EnvironmentStore:
    """The environments of one tenant's users; each method is one transaction."""

    def __init__(self, engine: Engine, tenant_id: str) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)

    # ---- variables ------------------------------------------------------------------------------

    async def variables(
        self, user_id: str, *, after: str | None = None, limit: int = 200
    ) -> list[VariableRecord]:
        """Return a page of a user's variables, by name."""
        return await self._page(self._keys.variables, VariableRecord, user_id, after, limit)

    async def variable(self, user_id: str, name: str) -> VariableRecord:
        """Return a variable. Raises NotFound."""
        return await self._get(self._keys.variables, VariableRecord, "variable", user_id, name)

    async def put_variable(
        self, user_id: str, record: VariableRecord, quotas: Quotas
    ) -> tuple[VariableRecord, bool]:
        """Set a variable; return it, and whether it is new. The same value again changes nothing.

        Raises AlreadyExists for a name that a secret has, QuotaExceeded.
        """

        async def work(tr: Transaction) -> tuple[VariableRecord, bool]:
            if await tr.get(self._keys.secrets.key(user_id, record.name)) is not None:
                raise AlreadyExists("secret", record.name)
            key = self._keys.variables.key(user_id, record.name)
            known = decode_optional(VariableRecord, await tr.get(key))
            if known is not None and known.value == record.value:
                return known, False
            return await self._put(tr, user_id, key, known, record, quotas), known is None

        return await transact(self._engine, work)

    async def delete_variable(self, user_id: str, name: str) -> None:
        """Take a variable back. Raises NotFound."""

        async def work(tr: Transaction) -> None:
            key = self._keys.variables.key(user_id, name)
            known = decode_optional(VariableRecord, await tr.get(key))
            if known is None:
                raise NotFound("variable", name)
            await self._drop(tr, user_id, key, known)

        await transact(self._engine, work)

    # ---- secrets --------------------------------------------------------------------------------

    async def secrets(
        self, user_id: str, *, after: str | None = None, limit: int = 200
    ) -> list[SecretRecord]:
        """Return a page of a user's secrets, by name."""
        return await self._page(self._keys.secrets, SecretRecord, user_id, after, limit)

    async def secret(self, user_id: str, name: str) -> SecretRecord:
        """Return a secret, sealed. Raises NotFound."""
        return await self._get(self._keys.secrets, SecretRecord, "secret", user_id, name)

    async def put_secret(
        self, user_id: str, record: SecretRecord, quotas: Quotas
    ) -> tuple[SecretRecord, bool]:
        """Set a secret; return it, and whether it is new.

        Raises AlreadyExists for a name that a variable has, and for a header that another secret is added
        to at the same host; QuotaExceeded.
        """

        async def work(tr: Transaction) -> tuple[SecretRecord, bool]:
            if await tr.get(self._keys.variables.key(user_id, record.name)) is not None:
                raise AlreadyExists("variable", record.name)
            await self._check_header(tr, user_id, record)
            key = self._keys.secrets.key(user_id, record.name)
            known = decode_optional(SecretRecord, await tr.get(key))
            self._count_keys(tr, known, record)
            return await self._put(tr, user_id, key, known, record, quotas), known is None

        return await transact(self._engine, work)

    async def bound_secrets(self, user_id: str) -> tuple[int, list[SecretRecord]]:
        """Return the version of a user's environment, and the secrets that are added to requests."""

        async def work(tr: Transaction) -> tuple[int, list[SecretRecord]]:
            version = _number(await tr.get(self._keys.environments.key(user_id), snapshot=True))
            every = await self._all(tr, self._keys.secrets, SecretRecord, user_id)
            return version, [each for each in every if each.binding is not None]

        return await transact(self._engine, work)

    async def delete_secret(self, user_id: str, name: str) -> None:
        """Forget a secret. Raises NotFound."""

        async def work(tr: Transaction) -> None:
            key = self._keys.secrets.key(user_id, name)
            known = decode_optional(SecretRecord, await tr.get(key))
            if known is None:
                raise NotFound("secret", name)
            self._count_keys(tr, known, None)
            await self._drop(tr, user_id, key, known)

        await transact(self._engine, work)

    async def secret_keys(self) -> dict[str, int]:
        """Return the ids of the keys that secrets are sealed with, and how many each."""

        async def work(tr: Transaction) -> dict[str, int]:
            pairs = await tr.get_range(self._keys.secret_keys.range(), snapshot=True)
            counts = {str(self._keys.secret_keys.unpack(key)[0]): _number(n) for key, n in pairs}
            return {key: count for key, count in counts.items() if count > 0}

        return await transact(self._engine, work)

    async def all_secrets(
        self, after: tuple[str, str] | None = None
    ) -> list[tuple[str, SecretRecord]]:
        """Return a page of the secrets of all users, by user and name, with whose each is."""

        async def work(tr: Transaction) -> list[tuple[str, SecretRecord]]:
            begin, end = self._keys.secrets.range()
            if after is not None:
                begin = key_after(self._keys.secrets.key(*after))
            pairs = await tr.get_range(KeyRange(begin, end), limit=_PAGE, snapshot=True)
            return [
                (str(self._keys.secrets.unpack(key)[0]), decode(SecretRecord, data))
                for key, data in pairs
            ]

        return await transact(self._engine, work)

    async def reseal(self, user_id: str, old: SecretRecord, new: SecretRecord) -> bool:
        """Keep a secret sealed with another key; false when it has changed meanwhile."""

        async def work(tr: Transaction) -> bool:
            key = self._keys.secrets.key(user_id, old.name)
            if decode_optional(SecretRecord, await tr.get(key)) != old:
                return False
            self._count_keys(tr, old, new)
            tr.set(key, encode(new))
            return True

        return await transact(self._engine, work)

    # ---- preferences ----------------------------------------------------------------------------

    async def preferences(self, user_id: str) -> PreferencesRecord:
        """Return what a user prefers."""

        async def work(tr: Transaction) -> PreferencesRecord:
            data = await tr.get(self._keys.preferences.key(user_id))
            return decode_optional(PreferencesRecord, data) or PreferencesRecord()

        return await transact(self._engine, work)

    async def change_preferences(
        self, user_id: str, changes: Mapping[str, Any], now: float
    ) -> PreferencesRecord:
        """Change some fields of a user's preferences, and return all."""

        async def work(tr: Transaction) -> PreferencesRecord:
            key = self._keys.preferences.key(user_id)
            known = decode_optional(PreferencesRecord, await tr.get(key)) or PreferencesRecord()
            changed = known.model_copy(update=dict(changes))
            if changed.dotfiles_repository != known.dotfiles_repository:
                changed = changed.model_copy(update={"dotfiles_since": now})
            if changed != known:
                tr.set(key, encode(changed))
                self._raise_version(tr, user_id)
            return changed

        return await transact(self._engine, work)

    # ---- what programs get ----------------------------------------------------------------------

    async def version(self, user_id: str) -> int:
        """Return the version of a user's environment; 0: nothing was ever set."""

        async def work(tr: Transaction) -> int:
            return _number(await tr.get(self._keys.environments.key(user_id), snapshot=True))

        return await transact(self._engine, work)

    async def of_session(self, session_id: str) -> Stored:
        """Return what the programs of a session are to find. Raises NotFound."""
        keys = self._keys

        async def work(tr: Transaction) -> Stored:
            data, had = await tr.get_many(
                [keys.sessions.key(session_id), keys.dotfiles.key(session_id)], snapshot=True
            )
            if data is None:
                raise NotFound("session", session_id)
            session = decode(SessionRecord, data)
            user_id = session.user_id
            version, preferred = await tr.get_many(
                [keys.environments.key(user_id), keys.preferences.key(user_id)], snapshot=True
            )
            preferences = decode_optional(PreferencesRecord, preferred) or PreferencesRecord()
            is_new = session.created_at >= preferences.dotfiles_since
            pending = preferences.dotfiles_repository is not None and is_new and had is None
            if not _number(version):
                return Stored(user_id, 0, (), (), preferences, pending)
            return Stored(
                user_id,
                _number(version),
                tuple(await self._all(tr, keys.variables, VariableRecord, user_id)),
                tuple(await self._all(tr, keys.secrets, SecretRecord, user_id)),
                preferences,
                pending,
            )

        return await transact(self._engine, work)

    async def note_dotfiles(self, session_id: str) -> None:
        """Note that a session's workspace has had its dotfiles: it gets none again."""

        async def work(tr: Transaction) -> None:
            if await tr.get(self._keys.sessions.key(session_id)) is not None:
                tr.set(self._keys.dotfiles.key(session_id), b"")

        await transact(self._engine, work)

    # ---- parts of transactions ------------------------------------------------------------------

    async def _check_header(self, tr: Transaction, user_id: str, record: SecretRecord) -> None:
        """Raise AlreadyExists when a request would have to carry two secrets in one header."""
        if record.binding is None or record.host is None:
            return
        place = record.binding.place(record.host)
        for other in await self._all(tr, self._keys.secrets, SecretRecord, user_id, snapshot=False):
            if (
                other.binding is not None
                and other.host is not None
                and other.name != record.name
                and other.binding.place(other.host) == place
                and other.binding.https == record.binding.https
                and other.binding.header.lower() == record.binding.header.lower()
            ):
                raise AlreadyExists("secret of this header", other.name)

    async def _all(
        self,
        tr: Transaction,
        directory: Directory,
        kind: type[R],
        user_id: str,
        *,
        snapshot: bool = True,
    ) -> list[R]:
        found: list[R] = []
        begin, end = directory.range(user_id)
        while True:
            pairs = await tr.get_range(KeyRange(begin, end), limit=_PAGE, snapshot=snapshot)
            found += [decode(kind, data) for _, data in pairs]
            if len(pairs) < _PAGE:
                return found
            begin = key_after(pairs[-1][0])

    async def _page(
        self, directory: Directory, kind: type[R], user_id: str, after: str | None, limit: int
    ) -> list[R]:
        async def work(tr: Transaction) -> list[R]:
            begin, end = directory.range(user_id)
            if after is not None:
                begin = key_after(directory.key(user_id, after))
            pairs = await tr.get_range(KeyRange(begin, end), limit=limit, snapshot=True)
            return [decode(kind, data) for _, data in pairs]

        return await transact(self._engine, work)

    async def _get(
        self, directory: Directory, kind: type[R], called: str, user_id: str, name: str
    ) -> R:
        async def work(tr: Transaction) -> R:
            data = await tr.get(directory.key(user_id, name))
            if data is None:
                raise NotFound(called, name)
            return decode(kind, data)

        return await transact(self._engine, work)

    async def _put(
        self, tr: Transaction, user_id: str, key: bytes, known: R | None, record: R, quotas: Quotas
    ) -> R:
        growth = {
            Resource.VARIABLES: int(known is None),
            Resource.VARIABLE_BYTES: record.size - (known.size if known else 0),
        }
        await usage.take(tr, self._keys, user_id, growth, quotas)
        if known is not None:
            record = record.model_copy(update={"created_at": known.created_at})
        tr.set(key, encode(record))
        self._raise_version(tr, user_id)
        return record

    async def _drop(
        self, tr: Transaction, user_id: str, key: bytes, known: VariableRecord | SecretRecord
    ) -> None:
        less = {Resource.VARIABLES: -1, Resource.VARIABLE_BYTES: -known.size}
        await usage.take(tr, self._keys, user_id, less, Quotas())
        tr.clear(key)
        self._raise_version(tr, user_id)

    def _raise_version(self, tr: Transaction, user_id: str) -> None:
        tr.atomic(MutationKind.ADD, self._keys.environments.key(user_id), _ONE)

    def _count_keys(
        self, tr: Transaction, old: SecretRecord | None, new: SecretRecord | None
    ) -> None:
        for record, operand in ((old, _LESS), (new, _ONE)):
            if record is not None:
                tr.atomic(MutationKind.ADD, self._keys.secret_keys.key(record.key_id), operand)


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "little", signed=True)
