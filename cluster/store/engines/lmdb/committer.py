"""Applies batches of commits to an LMDB environment: the part that runs in the writer's thread."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path

import lmdb

from actors.core.errors.store import CommitConflict, StoreError, StoreFull, TransactionTooOld
from cluster.store.engines import atomic
from cluster.store.engines.interface import (
    MAX_AGE_SECONDS,
    MAX_KEY,
    Commit,
    KeyRange,
    Mutation,
    MutationKind,
    key_after,
)
from cluster.store.engines.lmdb.conflicts import ConflictWindow
from cluster.store.engines.lmdb.disk_space import NO_SPACE, Room, needed

KEY_LIFE_SECONDS = 3600.0
_EXPIRED_PER_COMMIT = 4
_VERSION = b"version"

Outcome = int | StoreError


class Committer:
    """Owns the environment's write side. Not thread-safe: one thread calls ``apply``."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        self.data = env.open_db(b"data")
        self._meta = env.open_db(b"meta")
        self._keys = env.open_db(b"commit-keys")
        self._key_ages = env.open_db(b"commit-key-ages")
        self._room = Room(Path(env.path()) / "data.mdb", env.info()["map_size"])
        self._page_bytes: int = env.stat()["psize"]
        with env.begin() as transaction:
            self.version = self.version_in(transaction)
        self.window = ConflictWindow(self.version)
        self._births: deque[tuple[float, int]] = deque()

    def close(self) -> None:
        """Let go of the file; the environment stays open."""
        self._room.close()

    def used_bytes(self) -> int:
        """Return how much of the file is in use, pages that are free again included."""
        pages: int = self._env.info()["last_pgno"] + 1
        return pages * self._page_bytes

    def version_in(self, transaction: lmdb.Transaction) -> int:
        """Return the version of the data that a transaction sees."""
        return int.from_bytes(transaction.get(_VERSION, db=self._meta) or b"", "big")

    def apply(self, commits: list[Commit], now: float) -> list[Outcome]:
        """Apply in order, durably, in one LMDB transaction; return version or error for each.

        ``now`` is monotonic and ages the conflict window. When the disk or the map is full nothing
        of the batch is written; the commits are then tried one by one, so that a large one does not
        fail the small ones with it. Raises lmdb.Error or OSError for
        anything else.
        """
        self._age(now)
        if self._room.ensure(self.used_bytes(), needed(commits)):
            try:
                return self._apply(commits, now)
            except lmdb.Error as error:
                if not _is_full(error):
                    raise
        if len(commits) == 1:
            return [StoreFull("the disk or the store's map is full")]
        return [self.apply([commit], now)[0] for commit in commits]

    def _apply(self, commits: list[Commit], now: float) -> list[Outcome]:
        version = self.version + 1
        outcomes: list[Outcome] = []
        written: list[KeyRange] = []
        pending = ConflictWindow(0) if len(commits) > 1 else None
        seen: set[bytes] = set()
        with self._env.begin(write=True, db=self.data) as transaction:
            for order, commit in enumerate(commits):
                known = transaction.get(commit.key, db=self._keys)
                if commit.key in seen:
                    outcomes.append(version)
                    continue
                if known is not None:
                    outcomes.append(int.from_bytes(known, "big"))
                    continue
                refusal = self._refusal(commit, pending)
                if refusal is not None:
                    outcomes.append(refusal)
                    continue
                stamp = atomic.versionstamp(version, order)
                spans = [_mutate(transaction, mutation, stamp) for mutation in commit.mutations]
                spans += commit.write_conflicts
                written += spans
                if pending is not None:
                    for span in spans:
                        pending.write(span, 1)
                seen.add(commit.key)
                self._remember_key(transaction, commit.key, version)
                outcomes.append(version)
            if seen:
                self._expire_keys(transaction, len(seen) * _EXPIRED_PER_COMMIT)
                transaction.put(_VERSION, version.to_bytes(8, "big"), db=self._meta)
        if seen:
            self.version = version
            self._births.append((now, version))
            for span in written:
                self.window.write(span, version)
        return outcomes

    def _refusal(self, commit: Commit, pending: ConflictWindow | None) -> StoreError | None:
        if not commit.read_conflicts:
            return None
        if self.window.is_too_old(commit.read_version):
            return TransactionTooOld("the read version has left the conflict window")
        for span in commit.read_conflicts:
            # A commit earlier in this batch is newer than anything this one can have read.
            newer = self.window.conflicts(span, commit.read_version)
            if newer or (pending is not None and pending.conflicts(span, 0)):
                return CommitConflict("what was read has been written since")
        return None

    def _age(self, now: float) -> None:
        floor = self.window.floor
        while self._births and now - self._births[0][0] > MAX_AGE_SECONDS:
            floor = self._births.popleft()[1]
        self.window.forget(floor, self.version)

    def _remember_key(self, transaction: lmdb.Transaction, key: bytes, version: int) -> None:
        transaction.put(key, version.to_bytes(8, "big"), db=self._keys)
        # Wall-clock time, since it must mean the same after a restart.
        born = int(time.time() * 1000).to_bytes(8, "big")
        transaction.put(born + key, b"", db=self._key_ages)

    def _expire_keys(self, transaction: lmdb.Transaction, count: int) -> None:
        limit = int((time.time() - KEY_LIFE_SECONDS) * 1000).to_bytes(8, "big")
        with transaction.cursor(db=self._key_ages) as cursor:
            for _ in range(count):
                if not cursor.first() or cursor.key()[:8] >= limit:
                    return
                transaction.delete(cursor.key()[8:], db=self._keys)
                cursor.delete()


def _mutate(transaction: lmdb.Transaction, mutation: Mutation, stamp: bytes) -> KeyRange:
    """Carry one mutation out and return the range it wrote."""
    kind, key, value = mutation
    if kind is MutationKind.CLEAR_RANGE:
        _clear(transaction, key, value)
        return KeyRange(key, value)
    if kind is MutationKind.SET_VERSIONSTAMPED_KEY:
        key = atomic.place_versionstamp(key, stamp)
        transaction.put(key, value)
    elif kind is MutationKind.SET:
        transaction.put(key, value)
    else:
        operand = value
        if kind is MutationKind.SET_VERSIONSTAMPED_VALUE:
            operand = atomic.place_versionstamp(value, stamp)
        result = atomic.apply(kind, transaction.get(key), operand)
        if result is None:
            transaction.delete(key)
        else:
            transaction.put(key, result)
    return KeyRange(key, key_after(key))


def _clear(transaction: lmdb.Transaction, begin: bytes, end: bytes) -> None:
    with transaction.cursor() as cursor:
        found = seek(cursor, begin)
        while found and cursor.key() < end:
            found = cursor.delete()


def seek(cursor: lmdb.Cursor, key: bytes) -> bool:
    """Move to the first key that is not less than ``key``; False, and unpositioned, for none."""
    if not key:
        return bool(cursor.first())
    # LMDB refuses to look for keys that it could not hold; at most one lies before those.
    found = bool(cursor.set_range(key[:MAX_KEY]))
    if found and len(key) > MAX_KEY and cursor.key() < key:
        found = bool(cursor.next())
    return found


def _is_full(error: lmdb.Error) -> bool:
    """Return whether there was no room: in the map, or on the disk in spite of ``Room``.

    LMDB has undone the transaction then. Nothing is pretended: whoever commits next writes and
    syncs all pages of its own. Where even the page that says which transaction is the last may
    have been spoilt, LMDB refuses everything from then on, with another error.
    """
    # LMDB's errors carry the system's only in their text.
    return isinstance(error, lmdb.MapFullError) or any(
        os.strerror(code) in str(error) for code in NO_SPACE
    )
