"""Guessing is counted before it is checked, over all replicas, and strangers lock nobody out."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.access import Unauthenticated
from actors.core.errors.base import Unavailable
from actors.core.errors.limits import TooManyRequests
from cluster.store.layers.accounts.attempts import Asked, Attempt, Counter, Outcome, Wait
from serve_app.auth.sign_in import Visitor
from serve_app.auth.throttle import (
    AT_ONCE,
    MAX_WAITING,
    LoginThrottle,
    account_digest,
    whole_address,
)
from tests.fakes.ingress_fakes import EMAIL, PASSWORD
from tests.fakes.pool_fakes import ManualClock

ASKED = Asked("ada", "10.0.0.1")


class Counting:
    """A store that lets a number of attempts through, and counts what it is asked."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.asked = 0
        self.settled: list[Outcome] = []

    async def begin(self, asked, *, now):
        self.asked += 1
        await asyncio.sleep(0)
        if self.allowed <= 0:
            return Wait(60.0, Counter.ADDRESS)
        self.allowed -= 1
        return Attempt(asked, ())

    async def settle(self, attempt, outcome, *, now):
        self.settled.append(outcome)
        if outcome is Outcome.PASSED:
            self.allowed += 1


async def attempt(throttle, outcome=None, asked=ASKED) -> str:
    try:
        async with throttle.trial(asked) as trial:
            await asyncio.sleep(0)
            trial.outcome = outcome
    except TooManyRequests:
        return "wait"
    return "checked"


async def test_whoever_has_to_wait_costs_the_store_nothing_until_then():
    clock, store = ManualClock(), Counting(3)
    throttle = LoginThrottle(store, clock)
    made = await asyncio.gather(*(attempt(throttle) for _ in range(100)))
    assert made.count("checked") == 3
    asked = store.asked
    assert asked <= 3 + AT_ONCE
    assert await attempt(throttle) == "wait"
    assert store.asked == asked
    clock.advance(61.0)
    await attempt(throttle)
    assert store.asked == asked + 1


async def test_a_crowd_that_knows_the_password_gets_in_a_few_at_a_time():
    store = Counting(AT_ONCE)
    throttle = LoginThrottle(store, ManualClock())
    made = await asyncio.gather(*(attempt(throttle, Outcome.PASSED) for _ in range(100)))
    assert set(made) == {"checked"}
    assert len(throttle) == 0


async def test_the_crowd_at_one_account_is_bounded():
    throttle = LoginThrottle(Counting(1000), ManualClock())
    made = await asyncio.gather(*(attempt(throttle) for _ in range(AT_ONCE + MAX_WAITING + 7)))
    assert made.count("wait") == 7


async def test_a_store_that_goes_away_lets_in_whoever_knew_the_password():
    class Leaving(Counting):
        async def settle(self, attempt, outcome, *, now):
            raise Unavailable("store", "away")

    throttle = LoginThrottle(Leaving(1), ManualClock())
    assert await attempt(throttle, Outcome.PASSED) == "checked"


async def test_the_memory_of_who_has_to_wait_is_bounded():
    throttle = LoginThrottle(Counting(0), ManualClock(), limit=5)
    for number in range(20):
        assert await attempt(throttle, asked=Asked("ada", str(number))) == "wait"
    assert len(throttle) == 5


@pytest.mark.parametrize(
    ("address", "whole"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix:" + "x" * 100, "unix:" + "x" * 59),
    ],
)
def test_an_address_is_what_one_subscriber_has(address, whole):
    assert whole_address(address) == whole


def test_an_account_is_counted_under_a_digest_whatever_was_typed():
    assert len(account_digest("\ud800")) == len(account_digest("ada@example.com")) == 32


async def test_twelve_strangers_lock_the_owner_out_neither_by_address_nor_by_device(rig):
    await rig.add_user()
    ingress = rig.app.state.ingress

    async def login(address: str, password: str, device: str = "") -> int:
        try:
            await ingress.sign_in.login(EMAIL, password, "k", Visitor(address, "", device))
        except TooManyRequests:
            return 429
        except Unauthenticated:
            return 401
        return 200

    browser = rig.http()
    body = {"email": EMAIL, "password": PASSWORD}
    await browser.post("/api/v1/auth/login", json=body)  # from 127.0.0.1
    [device] = [v for n, v in browser.cookies.items() if n.startswith("coditect_device_")]
    guesses = [login(f"198.51.100.{n}", "wrong") for n in range(12) for _ in range(10)]
    answers = await asyncio.gather(*guesses)
    assert answers.count(401) == 50
    assert await login("203.0.113.1", PASSWORD) == 429, "a new place waits, as strangers do"
    assert await login("127.0.0.1", PASSWORD) == 200
    assert await login("203.0.113.1", PASSWORD, device) == 200
    assert await login("203.0.113.1", PASSWORD, device[:-2]) == 200, "by now the place is known"
    assert await login("203.0.113.2", PASSWORD, device[:-2]) == 429
    await rig.add_user("grace@example.com")
    account = account_digest("grace@example.com")
    assert ingress.signer.read_device(device, account, rig.deps.clock.now()) == ""
