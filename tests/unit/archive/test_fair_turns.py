"""Users take turns, however many of their sessions ask at once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cluster.archive.fair_turns import FairTurns


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Crowd:
    """The holders of places in their order; each releases its place on request."""

    def __init__(self, turns: FairTurns) -> None:
        self._turns = turns
        self.got: list[str] = []
        self._ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, user: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(self._hold(user)))
        return self.tasks[-1]

    async def _hold(self, user: str) -> None:
        async with self._turns.turn(user):
            self.got.append(user)
            self._ends.append(asyncio.Event())
            await self._ends[-1].wait()

    async def let_go(self, number: int) -> None:
        self._ends[number].set()
        await settle()

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def crowd():
    made = Crowd(FairTurns(4))
    yield made
    await made.end()


async def test_a_stranger_has_a_place_at_once_beside_one_who_asks_for_many(crowd):
    for _ in range(8):
        crowd.ask("busy")
    await settle()
    assert crowd.got == ["busy"] * 2
    crowd.ask("stranger")
    await settle()
    assert crowd.got[-1] == "stranger"


async def test_who_has_fewest_is_next_and_then_who_waits_longest(crowd):
    for user in ("a", "a", "b", "b", "a", "b", "c", "d"):
        crowd.ask(user)
    await settle()
    assert crowd.got == ["a", "a", "b", "b"]
    await crowd.let_go(0)
    assert crowd.got[4:] == ["c"]
    await crowd.let_go(2)
    assert crowd.got[5:] == ["d"]
    await crowd.let_go(1)
    assert crowd.got[6:] == ["a"]


async def test_who_gives_up_takes_no_place_and_leaves_theirs(crowd):
    waiting = [crowd.ask("a") for _ in range(3)]
    await settle()
    waiting[2].cancel()
    waiting[0].cancel()
    await settle()
    assert crowd.got == ["a", "a"]
    for user in ("b", "b", "c"):
        crowd.ask(user)
    await settle()
    assert crowd.got[2:] == ["b", "b", "c"]
    assert not crowd._turns._waiting


async def test_a_place_that_is_given_to_one_who_gives_up_at_that_moment_is_not_lost():
    turns = FairTurns(1)
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(turns.turn("a"))
    waiting = asyncio.create_task(stack.enter_async_context(turns.turn("b")))
    await settle()
    turns._release("a")  # gives it to b, who does not run before it is cancelled
    waiting.cancel()
    await settle()
    async with asyncio.timeout(60), turns.turn("c"):
        pass


async def test_who_gives_up_in_the_moment_of_a_release_keeps_nobody_of_theirs_waiting():
    turns = FairTurns(2, share=1)
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(turns.turn("a"))
    waiting = [asyncio.create_task(stack.enter_async_context(turns.turn("a"))) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    turns._release("a")  # before the first of them can leave the line
    async with asyncio.timeout(60):
        await waiting[1]
    turns._release("a")
    assert turns._free == 2
    assert not turns._waiting
