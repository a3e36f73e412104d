"""Users' environments as the ingress changes them and as containers get them: the store, and the keys."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from cachetools import LRUCache

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.quotas import Quotas
from actors.core.records.environment import (
    Binding,
    Environment,
    PreferencesRecord,
    SecretRecord,
    VariableRecord,
    size_of,
)
from cluster.secrets.keys import Place, SecretKeys, SecretLocked
from cluster.secrets.naming import check_name
from cluster.store.layers.accounts.environment import EnvironmentStore, Stored

logger = logging.getLogger(__name__)

LOCKED = "CODITECT_LOCKED_SECRETS"
"""In the environment of programs: the secrets that should be there and do not open, with commas between."""

_MAX_KNOWN = 20_000


class StoredEnvironments:
    """The environments of one tenant. Belongs to one event loop.

    ``load_keys`` reads the server's keys; it is called when a secret is sealed or opened, and raises
    Unavailable or InvalidArgument where there are none.
    """

    def __init__(
        self,
        store: EnvironmentStore,
        tenant_id: str,
        load_keys: Callable[[], SecretKeys],
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        self.store = store
        self._tenant_id = tenant_id
        self._load_keys = load_keys
        self._keys: SecretKeys | None = None
        self._clock = clock
        self._quotas = quotas
        self._users: LRUCache[str, str] = LRUCache(_MAX_KNOWN)

    # ---- what users set -------------------------------------------------------------------------

    async def put_variable(
        self, user_id: str, name: str, value: str
    ) -> tuple[VariableRecord, bool]:
        """Set a variable; return it, and whether it is new.

        Raises InvalidArgument, AlreadyExists (a secret has the name), QuotaExceeded.
        """
        now = self._clock.now()
        record = VariableRecord(name=check_name(name), value=value, created_at=now, updated_at=now)
        return await self.store.put_variable(user_id, record, self._quotas)

    async def put_secret(
        self,
        user_id: str,
        name: str,
        value: str,
        host: str | None,
        binding: Binding | None = None,
    ) -> tuple[SecretRecord, bool]:
        """Set a secret; return it, and whether it is new.

        Raises InvalidArgument, AlreadyExists (a variable has the name, or another secret is added to the same
        header), QuotaExceeded, Unavailable without a key.
        """
        now, keys = self._clock.now(), self._current_keys()
        place = Place(self._tenant_id, user_id, check_name(name), host, binding)
        record = SecretRecord(
            name=name,
            host=host,
            binding=binding,
            key_id=keys.current,
            sealed=keys.seal(value, place, secrets.token_bytes),
            size=size_of(name, value),
            created_at=now,
            updated_at=now,
        )
        return await self.store.put_secret(user_id, record, self._quotas)

    def is_locked(self, record: SecretRecord) -> bool:
        """Return whether the server lacks the key that a secret is sealed with."""
        try:
            return record.key_id not in self._keys_for(record.key_id).ids
        except CoditectError:
            return True

    def open(self, user_id: str, record: SecretRecord) -> str:
        """Return a secret's value. Raises SecretLocked, and Unavailable without a key."""
        return self._keys_for(record.key_id).open(
            record.key_id, record.sealed, self._place(user_id, record)
        )

    async def change_preferences(self, user_id: str, **changes: str | None) -> PreferencesRecord:
        """Change what is given of a user's preferences, and return all."""
        return await self.store.change_preferences(user_id, changes, self._clock.now())

    # ---- what programs get ----------------------------------------------------------------------

    async def version(self, session_id: str) -> int:
        """Return which version a session's programs are to have; see ``Environments``."""
        user_id = self._users.get(session_id)
        if user_id is None:
            return (await self._read(session_id)).version
        return await self.store.version(user_id)

    async def current(self, session_id: str) -> Environment:
        """Return what a session's programs are to find; see ``Environments``."""
        stored = await self._read(session_id)
        preferences = stored.preferences
        variables = {record.name: record.value for record in stored.variables}
        locked: list[str] = []
        for record in stored.secrets:
            if record.host is not None:
                continue
            try:
                variables[record.name] = self.open(stored.user_id, record)
            except CoditectError as error:
                locked.append(record.name)
                logger.warning("a secret of %s is left out: %s", stored.user_id, error)
        if locked:
            variables[LOCKED] = ",".join(locked)
        if preferences.time_zone is not None:
            variables["TZ"] = preferences.time_zone
        repository = preferences.dotfiles_repository if stored.dotfiles else None
        return Environment(stored.version, variables, preferences.shell, repository)

    async def user_version(self, user_id: str) -> int:
        """Return a number that every change of a user's raises; 0: nothing was ever set."""
        return await self.store.version(user_id)

    async def bound_secrets(self, user_id: str) -> tuple[int, list[SecretRecord]]:
        """Return the version, and the secrets that are added to requests, sealed."""
        return await self.store.bound_secrets(user_id)

    async def note_dotfiles(self, session_id: str) -> None:
        """Note that a session's workspace has had its dotfiles."""
        await self.store.note_dotfiles(session_id)

    async def _read(self, session_id: str) -> Stored:
        stored = await self.store.of_session(session_id)
        self._users[session_id] = stored.user_id
        return stored

    # ---- keys -----------------------------------------------------------------------------------

    async def reseal(self) -> tuple[int, int]:
        """Seal what older keys have sealed with the current one, so that they can go.

        Return how many were, and how many the server has no key for: those stay as they are. Raises
        Unavailable, InvalidArgument.
        """
        counts = await self.store.secret_keys()
        if not counts:
            return 0, 0
        keys = self._current_keys()
        locked = sum(count for key, count in counts.items() if key not in keys.ids)
        if not counts.keys() & {*keys.ids[1:]}:
            return 0, locked
        done, after = 0, None
        while page := await self.store.all_secrets(after):
            for user_id, record in page:
                done += await self._reseal(user_id, record, keys)
            after = (page[-1][0], page[-1][1].name)
        return done, locked

    async def _reseal(self, user_id: str, record: SecretRecord, keys: SecretKeys) -> bool:
        if record.key_id == keys.current:
            return False
        place = self._place(user_id, record)
        try:
            value = keys.open(record.key_id, record.sealed, place)
        except SecretLocked:
            return False
        sealed = keys.seal(value, place, secrets.token_bytes)
        new = record.model_copy(update={"key_id": keys.current, "sealed": sealed})
        return await self.store.reseal(user_id, record, new)

    def _place(self, user_id: str, record: SecretRecord) -> Place:
        return Place(self._tenant_id, user_id, record.name, record.host, record.binding)

    def _keys_for(self, key_id: str) -> SecretKeys:
        """Return the keys; they are read anew for one that is not known yet."""
        if self._keys is None or key_id not in self._keys.ids:
            self._keys = self._load_keys()
        return self._keys

    def _current_keys(self) -> SecretKeys:
        self._keys = self._keys or self._load_keys()
        return self._keys
