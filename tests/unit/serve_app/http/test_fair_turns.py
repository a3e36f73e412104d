"""Turns go round the parties, and whoever fills the room makes place for the others."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.limits import TooManyRequests
from serve_app.http.fair_turns import FairTurns


def turns(parallel: int = 1, room: int = 6) -> FairTurns:
    return FairTurns(parallel, room, lambda: TooManyRequests("turns", 1.0))


async def waiters(made: FairTurns, *parties: str) -> tuple[list[asyncio.Task[None]], list[str]]:
    served: list[str] = []

    async def one(party: str) -> None:
        await made.take(party)
        served.append(party)

    tasks = []
    for party in parties:
        tasks.append(asyncio.create_task(one(party)))
        await asyncio.sleep(0)
    return tasks, served


async def test_parties_are_served_in_turn_whatever_one_has_waiting():
    made = turns()
    await made.take("first")
    tasks, served = await waiters(made, "a", "a", "a", "a", "b", "c")
    for _ in tasks:
        made.give_back()
        await asyncio.sleep(0)
    assert served == ["a", "b", "c", "a", "a", "a"]
    assert made.waiting == 0


async def test_when_the_room_is_full_whoever_has_most_there_makes_place():
    made = turns(room=3)
    await made.take("first")
    tasks, served = await waiters(made, "a", "a", "a")
    more, _ = await waiters(made, "b")
    assert made.waiting == 3
    with pytest.raises(TooManyRequests):
        await tasks[2]
    with pytest.raises(TooManyRequests):
        await made.take("a")
    with pytest.raises(TooManyRequests):
        await made.take("b")  # it would have as many as the other
    for _ in range(3):
        made.give_back()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks[:2], *more)
    assert served == ["a", "a"]


async def test_whoever_goes_away_costs_nobody_a_turn():
    made = turns()
    await made.take("first")
    tasks, served = await waiters(made, "a", "b", "c")
    tasks[0].cancel()
    await asyncio.sleep(0)
    made.give_back()  # b's, who goes at the same moment
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert served == ["c"]
    made.give_back()
    await asyncio.wait_for(made.take("d"), 60)
