"""Which secrets of a user the gateway adds to requests to a host.

Looked up in the store at most once a second for a user, and opened for each request: what was taken back is
added to nothing any more, and what nobody uses stays sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cachetools import LRUCache

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.environment import SecretRecord
from cluster.egress import binding
from cluster.egress.binding import Bound
from cluster.egress.conversation import Refusal

FRESH_SECONDS = 1.0
_MAX_KNOWN = 20_000


class SecretBooks(Protocol):
    """What is kept of users' secrets: ``cluster.secrets.environments.StoredEnvironments``."""

    async def user_version(self, user_id: str) -> int:
        """Return a number that every change raises; 0: nothing was ever set."""
        ...

    async def bound_secrets(self, user_id: str) -> tuple[int, Sequence[SecretRecord]]:
        """Return the version, and the secrets that are added to requests, sealed."""
        ...

    def open(self, user_id: str, record: SecretRecord) -> str:
        """Return a secret's value. Raises CoditectError for one that does not open."""
        ...


@dataclass(slots=True)
class _Known:
    version: int
    records: tuple[SecretRecord, ...]
    seen_at: float


class BoundSecrets:
    """The secrets of all users of a node. Belongs to one event loop."""

    def __init__(self, books: SecretBooks, clock: Clock) -> None:
        self._books = books
        self._clock = clock
        self._users: LRUCache[str, _Known] = LRUCache(_MAX_KNOWN)

    async def at(self, user_id: str, host: str, port: int) -> Bound | None:
        """Return what a user has bound to a host. Raises what the store raises, if nothing is known yet."""
        found = [
            each
            for each in await self._records(user_id)
            if each.binding is not None
            and each.host is not None
            and binding.place(each.host, https=each.binding.https) == (host, port)
        ]
        https = any(each.binding is not None and each.binding.https for each in found)
        records = [each for each in found if each.binding and each.binding.https == https]
        return Bound(https, tuple(records)) if records else None

    def headers(self, user_id: str, bound: Bound) -> list[tuple[bytes, bytes]]:
        """Return the headers that a request gets. Raises Refusal for a secret that does not open."""
        found = []
        for record in bound.records:
            assert record.binding is not None, "what is bound has one"
            try:
                value = self._books.open(user_id, record)
            except CoditectError:
                words = f"the secret {record.name} does not open: set it anew"
                raise Refusal("secret_locked", words) from None
            found.append(binding.header(record.binding, value))
        return found

    async def _records(self, user_id: str) -> tuple[SecretRecord, ...]:
        known = self._users.get(user_id)
        now = self._clock.monotonic()
        if known is not None and now - known.seen_at < FRESH_SECONDS:
            return known.records
        try:
            known = await self._look(user_id, known, now)
        except CoditectError:
            if known is None:
                raise
        self._users[user_id] = known
        return known.records

    async def _look(self, user_id: str, known: _Known | None, now: float) -> _Known:
        version = await self._books.user_version(user_id)
        if version and (known is None or version != known.version):
            version, records = await self._books.bound_secrets(user_id)
            return _Known(version, tuple(records), now)
        return _Known(version, known.records if known is not None and version else (), now)
