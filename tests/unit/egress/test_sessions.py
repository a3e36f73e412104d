"""What sessions of a gateway may do at once and in a day, and what is written down of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from actors.core.errors.base import Unavailable
from actors.core.records.egress import EgressPolicy, NetworkRecord
from cluster.egress.conversation import Refusal
from cluster.egress.policy import Rules
from cluster.egress.rates import Limits
from cluster.egress.sessions import MAX_LINES, Sessions
from cluster.egress.turns import Turns
from tests.fakes.pool_fakes import ManualClock
from tests.support.egress import MemoryBooks, MemoryTrail


@dataclass(eq=False)
class FakeWay:
    host: str
    port: int = 443
    active_at: float = 0.0
    ended: bool = False

    def end(self) -> None:
        self.ended = True


class Bench:
    def __init__(self, limits: Limits) -> None:
        self.clock = ManualClock()
        self.books, self.trail = MemoryBooks(), MemoryTrail()
        self.turns = Turns(asyncio.get_running_loop().time)
        self.sessions = self.made(limits)

    def made(self, limits: Limits) -> Sessions:
        parts = (self.books, self.trail, Rules(), limits, self.turns, self.clock)
        return Sessions("t", *parts)


async def test_connections_of_a_session_are_limited_and_anothers_are_not():
    sessions = Bench(Limits(connections=2)).sessions
    one, two = await sessions.find("s1", "u1"), await sessions.find("s2", "u2")
    ways = [FakeWay("a.test"), FakeWay("b.test")]
    for way in ways:
        sessions.decide(one, way.host, way.port)
        sessions.connect(one, way)
    with pytest.raises(Refusal, match="2 connections") as refused:
        sessions.decide(one, "c.test", 443)
    assert (refused.value.rule, refused.value.limit) == ("connections", True)
    sessions.decide(two, "c.test", 443)
    one.ways.discard(ways[0])
    sessions.decide(one, "c.test", 443)


async def test_a_day_that_is_used_up_ends_everything_and_outlives_the_gateway():
    bench = Bench(Limits(day=1000))
    sessions = bench.sessions
    session = await sessions.find("s1", "u1")
    way = FakeWay("a.test")
    sessions.connect(session, way)
    sessions.count(session, 400, 500)
    assert not way.ended
    with pytest.raises(Refusal, match="bytes of its day"):
        sessions.count(session, 50, 50)
    assert way.ended
    await sessions.flush()
    again = bench.made(Limits(day=1000))
    session = await again.find("s1", "u1")
    with pytest.raises(Refusal, match="bytes of its day"):
        again.decide(session, "a.test", 443)
    bench.clock.advance(2 * 86400)
    again.decide(session, "a.test", 443)


async def test_a_choice_ends_what_it_does_not_allow():
    sessions = Bench(Limits()).sessions
    session, other = await sessions.find("s1", "u1"), await sessions.find("s2", "u2")
    kept, gone, others = FakeWay("kept.test"), FakeWay("gone.test"), FakeWay("gone.test")
    for whose, way in ((session, kept), (session, gone), (other, others)):
        sessions.connect(whose, way)
    record = NetworkRecord(
        session_id="s1", policy=EgressPolicy.ALLOW_LIST, allow=("kept.test",), updated_at=0.0
    )
    sessions.see_choices({"s1": record})
    assert (kept.ended, gone.ended, others.ended) == (False, True, False)


async def test_secrets_that_are_added_are_counted_and_named_and_nothing_of_them_is_written():
    bench = Bench(Limits())
    session = await bench.sessions.find("s1", "u1")
    for _ in range(3):
        bench.sessions.add_secrets(session, "api.test:443", ["TOKEN", "KEY"])
    assert bench.sessions.stats()["secrets_added_total"] == 6
    bench.clock.advance(120.0)
    await bench.sessions.flush()
    lines = [(each.action, each.user_id, each.resource, each.count) for each in bench.trail.lines]
    place = "session/s1/host/api.test:443/secret"
    assert lines == [
        ("secret.add", "u1", f"{place}/TOKEN", 1),
        ("secret.add", "u1", f"{place}/KEY", 1),
        ("secret.add", "u1", f"{place}/TOKEN", 2),
        ("secret.add", "u1", f"{place}/KEY", 2),
    ]


async def test_nothing_is_lost_while_the_store_is_away_and_nothing_piles_up(monkeypatch):
    bench = Bench(Limits())
    sessions, session = bench.sessions, await bench.sessions.find("s1", "u1")
    sessions.connect(session, FakeWay("a.test"))

    async def away(_used: object) -> None:
        raise Unavailable("store", "away")

    with monkeypatch.context() as broken:
        broken.setattr(bench.books, "note_use", away)
        with pytest.raises(Unavailable):
            await sessions.flush()
        for number in range(MAX_LINES):
            many = await sessions.find(f"m{number}", "u")
            sessions.connect(many, FakeWay("a.test"))
            sessions.connect(many, FakeWay("b.test"))
        with pytest.raises(Unavailable):
            await sessions.flush()
    assert sessions.stats()["audit_entries_lost_total"] > 0
    await sessions.flush()
    assert bench.books.used["s1"].connections == 1
    assert len(bench.trail.lines) == MAX_LINES
