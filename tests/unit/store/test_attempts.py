"""Attempts to sign in that are let through, and those that wait."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cluster.store.engines.interface import Engine
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.layers.accounts.attempts import (
    ALLOWED,
    MAX_KNOWN,
    WINDOW_SECONDS,
    Asked,
    Attempt,
    AttemptStore,
    Counter,
    Outcome,
    Wait,
    counters,
)
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import transact
from tests.fakes.engines import CALLERS_ENGINES, opened_engine

OWNER = Asked("ada", "10.0.0.1")
DEVICE = Asked("ada", "203.0.113.9", device="d-1")


@pytest.fixture(params=CALLERS_ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(engine: Engine) -> AttemptStore:
    return AttemptStore(engine, "t")


@pytest.mark.parametrize(
    ("asked", "known", "held"),
    [
        (Asked("a", "1", "d"), True, (Counter.DEVICE,)),
        (Asked("a", "1", "d"), False, (Counter.DEVICE,)),
        (Asked("a", "", "d"), False, (Counter.DEVICE,)),
        (Asked("a", "1"), True, (Counter.ADDRESS,)),
        (Asked("a", "1"), False, (Counter.ADDRESS, Counter.STRANGERS)),
        (Asked("a"), False, (Counter.STRANGERS,)),
        (Asked("a"), True, (Counter.STRANGERS,)),
    ],
)
def test_who_is_known_is_not_counted_with_strangers(asked, known, held):
    assert counters(asked, known=known) == held


async def admitted(store: AttemptStore, asked: Asked, tries: int, now: float) -> int:
    begun = [await store.begin(asked, now=now) for _ in range(tries)]
    return sum(isinstance(each, Attempt) for each in begun)


async def succeed(store: AttemptStore, asked: Asked, now: float) -> None:
    attempt = await store.begin(asked, now=now)
    assert isinstance(attempt, Attempt)
    await store.settle(attempt, Outcome.PASSED, now=now)


async def test_of_many_attempts_at_once_exactly_as_many_are_let_through_as_are_allowed(store):
    begun = await asyncio.gather(*(store.begin(OWNER, now=0.0) for _ in range(40)))
    assert sum(isinstance(each, Attempt) for each in begun) == ALLOWED[Counter.ADDRESS]
    assert all(each.seconds == WINDOW_SECONDS for each in begun if isinstance(each, Wait))


async def test_after_a_quiet_window_it_begins_anew(store):
    assert await admitted(store, OWNER, 20, 0.0) == 10
    assert await store.begin(OWNER, now=50.0) == Wait(10.0, Counter.ADDRESS)
    assert await admitted(store, OWNER, 20, WINDOW_SECONDS) == 10


async def test_strangers_keep_each_other_out_and_not_whoever_is_known(store):
    await succeed(store, OWNER, 0.0)
    await succeed(store, DEVICE, 0.0)
    strangers = [Asked("ada", f"198.51.100.{number}") for number in range(12)]
    let = [await admitted(store, stranger, 10, 1.0) for stranger in strangers]
    assert sum(let) == ALLOWED[Counter.STRANGERS]
    assert await admitted(store, Asked("ada", "198.51.100.99"), 1, 1.0) == 0
    assert await admitted(store, Asked("ada"), 1, 1.0) == 0
    assert await admitted(store, OWNER, 20, 1.0) == 10
    assert await admitted(store, DEVICE, 20, 1.0) == 10
    assert await admitted(store, Asked("grace", "198.51.100.1"), 20, 1.0) == 10


async def test_an_attempt_that_passed_or_was_not_checked_is_taken_back(store):
    for _ in range(30):
        await succeed(store, OWNER, 0.0)
    for _ in range(30):
        attempt = await store.begin(OWNER, now=0.0)
        assert isinstance(attempt, Attempt)
        await store.settle(attempt, Outcome.UNCHECKED, now=0.0)
    assert await admitted(store, OWNER, 20, 0.0) == 10


async def test_whoever_gets_in_as_a_stranger_does_not_clear_the_strangers(store):
    for number in range(9):
        await admitted(store, Asked("ada", f"198.51.100.{number}"), 5, 0.0)
    await succeed(store, OWNER, 0.0)
    late = [Asked("ada", f"192.0.2.{number}") for number in range(9)]
    assert sum([await admitted(store, each, 1, 0.0) for each in late]) == 5


async def keys_of(engine: Engine, branch: str) -> int:
    directory = getattr(Keyspace("t"), branch)

    async def work(tr):
        return len(await tr.get_range(directory.range()))

    return await transact(engine, work)


async def test_neither_counters_nor_known_addresses_pile_up(engine, store):
    for number in range(30):
        await succeed(store, Asked("ada", f"10.0.1.{number}"), float(number))
    assert await keys_of(engine, "known_addresses") == MAX_KNOWN
    for number in range(40):
        await store.begin(Asked(f"nobody{number}", "10.0.0.9"), now=100.0)
    assert await keys_of(engine, "attempts") == 80
    for number in range(60):
        await store.begin(Asked(f"x{number}", "10.0.0.8"), now=200.0 + 70.0 * number)
    assert await keys_of(engine, "attempts") == 2
    assert await keys_of(engine, "attempt_ages") == 2


class Throttle(RuleBasedStateMachine):
    """Compares the store with a plain account of who has tried what and when."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = self.tmp()
        self.engine = LmdbEngine(self.directory, map_size=16 << 20)
        self.loop.run_until_complete(self.engine.open())
        self.store = AttemptStore(self.engine, "t")
        self.now = 1000.0
        self.counts: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0, 0.0])
        self.known: set[tuple[str, str]] = set()

    def tmp(self) -> Path:
        import tempfile  # noqa: PLC0415

        self._held = tempfile.TemporaryDirectory()
        return Path(self._held.name)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.loop.run_until_complete(self.engine.close())
            self.loop.close()
            self._held.cleanup()

    def expected(self, asked: Asked) -> list[tuple[tuple[str, ...], int]]:
        if asked.device:
            return [((asked.account, "d", asked.device), 10)]
        own = ((asked.account, "a", asked.address), 10)
        if (asked.account, asked.address) in self.known:
            return [own]
        return [own, ((asked.account, "s"), 50)]

    @rule(
        account=st.sampled_from(["ada", "bob"]),
        address=st.sampled_from(["1", "2", "3"]),
        device=st.sampled_from(["", "", "d"]),
        tries=st.integers(1, 12),
        outcome=st.sampled_from([None, None, Outcome.PASSED, Outcome.UNCHECKED]),
    )
    def attempt(self, account, address, device, tries, outcome) -> None:
        asked = Asked(account, address, device)
        for _ in range(tries):
            held = self.expected(asked)
            for key, _ in held:
                if self.now - self.counts[key][1] >= WINDOW_SECONDS:
                    self.counts[key] = [0, self.counts[key][1]]
            free = all(self.counts[key][0] < allowed for key, allowed in held)
            begun = self.loop.run_until_complete(self.store.begin(asked, now=self.now))
            assert isinstance(begun, Attempt) is free
            if not isinstance(begun, Attempt):
                assert 0 < begun.seconds <= WINDOW_SECONDS
                continue
            for key, _ in held:
                self.counts[key] = [self.counts[key][0] + 1, self.now]
            if outcome is None:
                continue
            self.loop.run_until_complete(self.store.settle(begun, outcome, now=self.now))
            for key, _ in held:
                passed = outcome is Outcome.PASSED and key[1] != "s"
                self.counts[key][0] = 0 if passed else self.counts[key][0] - 1
            if outcome is Outcome.PASSED:
                self.known.add((account, address))

    @rule(seconds=st.sampled_from([1.0, 20.0, 59.0, 60.0, 500.0]))
    def wait(self, seconds) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_negative(self) -> None:
        assert all(count >= 0 for count, _ in getattr(self, "counts", {}).values())


TestThrottle = Throttle.TestCase
TestThrottle.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
