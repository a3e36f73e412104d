"""Feeds of changes: which records of a kind have been written, in the order of the commits.

A feed has a log, one key a change with the commit's versionstamp in it, and one key with the newest
versionstamp, which is what can be watched. Both are written blindly, by the transaction that writes the
record: two writers never conflict over them, and there is no moment in which one is there without the
other. A reader stands at the versionstamp of the last change that it has read. If that one is not in
the log any more, or the log does not end with the newest one, changes are missing.

Each StoreActor trims all logs (``trim_forever``), whether anybody reads them or not. Who is so late that
its place is gone lists everything, which all readers do as often anyway (``actors.core.informer``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

import structlog

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.base import Record
from actors.core.view import News, Page, Question
from cluster.store.engines.interface import (
    OFFSET_BYTES,
    VERSIONSTAMP_BYTES,
    Engine,
    KeyRange,
    MutationKind,
    key_after,
    prefix_range,
)
from cluster.store.layers.codec import decode_optional
from cluster.store.layers.keyspace import Directory, Keyspace
from cluster.store.transactions.transaction import Transaction, transact

R = TypeVar("R", bound=Record)

SESSIONS = "sessions"
NETWORKS = "networks"
ENDED_LOGINS = "ended_logins"
PAGE = 500
CHANGES_AT_ONCE = 1000
MAX_FEEDS = 10_000
TRIM_SECONDS = 60.0

logger = structlog.get_logger(__name__)


def containers_of(node_id: str) -> str:
    """Return the name of the feed of a node's containers."""
    return f"containers/{node_id}"


def note(tr: Transaction, keys: Keyspace, feed: str, record_id: str) -> None:
    """Have the readers of a feed read a record again that this transaction writes or removes."""
    change = keys.changes.below(feed).stamped_key(rest=(record_id,))
    tr.atomic(MutationKind.SET_VERSIONSTAMPED_KEY, change, b"")
    mark(tr, keys, feed)


def mark(tr: Transaction, keys: Keyspace, feed: str) -> None:
    """Wake the readers of a feed that has a log of its own."""
    newest = bytes(VERSIONSTAMP_BYTES + OFFSET_BYTES)
    tr.atomic(MutationKind.SET_VERSIONSTAMPED_VALUE, keys.newest_changes.key(feed), newest)


class StoreFeed(Generic[R]):
    """Implements ``actors.core.ports.feed.Feed`` with those records of ``branch`` that ``belongs`` admits."""

    def __init__(
        self,
        engine: Engine,
        keys: Keyspace,
        name: str,
        branch: Directory,
        kind: type[R],
        belongs: Callable[[R], bool] = lambda _: True,
    ) -> None:
        self._engine = engine
        self._newest = keys.newest_changes.key(name)
        self._log = keys.changes.below(name)
        self._branch = branch
        self._kind = kind
        self._belongs = belongs

    async def read(self, question: Question) -> News[R]:
        """Return what a view lacks."""
        return await transact(self._engine, self._read, question)

    async def wait(self, place: bytes | None, seconds: float) -> None:
        """Return when there are changes after a place, at the latest after some seconds."""
        await self._engine.watch(self._newest, place, seconds)

    async def _read(self, tr: Transaction, question: Question) -> News[R]:
        newest = await tr.get(self._newest, snapshot=True)
        if newest == question.place:
            news: News[R] = News(newest)
        elif question.place is None or newest is None:
            return News(newest, gap=True)
        else:
            news = await self._changes(tr, question.place, newest)
        if news.gap or not question.listing:
            return news
        return replace(news, page=await self._page(tr, question.after))

    async def _changes(self, tr: Transaction, place: bytes, newest: bytes) -> News[R]:
        span = KeyRange(self._log.stamped(place), self._log.range().end)
        pairs = await tr.get_range(span, limit=CHANGES_AT_ONCE, snapshot=True)
        found = [self._log.unstamped(key) for key, _ in pairs]
        more = len(found) == CHANGES_AT_ONCE
        if not found or found[0][0] != place or (not more and found[-1][0] != newest):
            if found and found[-1][0] > newest:
                await self._forget_former_life(tr)
            return News(newest, gap=True)
        ids = list(dict.fromkeys(record_id for stamp, (record_id,) in found))
        values = await tr.get_many([self._branch.key(i) for i in ids], snapshot=True)
        changes = {i: self._record(value) for i, value in zip(ids, values, strict=True)}
        return News(found[-1][0], changes, more=more)

    async def _forget_former_life(self, tr: Transaction) -> None:
        """Remove what sorts after the newest change.

        A cluster into which a backup was restored may number its commits below those that it holds. The
        newest change is read so as to conflict: what is written meanwhile must stay.
        """
        newest = await tr.get(self._newest)
        assert newest is not None
        after = prefix_range(self._log.stamped(newest)).end
        tr.clear_range(KeyRange(after, self._log.range().end))

    async def _page(self, tr: Transaction, after: str | None) -> Page[R]:
        begin, end = self._branch.range()
        if after is not None:
            begin = key_after(self._branch.key(after))
        pairs = await tr.get_range(KeyRange(begin, end), limit=PAGE, snapshot=True)
        read = {self._branch.unpack(key)[0]: self._record(value) for key, value in pairs}
        last = next(reversed(read)) if len(read) == PAGE else None
        return Page(after, last, {i: record for i, record in read.items() if record is not None})

    def _record(self, value: bytes | None) -> R | None:
        record = decode_optional(self._kind, value)
        return record if record is not None and self._belongs(record) else None


class ChangeLogs:
    """The logs of all feeds, to be trimmed now and then."""

    def __init__(self, engine: Engine, keys: Keyspace) -> None:
        self._engine = engine
        self._keys = keys
        self._newest: dict[str, bytes] = {}
        self._trimmed: dict[str, bytes] = {}

    async def trim(self) -> None:
        """Forget the changes before those that were the newest ones the last time.

        Nothing is written where nothing has changed. Raises what the store raises; the rest comes next time.
        """
        before, self._newest = self._newest, await transact(self._engine, self._read)
        for feed, place in before.items():
            if self._trimmed.get(feed) != place:
                await transact(self._engine, self._trim, feed, place)
                self._trimmed[feed] = place

    async def _read(self, tr: Transaction) -> dict[str, bytes]:
        branch = self._keys.newest_changes
        pairs = await tr.get_range(branch.range(), limit=MAX_FEEDS, snapshot=True)
        return {branch.unpack(key)[0]: newest for key, newest in pairs}

    async def _trim(self, tr: Transaction, feed: str, place: bytes) -> None:
        log = self._keys.changes.below(feed)
        tr.clear_range(KeyRange(log.range().begin, log.stamped(place)))


async def trim_forever(engine: Engine, tenant_id: str, clock: Clock) -> None:
    """Bound the logs of all feeds: by what is written in twice ``TRIM_SECONDS``."""
    logs = ChangeLogs(engine, Keyspace(tenant_id))
    while True:
        await clock.sleep(TRIM_SECONDS)
        try:
            await logs.trim()
        except CoditectError as error:
            logger.warning("logs of changes are not trimmed", reason=str(error))
