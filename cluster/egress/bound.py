"""Looks up which secrets of a user the gateway adds to requests to a host.

The store is asked at most once a second for a user, once at a time, and whoever needs the answer shares it.
Values are opened for each request: what was taken back is added to nothing any more, and what nobody uses
stays sealed. While the store is away, what is known goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cachetools import TTLCache

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.environment import SecretRecord
from actors.core.tasks import Tasks
from cluster.egress import binding
from cluster.egress.binding import Bound
from cluster.egress.conversation import Refusal, Unreached

logger = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0
"""How long a lookup is waited for by those who can go on with what is known."""

_UNKNOWN_SECONDS = 10.0
_KEPT_SECONDS = 600.0
_MAX_BYTES = 32 << 20
_MAX_LOOKUPS = 10_000
_OVERHEAD = 1024
"""Bytes that a record takes beside its texts, about."""


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


@dataclass(frozen=True, slots=True)
class _Known:
    """What a user had bound when it was read, and was last seen to be in force. ``version`` -1: read anew."""

    version: int
    records: tuple[SecretRecord, ...]
    read_at: float
    seen_at: float

    @property
    def size(self) -> int:
        texts = sum(len(each.sealed) + len(each.host or "") for each in self.records)
        return texts + _OVERHEAD * (1 + len(self.records))


@dataclass(frozen=True, slots=True)
class _Lookup:
    task: asyncio.Task[_Known]
    begun_at: float


class _Locked(Exception):
    """A secret does not open; its name."""


class BoundSecrets:
    """The secrets of all users of a node. Belongs to one event loop; ``close`` it at the end."""

    def __init__(self, books: SecretBooks, clock: Clock) -> None:
        self._books = books
        self._clock = clock
        self._users: TTLCache[str, _Known] = TTLCache(
            _MAX_BYTES, _KEPT_SECONDS, clock.monotonic, lambda known: known.size
        )
        self._lookups: dict[str, _Lookup] = {}
        self._tasks = Tasks(limit=_MAX_LOOKUPS)

    async def at(self, user_id: str, host: str, port: int) -> Bound | None:
        """Return what a user has bound to a host. Raises Unreached, if nothing is known."""
        found = [
            each
            for each in await self._records(user_id)
            if each.binding is not None
            and each.host is not None
            and each.binding.place(each.host) == (host, port)
        ]
        https = any(each.binding is not None and each.binding.https for each in found)
        # Of two for one header, the newer one.
        chosen = {
            each.binding.header.lower(): each
            for each in sorted(found, key=lambda each: (each.updated_at, each.name))
            if each.binding is not None and each.binding.https == https
        }
        records = sorted(chosen.values(), key=lambda each: each.name)
        return Bound(host, port, https, tuple(records)) if records else None

    async def headers(self, user_id: str, bound: Bound) -> list[tuple[bytes, bytes]]:
        """Return the headers that a request gets. Raises Refusal for a secret that does not open.

        It may have been sealed anew, which is no new version: so it is looked up once more before.
        """
        try:
            return self._open(user_id, bound)
        except _Locked as error:
            if not self._suspect(user_id):
                raise _refusal(error) from None
        again = await self.at(user_id, bound.host, bound.port)
        if again is None or again.https != bound.https:
            raise Refusal("secret_gone", f"no secret is bound to {bound.host} any more")
        try:
            return self._open(user_id, again)
        except _Locked as error:
            raise _refusal(error) from None

    async def close(self) -> None:
        """End lookups."""
        await self._tasks.close()

    def _open(self, user_id: str, bound: Bound) -> list[tuple[bytes, bytes]]:
        found = []
        for record in bound.records:
            assert record.binding is not None, "what is bound has one"
            try:
                value = self._books.open(user_id, record)
            except CoditectError:
                raise _Locked(record.name) from None
            found.append(binding.header(record.binding, value))
        return found

    async def _records(self, user_id: str) -> tuple[SecretRecord, ...]:
        known = self._users.get(user_id)
        now = self._clock.monotonic()
        if known is not None and 0 <= now - known.seen_at < FRESH_SECONDS:
            return known.records
        lookup = self._lookups.get(user_id) or self._look_up(user_id, now)
        seconds = _UNKNOWN_SECONDS if known is None else PATIENCE_SECONDS
        left = lookup.begun_at + seconds - now
        if left > 0:
            await asyncio.wait({lookup.task}, timeout=left)
        if lookup.task.done():
            with contextlib.suppress(CoditectError):
                return lookup.task.result().records
        if known is None:
            raise Unreached("the server's store does not answer, and what is bound is not known")
        return known.records

    def _look_up(self, user_id: str, now: float) -> _Lookup:
        task = self._tasks.offer("bound secrets", self._look(user_id), awaited=True)
        if task is None:
            raise Unreached("too much is looked up at once")
        lookup = self._lookups[user_id] = _Lookup(task, now)
        task.add_done_callback(lambda _: self._lookups.pop(user_id, None))
        return lookup

    async def _look(self, user_id: str) -> _Known:
        now = self._clock.monotonic()
        try:
            found = await self._read(user_id, now)
        except CoditectError as error:
            known = self._users.get(user_id)
            if known is None:
                logger.warning("what %s has bound is not known: %s", user_id, error)
                raise
            found = replace(known, seen_at=self._clock.monotonic())
        if found.size <= _MAX_BYTES:
            self._users[user_id] = found
        return found

    async def _read(self, user_id: str, now: float) -> _Known:
        version = await self._books.user_version(user_id)
        if not version:
            return _Known(0, (), now, now)
        known = self._users.get(user_id)
        if known is not None and known.version == version:
            return replace(known, seen_at=now)
        version, records = await self._books.bound_secrets(user_id)
        return _Known(version, tuple(records), now, now)

    def _suspect(self, user_id: str) -> bool:
        """Have all of a user's read anew, whatever its version is; false when that was just done."""
        known, now = self._users.get(user_id), self._clock.monotonic()
        if known is not None and now - known.read_at < FRESH_SECONDS:
            return False
        if known is not None:
            self._users[user_id] = replace(known, version=-1, seen_at=float("-inf"))
        return True


def _refusal(locked: _Locked) -> Refusal:
    return Refusal("secret_locked", f"the secret {locked} does not open: set it anew")
