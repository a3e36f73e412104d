"""The embedded engine: one LMDB file, one writer, group commit.

* **Reads** come from LMDB read transactions, each a true snapshot of one version, kept open for at
  most five seconds and bounded in number. They run on the event loop: LMDB reads mapped memory.
* **Commits** queue up; one thread takes all that wait, checks them in order against the conflict
  window, applies them in one LMDB transaction and fsyncs once for all. Only then are they answered.
* **The version** is written in the same LMDB transaction, so that a snapshot knows its own version
  and versions go on after a restart.
* **Idempotency keys** of commits are kept for an hour, so that a commit whose answer was lost can
  be sent again.

"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from actors.core.errors.base import Busy, Unavailable
from actors.core.errors.store import StoreFailed, StoreFull, TransactionTooOld
from actors.core.statistics import Histogram
from cluster.store.engines.interface import (
    MAX_AGE_SECONDS,
    MAX_KEY,
    RANGE_BYTES,
    Commit,
    KeyRange,
    Pairs,
    Values,
    key_after,
)
from cluster.store.engines.lmdb.committer import Committer, Outcome, seek

MAX_SNAPSHOTS = 4096
MAX_WAITING = 20_000
MAX_BATCH = 1024
MAX_WATCHES = 1000


@dataclass(slots=True)
class _Snapshot:
    transaction: lmdb.Transaction
    opened_at: float


@dataclass(slots=True)
class _Waiting:
    commit: Commit
    future: asyncio.Future[int]


@dataclass(slots=True)
class _Counters:
    commits: int = 0
    conflicts: int = 0
    batches: int = 0
    reads: int = 0
    range_reads: int = 0
    sync_seconds: Histogram = field(default_factory=Histogram)


class LmdbEngine:
    """An engine over ``directory``. ``open`` before use, ``close`` afterwards; one event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        map_size: int = 1 << 30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._map_size = map_size
        self._clock = clock
        self._snapshots: OrderedDict[int, _Snapshot] = OrderedDict()
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)
        self._watches: dict[asyncio.Future[None], KeyRange] = {}
        self._counters = _Counters()
        self._failed: StoreFailed | None = None
        self._committed = 0
        self._task: asyncio.Task[None] | None = None
        self._lock_fd: int | None = None

    async def open(self) -> None:
        """Open the file, or make it. Raises Unavailable when another process has it open."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_fd = os.open(self._directory / "engine.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_fd)
            self._lock_fd = None
            raise Unavailable("store", f"{self._directory} is open in another process") from None
        self._env = lmdb.open(
            str(self._directory),
            map_size=self._map_size,
            max_dbs=4,
            max_readers=MAX_SNAPSHOTS + 16,
            readahead=False,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lmdb-writer")
        self._committer = Committer(self._env)
        self._committed = self._committer.version
        self._task = asyncio.create_task(self._commit_forever(), name="store committer")

    async def close(self) -> None:
        """Answer what is queued with Unavailable, close the file and let go of the lock."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._lock_fd is not None:
            self._thread.shutdown(wait=True)
        for snapshot in self._snapshots.values():
            snapshot.transaction.abort()
        self._snapshots.clear()
        if self._lock_fd is not None:
            self._committer.close()
            self._env.close()
            os.close(self._lock_fd)
            self._lock_fd = None

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """Read some keys at one version."""
        version, transaction = self._snapshot(read_version)
        self._counters.reads += 1
        return Values(version, [_get(transaction, key) for key in keys])

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        """Read at most ``limit`` pairs of a range."""
        version, transaction = self._snapshot(read_version)
        self._counters.range_reads += 1
        with transaction.cursor() as cursor:
            pairs, more = _scan(cursor, span, limit, reverse=reverse)
        return Pairs(version, pairs, more)

    async def commit(self, commit: Commit) -> int:
        """Apply durably and return the commit version."""
        if self._failed is not None:
            raise self._failed
        if self._task is None:
            raise Unavailable("store", "closed")
        commit.check_limits()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait(_Waiting(commit, future))
        except asyncio.QueueFull:
            raise Busy("store commits", 1.0) from None
        return await future

    async def watch(self, key: bytes, seen: bytes | None, seconds: float) -> None:
        """Return when a key's value is not ``seen`` any more, or after some seconds."""
        if (await self.get_many([key], None)).values[0] != seen:
            return
        if len(self._watches) >= MAX_WATCHES:
            raise Busy("store watches", 1.0)
        # Nothing was waited for since the read, so that no commit has been answered in between.
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watches[written] = KeyRange(key, key_after(key))
        try:
            await asyncio.wait({written}, timeout=seconds)
        finally:
            del self._watches[written]

    async def copy(self, directory: Path) -> None:
        """Write the store as of this moment into an empty directory, without unused pages.

        Reads and commits go on. Raises StoreFull, Unavailable.
        """
        try:
            await asyncio.to_thread(self._env.copy, str(directory), compact=True)
        except lmdb.DiskError as error:
            raise StoreFull from error
        except lmdb.Error as error:
            raise Unavailable("store", f"cannot be copied: {error}") from error

    async def statistics(self) -> dict[str, Any]:
        """Return counters and gauges."""
        return {
            "commits_total": self._counters.commits,
            "conflicts_total": self._counters.conflicts,
            "commit_batches_total": self._counters.batches,
            "reads_total": self._counters.reads,
            "range_reads_total": self._counters.range_reads,
            "commit_sync_seconds": self._counters.sync_seconds.snapshot(),
            "commits_waiting": self._waiting.qsize(),
            "watches": len(self._watches),
            "open_snapshots": len(self._snapshots),
            "conflict_window": len(self._committer.window),
            "used_bytes": self._committer.used_bytes(),
            "map_bytes": self._map_size,
            "version": self._committed,
        }

    def _snapshot(self, read_version: int | None) -> tuple[int, lmdb.Transaction]:
        self._expire_snapshots()
        if read_version is not None:
            known = self._snapshots.get(read_version)
            if known is not None:
                return read_version, known.transaction
            # The newest version needs not have been read before: a committer may name its own.
            if read_version != self._committed:
                raise TransactionTooOld
        if self._snapshots:
            newest = next(reversed(self._snapshots))
            if newest >= self._committed:
                return newest, self._snapshots[newest].transaction
        transaction = self._env.begin(db=self._committer.data)
        version = self._committer.version_in(transaction)
        if version in self._snapshots:
            transaction.abort()
        else:
            self._snapshots[version] = _Snapshot(transaction, self._clock())
        if read_version is not None and version != read_version:
            raise TransactionTooOld
        return version, self._snapshots[version].transaction

    def _expire_snapshots(self) -> None:
        """Close snapshots past their age, the newest too: an idle reader must not hold pages."""
        now = self._clock()
        while self._snapshots:
            oldest = next(iter(self._snapshots))
            snapshot = self._snapshots[oldest]
            young = now - snapshot.opened_at <= MAX_AGE_SECONDS
            if young and len(self._snapshots) < MAX_SNAPSHOTS:
                return
            snapshot.transaction.abort()
            del self._snapshots[oldest]

    async def _commit_forever(self) -> None:
        batch: list[_Waiting] = []
        try:
            while True:
                batch = [await self._waiting.get()]
                while len(batch) < MAX_BATCH and not self._waiting.empty():
                    batch.append(self._waiting.get_nowait())
                await self._commit_batch(batch)
        finally:
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(self._failed or Unavailable("store", "closing"))

    async def _commit_batch(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        commits = [waiting.commit for waiting in batch]
        began = self._clock()
        work = loop.run_in_executor(self._thread, self._committer.apply, commits, began)
        try:
            # Not interrupted half-way: what the disk has must also be answered.
            outcomes: list[Outcome] = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._answer(batch, await work)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was: nobody may be left waiting
            # After a failed fsync nobody knows what the disk holds: stop, never try again.
            self._failed = StoreFailed(f"{type(error).__name__}: {error}")
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(self._failed)
            return
        self._counters.sync_seconds.observe(self._clock() - began)
        self._answer(batch, outcomes)

    def _answer(self, batch: list[_Waiting], outcomes: list[Outcome]) -> None:
        before, self._committed = self._committed, self._committer.version
        for written, span in self._watches.items():
            if self._committer.window.conflicts(span, before) and not written.done():
                written.set_result(None)
        self._counters.batches += 1
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.future.done():
                continue
            if isinstance(outcome, int):
                self._counters.commits += 1
                waiting.future.set_result(outcome)
            else:
                self._counters.conflicts += 1
                waiting.future.set_exception(outcome)


def _get(transaction: lmdb.Transaction, key: bytes) -> bytes | None:
    """Return a value; LMDB refuses to look for keys that it could not hold."""
    return transaction.get(key) if 0 < len(key) <= MAX_KEY else None


def _scan(
    cursor: lmdb.Cursor, span: KeyRange, limit: int, *, reverse: bool
) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the first pairs of a range, or the last ones, and whether there are more."""
    if reverse:
        found, step = cursor.prev() if seek(cursor, span.end) else cursor.last(), cursor.prev
    else:
        found, step = seek(cursor, span.begin), cursor.next
    pairs: list[tuple[bytes, bytes]] = []
    size = 0
    while found:
        key, value = cursor.item()
        if not span.begin <= key < span.end:
            break
        if len(pairs) >= limit or size >= RANGE_BYTES:
            return pairs, True
        pairs.append((key, value))
        size += len(key) + len(value)
        found = step()
    return pairs, False
