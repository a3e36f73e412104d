"""Ended logins are followed, and what they held ends with them."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.access import Unauthenticated
from actors.core.errors.base import Unavailable
from cluster.store.layers.accounts.tokens import EndedLogin
from serve_app.auth.revocations import RETRY_SECONDS, Revocations
from serve_app.auth.tokens import Login
from tests.fakes.pool_fakes import ManualClock, settle


class Ends:
    """A store of ended logins."""

    def __init__(self) -> None:
        self.ends: list[EndedLogin] = []
        self.away = False
        self.ended = asyncio.Event()
        self.waits = 0

    def end(self, family: str, at: float) -> None:
        self.ends.append(EndedLogin(b"%04d" % len(self.ends), "u", at, family))
        self.ended.set()

    async def newest_end(self):
        self.ended.clear()
        return b"%d" % len(self.ends)

    async def wait_for_end(self, newest, seconds):
        self.waits += 1
        if newest == await self.newest_end():
            await self.ended.wait()

    async def ended_after(self, place):
        if self.away:
            raise Unavailable("store", "away")
        return [ended for ended in self.ends if place is None or ended.place > place][:2]


async def test_ends_of_logins_are_followed_page_by_page_and_forgotten_with_their_tokens():
    clock, ends = ManualClock(1000.0), Ends()
    known = Revocations(ends, clock, keep=900.0)
    for number in range(5):
        ends.end(f"f{number}", 1000.0 + number)
    await known.catch_up()
    assert all(known.is_over(Login("u", f"f{number}")) for number in range(5))
    clock.advance(962.0)
    await known.catch_up()
    assert [known.is_over(Login("u", f"f{number}")) for number in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


async def test_a_replica_hears_of_an_end_without_asking():
    clock, ends = ManualClock(), Ends()
    known = Revocations(ends, clock, keep=900.0)
    running = asyncio.create_task(known.run())
    for number in range(3):
        waiting = asyncio.create_task(known.require_live(Login("u", f"f{number}")))
        await settle()
        assert ends.waits == number + 1
        ends.end(f"f{number}", clock.now())
        with pytest.raises(Unauthenticated):
            await asyncio.wait_for(waiting, 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_is_away_is_asked_again_after_a_pause():
    clock, ends = ManualClock(), Ends()
    known = Revocations(ends, clock, keep=900.0)
    ends.away = True
    running = asyncio.create_task(known.run())
    await settle()
    ends.away = False
    ends.end("f", clock.now())
    clock.advance(RETRY_SECONDS)
    await settle()
    assert known.is_over(Login("u", "f"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_is_known_of_ended_logins_holds_while_the_store_is_away():
    clock, ends = ManualClock(), Ends()
    known = Revocations(ends, clock, keep=900.0)
    known.add("u", "mine", clock.now())
    ends.away = True
    with pytest.raises(Unavailable):
        await known.catch_up()
    assert known.is_over(Login("u", "mine"))


async def test_whoever_waits_for_the_end_of_a_login_hears_of_it_and_leaves_nothing_behind():
    known = Revocations(Ends(), ManualClock(), keep=900.0)
    waiting = [asyncio.create_task(known.require_live(Login("u", "mine"))) for _ in range(2)]
    other = asyncio.create_task(known.require_live(Login("u", "other")))
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    known.add("u", "mine", 0.0)
    with pytest.raises(Unauthenticated):
        await waiting[1]
    with pytest.raises(Unauthenticated):
        await known.require_live(Login("u", "mine"))
    other.cancel()
    await asyncio.gather(*waiting, other, return_exceptions=True)
    assert known._watches == {}
