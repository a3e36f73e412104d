"""The large files of one workspace that are yet to be read, beside its small ones.

What is small never waits for them. They are in two lines: one for those that are a single piece, which are
read several at a time, and one for those of more, one by one. A file that is added again keeps its place.
Those that were read before get half of the places at most: some are found by every walk and never archived,
as nobody may read them. Who follows the workspace anew finds all of them again; so nothing of this lasts.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from actors.core.errors.base import Unavailable
from cluster.archive.saving.ingest import SLICE_BYTES
from cluster.store.layers.entries import Entry

MAX_WAITING = 10_000
FILES_AT_ONCE = 32
MAX_REMEMBERED = 100_000

Read = Callable[[Mapping[bytes, Entry]], Awaitable[None]]


class _Waiting(NamedTuple):
    """A file as it was found, and the number under which it was first added."""

    entry: Entry
    number: int


class LargeFiles:
    """``read`` reads some and commits them. ``run`` until it raises, or is cancelled; then ``close``."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._lines: tuple[dict[bytes, _Waiting], dict[bytes, _Waiting]] = ({}, {})
        self._under_way: dict[bytes, int] = {}
        self._numbers = itertools.count()
        self._closings = 0
        self._changed = asyncio.Condition()
        self._before: set[bytes] = set()
        self._took_one = False
        self.missed = False
        """True if some could not be taken: the workspace is to be walked through again."""

    @property
    def paths(self) -> set[bytes]:
        """The files that are yet to be read, or being read."""
        return {*self._under_way, *self._lines[0], *self._lines[1]}

    async def add(self, files: Mapping[bytes, Entry]) -> list[bytes]:
        """Take files that are to be read; return those for which there is no place."""
        missed: list[bytes] = []
        for path, entry in files.items():
            is_long = entry.amount.size > SLICE_BYTES
            line, other = self._lines[is_long], self._lines[not is_long]
            before = line.get(path) or other.pop(path, None)
            places = MAX_WAITING // 2 if path in self._before else MAX_WAITING
            if path in line or len(line) < places:
                number = before.number if before is not None else next(self._numbers)
                line[path] = _Waiting(entry, number)
                self._took_one = True
            else:
                missed.append(path)
        self.missed = self.missed or bool(missed)
        async with self._changed:
            self._changed.notify_all()
        return missed

    def begin_walk(self) -> None:
        """Have a walk begin, which adds whatever is not archived: what was missed comes first."""
        if not (self.missed and self._took_one) or len(self._before) > MAX_REMEMBERED:
            self._before.clear()
        self.missed = self._took_one = False

    async def run(self) -> None:
        """Read until cancelled. Raises what ``read`` raises."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work(0, FILES_AT_ONCE), name="files of one piece")
            group.create_task(self._work(1, 1), name="files of many pieces")

    async def close(self) -> None:
        """Forget them, and release whoever waits."""
        self._closings += 1
        self._under_way.clear()
        for line in self._lines:
            line.clear()
        async with self._changed:
            self._changed.notify_all()

    async def done(self) -> None:
        """Return when all that wait now are read. Raises Unavailable when they will not be."""
        if not self.paths:
            return
        last, closings = next(self._numbers), self._closings
        async with self._changed:
            # One that is added again, as a program goes on writing to it, is waited for once.
            await self._changed.wait_for(lambda: self._closings > closings or self._oldest() > last)
        if self._closings > closings:
            raise Unavailable("the archive", "the workspace is followed anew")

    def _oldest(self) -> float:
        """Return the smallest number of those that are yet to be read; infinity: there is none."""
        waiting = (each.number for line in self._lines for each in line.values())
        return min(itertools.chain(self._under_way.values(), waiting), default=math.inf)

    async def _work(self, number: int, most: int) -> None:
        line = self._lines[number]
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(line))
            some: dict[bytes, Entry] = {}
            size = 0
            while line and len(some) < most and (not some or size < SLICE_BYTES):
                path = next(iter(line))
                some[path], self._under_way[path] = line.pop(path)
                size += some[path].amount.size
            self._before.update(some)
            try:
                await self._read(some)
            finally:
                for path in some:
                    self._under_way.pop(path, None)
            async with self._changed:
                self._changed.notify_all()
