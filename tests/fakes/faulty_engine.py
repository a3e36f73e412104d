"""An engine that fails as a real one may: old age, conflicts, lost answers, late commits, by seed.

What it does is always something that the engine below might have done: an injected conflict or old
age is only reported for a commit that has never been sent, since one of which a sending may have been,
or may yet be, applied must not be answered "not done".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum, auto

from actors.core.errors.base import Unavailable
from actors.core.errors.store import CommitConflict, CommitUnknown, StoreError, TransactionTooOld
from cluster.store.engines.interface import Commit, Engine, KeyRange, Pairs, Values


class CommitFault(StrEnum):
    """The fault of a commit."""

    CONFLICT = auto()
    TOO_OLD = auto()
    UNKNOWN_COMMITTED = auto()
    UNKNOWN_LOST = auto()
    UNKNOWN_LATER = auto()


_UNKNOWN = [CommitFault.UNKNOWN_COMMITTED, CommitFault.UNKNOWN_LOST, CommitFault.UNKNOWN_LATER]


class FaultyEngine:
    """Passes calls on to ``engine``, except that the ``rate``-th part of them fails."""

    def __init__(self, engine: Engine, seed: int, *, rate: float = 0.25) -> None:
        self._engine = engine
        self._random = random.Random(seed)
        self._rate = rate
        self._sent: set[bytes] = set()
        self._late: list[tuple[int, Commit]] = []
        self._calls = 0
        self.injected: dict[str, int] = {}

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        await self._begin_read()
        return await self._engine.get_many(keys, read_version)

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        await self._begin_read()
        return await self._engine.get_range(span, read_version, limit=limit, reverse=reverse)

    async def commit(self, commit: Commit) -> int:
        await self._arrive_late()
        fault = self._fault(commit)
        if fault is None:
            self._sent.add(commit.key)
            return await self._engine.commit(commit)
        self.injected[fault.value] = self.injected.get(fault.value, 0) + 1
        if fault is CommitFault.CONFLICT:
            raise CommitConflict("injected")
        if fault is CommitFault.TOO_OLD:
            raise TransactionTooOld("injected")
        self._sent.add(commit.key)
        if fault is CommitFault.UNKNOWN_COMMITTED:
            await self._engine.commit(commit)
        elif fault is CommitFault.UNKNOWN_LATER:
            self._late.append((self._calls + self._random.randint(1, 20), commit))
        raise CommitUnknown("injected")

    async def watch(self, key: bytes, seen: bytes | None, seconds: float) -> None:
        await self._begin_read()
        await self._engine.watch(key, seen, seconds)

    async def settle(self) -> None:
        """Let everything that is still under way arrive."""
        late, self._late = self._late, []
        for _, commit in late:
            await self._apply_late(commit)

    def stop(self) -> None:
        """From now on nothing fails."""
        self._rate = 0.0

    def _fault(self, commit: Commit) -> CommitFault | None:
        if self._random.random() >= self._rate:
            return None
        if commit.key in self._sent or not commit.read_conflicts:
            return self._random.choice(_UNKNOWN)
        return self._random.choice(list(CommitFault))

    async def _begin_read(self) -> None:
        await self._arrive_late()
        if self._random.random() < self._rate / 2:
            raise self._random.choice(
                [TransactionTooOld("injected"), Unavailable("store", "injected")]
            )

    async def _arrive_late(self) -> None:
        self._calls += 1
        due = [commit for when, commit in self._late if when <= self._calls]
        self._late = [entry for entry in self._late if entry[0] > self._calls]
        for commit in due:
            await self._apply_late(commit)

    async def _apply_late(self, commit: Commit) -> None:
        with suppress(StoreError):
            await self._engine.commit(commit)
