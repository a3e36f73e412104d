"""Transactions over an engine: reads of one version, own writes seen, conflicts at commit.

A unit of work is a coroutine function that takes the transaction first. It may run more than once
and must have no side effect; ``transact`` retries it on conflict::

    async def rename(tr: Transaction, user_id: str, name: str) -> None:
        record = await users.get(tr, user_id)
        users.put(tr, record.model_copy(update={"name": name}))

    await transact(engine, rename, user_id, name)
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.store import CommitUnknown
from cluster.store.engines import atomic
from cluster.store.engines.interface import (
    Commit,
    Engine,
    KeyRange,
    Mutation,
    MutationKind,
    key_after,
)
from cluster.store.transactions.overlay import Overlay

P = ParamSpec("P")
T = TypeVar("T")

FIRST_BACKOFF_SECONDS = 0.005
MAX_BACKOFF_SECONDS = 0.5
PAGE = 10_000
KEYS_AT_ONCE = 500
"""Even when each has the largest value, the answer fits a frame of ``cluster.store.remote.wire``."""


class Transaction:
    """One attempt of a unit of work. Not for concurrent use by several tasks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read_version: int | None = None
        self._assumed: int | None = None
        self.committed_version: int | None = None
        self._read_conflicts: list[KeyRange] = []
        self._write_conflicts: list[KeyRange] = []
        self._mutations: list[Mutation] = []
        self._overlay = Overlay()
        self._cache: dict[bytes, bytes | None] = {}

    async def read_version(self) -> int:
        """Return the version at which this transaction reads."""
        if self._read_version is None:
            self._read_version = (await self._engine.get_many([], None)).version
        return self._read_version

    async def get(self, key: bytes, *, snapshot: bool = False) -> bytes | None:
        """Return a key's value or None; ``snapshot`` reads do not conflict."""
        return (await self.get_many([key], snapshot=snapshot))[0]

    async def get_many(
        self, keys: Sequence[bytes], *, snapshot: bool = False
    ) -> list[bytes | None]:
        """Return several values, in one round trip for each ``KEYS_AT_ONCE``."""
        missing = [key for key in keys if self._overlay.needs_base(key) and key not in self._cache]
        for begin in range(0, len(missing), KEYS_AT_ONCE):
            portion = missing[begin : begin + KEYS_AT_ONCE]
            answer = await self._engine.get_many(portion, self._read_version)
            self._read_version = answer.version
            self._cache.update(zip(portion, answer.values, strict=True))
        if not snapshot:
            self._read_conflicts.extend(
                KeyRange(key, key_after(key)) for key in keys if self._overlay.needs_base(key)
            )
        return [self._overlay.value(key, self._cache.get(key)) for key in keys]

    async def get_range(
        self, span: KeyRange, *, limit: int = PAGE, reverse: bool = False, snapshot: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Return at most ``limit`` pairs of a range, own writes included.

        Only the part that was looked at conflicts, up to the last pair when the limit cut it, and
        of that only what own writes do not decide.
        """
        begin, end = span
        found: list[tuple[bytes, bytes]] = []
        while begin < end and len(found) < limit:
            page = KeyRange(begin, end)
            answer = await self._engine.get_range(
                page, self._read_version, limit=min(limit, PAGE), reverse=reverse
            )
            self._read_version = answer.version
            if answer.more:
                last = answer.pairs[-1][0]
                page = KeyRange(last, end) if reverse else KeyRange(begin, key_after(last))
            found += self._overlay.merge(answer.pairs, page, reverse=reverse)
            begin, end = (begin, page.begin) if reverse else (page.end, end)
            if not answer.more:
                break
        found = found[:limit]
        if not snapshot:
            seen = span
            if len(found) == limit and found:
                last = found[-1][0]
                seen = (
                    KeyRange(last, span.end) if reverse else KeyRange(span.begin, key_after(last))
                )
            self._read_conflicts.extend(self._overlay.needed_base(seen))
        return found

    async def last_of(self, spans: Sequence[KeyRange]) -> list[tuple[bytes, bytes] | None]:
        """Return the last pair of each range, own writes included, asked for at once. Never conflicts."""
        await self.read_version()
        asked = (self.get_range(span, limit=1, reverse=True, snapshot=True) for span in spans)
        return [pairs[0] if pairs else None for pairs in await asyncio.gather(*asked)]

    def set(self, key: bytes, value: bytes) -> None:
        """Set a key."""
        self._mutations.append(Mutation(MutationKind.SET, key, value))
        self._overlay.set(key, value)

    def clear(self, key: bytes) -> None:
        """Remove a key; nothing happens when it is not there."""
        self.clear_range(KeyRange(key, key_after(key)))

    def clear_range(self, span: KeyRange) -> None:
        """Remove all keys of a range."""
        self._mutations.append(Mutation(MutationKind.CLEAR_RANGE, *span))
        self._overlay.clear(span)

    def atomic(self, kind: MutationKind, key: bytes, operand: bytes) -> None:
        """Change a value without reading it, so that two of these never conflict."""
        self._mutations.append(Mutation(kind, key, operand))
        if kind not in {MutationKind.SET_VERSIONSTAMPED_KEY, MutationKind.SET_VERSIONSTAMPED_VALUE}:
            self._overlay.mutate(key, lambda old: atomic.apply(kind, old, operand))

    def add_read_conflict(self, span: KeyRange) -> None:
        """Conflict as if the range had been read."""
        self._read_conflicts.append(span)

    def assume(self, version: int) -> None:
        """Count on what was known at a former version: everything read conflicts from then on."""
        self._assumed = version if self._assumed is None else min(version, self._assumed)

    def add_write_conflict(self, span: KeyRange) -> None:
        """Make others conflict as if the range had been written."""
        self._write_conflicts.append(span)

    async def commit(self, key: bytes) -> int | None:
        """Commit under an idempotency key; return the version, or None when nothing was written.

        Raises CommitUnknown when the answer was lost: the same call again finds out.
        """
        if not self._mutations and not self._write_conflicts:
            return None
        version = self._assumed
        if version is None:
            version = await self.read_version() if self._read_conflicts else 0
        self.committed_version = await self._engine.commit(
            Commit(
                read_version=version,
                read_conflicts=tuple(dict.fromkeys(self._read_conflicts)),
                mutations=tuple(self._mutations),
                key=key,
                write_conflicts=tuple(self._write_conflicts),
            )
        )
        return self.committed_version


async def transact(
    engine: Engine,
    work: Callable[Concatenate[Transaction, P], Awaitable[T]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run a unit of work until it commits; see the module. At most ``LIMIT_SECONDS`` are spent.

    Raises what the work raises; DeadlineExceeded when conflicts or outages last too long.
    """
    async with _limit(work):
        backoff = JitteredBackoff()
        while True:
            transaction = Transaction(engine)
            try:
                result = await work(transaction, *args, **kwargs)
                await _commit_surely(transaction, backoff)
            except CoditectError as error:
                if not _may_retry(error):
                    raise
            else:
                return result
            await backoff.pause()


LIMIT_SECONDS = 20.0


class JitteredBackoff:
    """Pauses that double up to a limit, each cut by a random part so that rivals part ways."""

    def __init__(self, spread: Callable[[], float] = random.random) -> None:
        self._pauses = Backoff(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
        self._spread = spread

    async def pause(self) -> None:
        """Wait, longer with each call."""
        await asyncio.sleep(self._pauses.next() * (0.5 + 0.5 * self._spread()))


def _may_retry(error: CoditectError) -> bool:
    from_store = error.code in {"commit_conflict", "transaction_too_old"}
    return from_store or (isinstance(error, Unavailable) and error.component.startswith("store"))


async def _commit_surely(transaction: Transaction, backoff: JitteredBackoff) -> None:
    """Send the very same commit until its outcome is known."""
    key = secrets.token_bytes(16)
    while True:
        try:
            await transaction.commit(key)
        except CommitUnknown:
            await backoff.pause()
        else:
            return


def _limit(work: Callable[..., Awaitable[object]]) -> _TimeLimit:
    return _TimeLimit(getattr(work, "__qualname__", "transaction"))


class _TimeLimit:
    """``asyncio.timeout`` that raises DeadlineExceeded."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._timeout = asyncio.timeout(LIMIT_SECONDS)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            await self._timeout.__aexit__(kind, *rest)  # type: ignore[arg-type]
        except TimeoutError:
            raise DeadlineExceeded(self._what, LIMIT_SECONDS) from None
