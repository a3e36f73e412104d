"""A feed over a dictionary that anybody may change: what has changed it finds out by comparing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from actors.core.ports.clock import Clock
from actors.core.view import News, Page, Question

R = TypeVar("R")


class MemoryFeed(Generic[R]):
    """Implements ``Feed``. ``changed`` has ``wait`` look again; without it that lasts until the time is up.

    ``limit`` changes, and as many records of a page, are answered at once.
    """

    def __init__(
        self,
        records: Callable[[], Mapping[str, R]],
        clock: Clock,
        changed: asyncio.Event | None = None,
        *,
        limit: int = 1000,
    ) -> None:
        self._records = records
        self._clock = clock
        self.changed = changed or asyncio.Event()
        self._limit = limit
        self._before: dict[str, R] = {}
        self._log: list[tuple[int, str]] = []
        self._newest = 0

    async def read(self, question: Question) -> News[R]:
        await asyncio.sleep(0)
        self._compare()
        news: News[R] = News(self._place())
        if question.place != self._place():
            place = 0 if question.place is None else int(question.place)
            later = [entry for entry in self._log if entry[0] >= place]
            if question.place is None or not later or later[0][0] != place:
                return News(self._place(), gap=True)
            found = later[: self._limit + 1]
            changes = {i: self._before.get(i) for _, i in found}
            news = News(b"%d" % found[-1][0], changes, more=len(found) < len(later))
        page = self._page(question.after) if question.listing else None
        return News(news.place, news.changes, news.more, page=page)

    async def wait(self, place: bytes | None, seconds: float) -> None:
        self._compare()
        if place != self._place():
            return
        self.changed.clear()
        tasks = {
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self.changed.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def trim(self, place: bytes) -> None:
        """Forget the changes before a place."""
        self._log = [entry for entry in self._log if entry[0] >= int(place)]

    def _place(self) -> bytes | None:
        return b"%d" % self._newest if self._newest else None

    def _compare(self) -> None:
        now = dict(self._records())
        ids = [i for i in {**now, **self._before} if now.get(i) != self._before.get(i)]
        self._before = now
        for record_id in ids:
            self._newest += 1
            self._log.append((self._newest, record_id))

    def _page(self, after: str | None) -> Page[Any]:
        ids = sorted(i for i in self._before if after is None or i > after)
        last = ids[self._limit - 1] if len(ids) > self._limit else None
        return Page(after, last, {i: self._before[i] for i in ids[: self._limit]})
