"""An informer over a feed in memory: what it reads, when it wakes, and what it does when nothing answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.core.errors.base import Unavailable
from actors.core.informer import GATHER_SECONDS, RELIST_SECONDS, RETRY_SECONDS, Informer
from actors.core.view import Question
from tests.fakes.feed import MemoryFeed
from tests.fakes.pool_fakes import ManualClock, settle


class Bench:
    def __init__(self, limit: int = 2) -> None:
        self.clock = ManualClock()
        self.records: dict[str, int] = {}
        self.changed = asyncio.Event()
        self.feed = MemoryFeed(lambda: self.records, self.clock, self.changed, limit=limit)
        self.asked: list[Question] = []
        self.errors: list[Exception] = []
        self.informer: Informer[int] = Informer(self, self.clock)

    async def read(self, question: Question) -> Any:
        self.asked.append(question)
        if self.errors:
            raise self.errors.pop()
        return await self.feed.read(question)

    async def wait(self, place: bytes | None, seconds: float) -> None:
        if self.errors:
            raise self.errors.pop()
        await self.feed.wait(place, seconds)

    def write(self, **records: int) -> None:
        self.records.update(records)
        self.changed.set()

    async def waiting(self, seconds: float, **options: float) -> asyncio.Task[None]:
        task = asyncio.create_task(self.informer.wait(seconds, **options))
        await settle()
        return task


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_it_reads_all_pages_at_first_and_then_only_what_has_changed(bench):
    bench.write(a=1, b=1, c=1)
    assert await bench.informer.refresh() == {"a": 1, "b": 1, "c": 1}
    assert [q.after for q in bench.asked] == [None, None, "b"]
    bench.asked.clear()
    bench.write(b=2)
    del bench.records["c"]
    assert await bench.informer.refresh() == {"a": 1, "b": 2}
    assert [q.listing for q in bench.asked] == [False]


async def test_many_changes_are_read_in_parts(bench):
    await bench.informer.refresh()
    bench.write(z=0)
    await bench.informer.refresh()
    bench.write(**{f"r{n}": n for n in range(9)})
    assert len(await bench.informer.refresh()) == 10
    assert bench.informer.stats("x") == {"x_known": 10, "x_gaps_total": 1, "x_repairs_total": 0}


async def test_what_it_returned_stays_as_it_was(bench):
    bench.write(a=1)
    before = await bench.informer.refresh()
    bench.write(a=2)
    await bench.informer.refresh()
    assert before == {"a": 1}


async def test_it_wakes_with_a_change_and_gathers_those_that_follow_closely(bench):
    await bench.informer.refresh()
    task = await bench.waiting(60.0)
    bench.write(a=1)
    await settle()
    assert not task.done()
    bench.clock.advance(GATHER_SECONDS)
    await asyncio.wait_for(task, 60)


async def test_it_wakes_at_once_after_a_quiet_time(bench):
    await bench.informer.refresh()
    task = await bench.waiting(60.0)
    bench.clock.advance(1.0)
    await settle()
    assert not task.done()
    bench.write(a=1)
    await asyncio.wait_for(task, 60)


async def test_it_wakes_without_a_change_when_the_time_is_over(bench):
    await bench.informer.refresh()
    task = await bench.waiting(2.0)
    bench.clock.advance(1.0)
    await settle()
    bench.clock.advance(1.0)
    await asyncio.wait_for(task, 60)


async def test_whoever_is_to_rest_is_not_woken_before(bench):
    await bench.informer.refresh()
    task = await bench.waiting(2.0, rest=5.0)
    bench.write(a=1)
    bench.clock.advance(4.9)
    await settle()
    assert not task.done()
    bench.clock.advance(0.1)
    await asyncio.wait_for(task, 60)


async def test_a_store_that_is_away_is_not_asked_without_pause(bench):
    await bench.informer.refresh()
    bench.errors = [Unavailable("store", "away")]
    task = await bench.waiting(60.0)
    bench.clock.advance(GATHER_SECONDS)
    await settle()
    assert not task.done()
    bench.clock.advance(RETRY_SECONDS)
    await asyncio.wait_for(task, 60)


async def test_a_read_that_fails_is_said_and_the_next_goes_on_where_it_was(bench):
    bench.write(a=1, b=1, c=1)
    bench.errors = [Unavailable("store", "away")]
    with pytest.raises(Unavailable):
        await bench.informer.refresh()
    assert await bench.informer.refresh() == {"a": 1, "b": 1, "c": 1}


async def test_everything_is_listed_again_now_and_then_a_page_with_each_call(bench):
    bench.write(a=1, b=1, c=1)
    await bench.informer.refresh()
    bench.clock.advance(RELIST_SECONDS)
    bench.asked.clear()
    for _ in range(3):
        await bench.informer.refresh()
    assert [(q.listing, q.after) for q in bench.asked] == [(True, None), (True, "b"), (False, None)]


async def test_one_that_is_too_late_lists_everything(bench):
    bench.write(a=1)
    await bench.informer.refresh()
    bench.write(a=2, b=1)
    await bench.feed.read(Question(None, listing=True, after=None))
    bench.write(a=3)
    del bench.records["b"]
    await bench.feed.read(Question(None, listing=True, after=None))
    bench.feed.trim(b"4")
    assert await bench.informer.refresh() == {"a": 3}
    assert bench.informer.stats("x")["x_gaps_total"] == 1


async def test_two_that_ask_at_once_read_one_after_the_other(bench):
    bench.write(a=1, b=1, c=1)
    both = await asyncio.gather(bench.informer.refresh(), bench.informer.refresh())
    assert both == [{"a": 1, "b": 1, "c": 1}] * 2
    assert len(bench.asked) == 4
