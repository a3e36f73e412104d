"""Which secrets requests get: one lookup for all who ask, and what goes on while the store is away."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.base import Unavailable
from actors.core.records.environment import Binding, SecretUse
from cluster.egress import bound
from cluster.egress.bound import BoundSecrets
from cluster.egress.conversation import Refusal, Unreached
from tests.fakes.pool_fakes import ManualClock
from tests.support.egress import MemorySecrets

HOST, SECURE = "api.test", Binding(https=True)
AWAY = Unavailable("the store", "away")


class Books(MemorySecrets):
    """Secrets whose lookups can be held, and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups = self.reads = 0
        self.free = asyncio.Event()
        self.free.set()

    async def user_version(self, user_id: str) -> int:
        self.lookups += 1
        await self.free.wait()
        return await super().user_version(user_id)

    async def bound_secrets(self, user_id: str):
        self.reads += 1
        return await super().bound_secrets(user_id)


class Bench:
    def __init__(self) -> None:
        self.books, self.clock = Books(), ManualClock()
        self.secrets = BoundSecrets(self.books, self.clock)

    async def ask(self) -> list[tuple[bytes, bytes]] | None:
        found = await self.secrets.at("u", HOST, 443)
        return None if found is None else await self.secrets.headers("u", found)


@pytest.fixture
async def bench():
    made = Bench()
    made.books.bind("u", "TOKEN", "s3cret", HOST, SECURE)
    yield made
    await made.secrets.close()


ADDED = [(b"Authorization", b"Bearer s3cret")]


async def test_those_who_ask_at_once_share_a_lookup(bench):
    bench.books.free.clear()
    asking = [asyncio.create_task(bench.ask()) for _ in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()  # its lookup is for the others too
    await asyncio.sleep(0)
    bench.books.free.set()
    assert await asyncio.gather(*asking[1:]) == [ADDED] * 99
    assert (bench.books.lookups, bench.books.reads) == (1, 1)
    bench.clock.advance(bound.FRESH_SECONDS)
    assert await bench.ask() == ADDED
    assert (bench.books.lookups, bench.books.reads) == (2, 1)


async def test_while_the_store_is_away_what_is_known_goes_on_and_it_is_asked_seldom(bench):
    await bench.ask()
    bench.books.failing = AWAY
    bench.clock.advance(60.0)
    for _ in range(10):
        assert await bench.ask() == ADDED
        assert await bench.secrets.at("u", HOST, 80) is None
    assert bench.books.lookups == 2
    bench.clock.advance(bound.FRESH_SECONDS)
    await bench.ask()
    assert bench.books.lookups == 3
    with pytest.raises(Unreached):
        await bench.secrets.at("another", HOST, 443)


async def test_a_store_that_does_not_answer_is_waited_for_but_once(bench, monkeypatch):
    monkeypatch.setattr(bound, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(bound, "_UNKNOWN_SECONDS", 0.01)
    await bench.ask()
    bench.books.free.clear()
    bench.clock.advance(60.0)
    assert await bench.ask() == ADDED
    monkeypatch.setattr(bound.asyncio, "wait", None)  # nobody waits for this lookup again
    bench.clock.advance(0.02)
    assert await bench.ask() == ADDED
    assert bench.books.lookups == 2
    monkeypatch.undo()
    monkeypatch.setattr(bound, "_UNKNOWN_SECONDS", 0.01)
    with pytest.raises(Unreached):
        await bench.secrets.at("another", HOST, 443)


async def test_what_was_sealed_anew_is_read_anew_before_it_is_refused(bench):
    bench.books.bind("u", "TOKEN", "locked", HOST, SECURE)
    with pytest.raises(Refusal, match="TOKEN does not open"):
        await bench.ask()
    with pytest.raises(Refusal):
        await bench.ask()
    assert bench.books.reads == 1  # it was just read
    version = bench.books.version
    bench.books.bind("u", "TOKEN", "s3cret", HOST, SECURE)
    bench.books.version = version  # as a new key has it
    bench.clock.advance(bound.FRESH_SECONDS)
    assert await bench.ask() == ADDED
    assert bench.books.reads == 2


async def test_of_two_for_one_header_the_newer_is_added(bench):
    bench.books.bind("u", "LATER", "newer", f"{HOST}:443", SECURE)
    later = bench.books.records["u"][-1]
    bench.books.records["u"][-1] = later.model_copy(update={"updated_at": 1.0})
    key = Binding(https=True, use=SecretUse.HEADER, header="X-Key")
    bench.books.bind("u", "KEY", "other", HOST, key)
    assert await bench.ask() == [(b"X-Key", b"other"), (b"Authorization", b"Bearer newer")]


async def test_what_is_known_is_bounded_in_bytes_and_forgotten_after_a_while(bench, monkeypatch):
    await bench.ask()
    assert len(bench.secrets._users) == 1
    bench.clock.advance(bound._KEPT_SECONDS + 1)
    bench.books.failing = AWAY
    with pytest.raises(Unreached):
        await bench.ask()
    bench.books.failing = None
    monkeypatch.setattr(bound, "_MAX_BYTES", 1)
    assert await bench.ask() == ADDED  # what is too large to be kept is looked up each time
    assert len(bench.secrets._users) == 0
