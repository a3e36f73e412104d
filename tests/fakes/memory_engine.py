"""An engine in memory for tests of one event loop, whose next commits can be made to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum, auto

from sortedcontainers import SortedDict

from actors.core.errors.base import DeadlineExceeded
from actors.core.errors.store import StoreFull
from cluster.store.engines import atomic
from cluster.store.engines.interface import Commit, KeyRange, MutationKind, Pairs, Values


class CommitFault(StrEnum):
    """What becomes of a commit; of the last two the caller learns the same."""

    NO_ROOM = auto()
    UNKNOWN_LOST = auto()
    UNKNOWN_DONE = auto()


class MemoryEngine:
    """For callers that never write what another one is about to: no commit conflicts."""

    def __init__(self) -> None:
        self.data: SortedDict[bytes, bytes] = SortedDict()
        self.version = 0
        self.faults: list[CommitFault] = []

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        await asyncio.sleep(0)
        return Values(self.version, [self.data.get(key) for key in keys])

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        await asyncio.sleep(0)
        keys = list(self.data.irange(*span, inclusive=(True, False), reverse=reverse))
        return Pairs(self.version, [(k, self.data[k]) for k in keys[:limit]], len(keys) > limit)

    async def commit(self, commit: Commit) -> int:
        await asyncio.sleep(0)
        fault = self.faults.pop() if self.faults else None
        if fault is CommitFault.NO_ROOM:
            raise StoreFull
        if fault is not CommitFault.UNKNOWN_LOST:
            self._apply(commit)
        await asyncio.sleep(0)
        if fault is not None:
            raise DeadlineExceeded("commit", 20.0)
        return self.version

    def _apply(self, commit: Commit) -> None:
        self.version += 1
        stamp = atomic.versionstamp(self.version, 0)
        for kind, key, value in commit.mutations:
            if kind is MutationKind.CLEAR_RANGE:
                for each in list(self.data.irange(key, value, inclusive=(True, False))):
                    del self.data[each]
                continue
            if kind is MutationKind.SET_VERSIONSTAMPED_KEY:
                self.data[atomic.place_versionstamp(key, stamp)] = value
                continue
            is_stamped = kind is MutationKind.SET_VERSIONSTAMPED_VALUE
            operand = atomic.place_versionstamp(value, stamp) if is_stamped else value
            if (new := atomic.apply(kind, self.data.get(key), operand)) is None:
                self.data.pop(key, None)
            else:
                self.data[key] = new
