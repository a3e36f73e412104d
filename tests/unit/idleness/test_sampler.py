"""The sampling of containers, with session actors, a ledger and CODIs of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.core import informer
from actors.core.errors.base import ActorGone
from actors.core.records.idleness import Activity, Idleness
from actors.core.records.sessions import SessionPhase
from actors.core.settings import IdleRules, Signal
from actors.idleness.sampler import IdlenessSampler
from tests.fakes.ledgers import opened_stores
from tests.fakes.pool_fakes import ManualClock
from tests.fakes.session_fakes import Workbench

AFTER = 10.0
"""Shorter than the time after which a session without clients goes passive."""


class LocalOwners:
    """Session actors of this process."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.runners = {}
        self.before_sleep = lambda: None

    def _of(self, actor_id):
        try:
            return self.runners[actor_id]
        except KeyError:
            raise ActorGone(actor_id) from None

    async def sleep_if_quiet(self, actor_id, session_id, container_id, quiet):
        self.before_sleep()
        return await self._of(actor_id).sleep_if_quiet(session_id, container_id, quiet)

    async def open(self, session):
        runner = self.runners["a2"] = self.bench.runner("a2")
        await runner.bind(await self.bench.claim("a2"), None)
        return "a2"


class House:
    """One session that runs, and the watch over it."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.owners = LocalOwners(bench)
        weights = dict.fromkeys(Signal, 0.5) | {Signal.INPUT: 1.0, Signal.CPU: 1.0}
        services = bench.services()
        idle = IdleRules(AFTER, weights)
        self.services = replace(services, settings=replace(services.settings, idle=idle))
        self.attached = {"s1": 0}
        self.runner = self.sampler()

    def sampler(self) -> IdlenessSampler:
        containers = informer.of_containers(self.services)
        return IdlenessSampler(self.services, self.owners, containers, self.attached.__getitem__)

    async def open(self) -> None:
        self.owners.runners["a1"] = await self.bench.ready("a1")

    async def round(self, seconds: float = 0.0) -> None:
        self.bench.clock.advance(seconds)
        await self.runner.round()

    @property
    def container_id(self) -> str:
        return self.bench.ledger.stored["s1"].container_id

    def seen(self, **activity) -> None:
        at = self.bench.clock.monotonic()
        self.bench.codi.activities[self.container_id] = Activity(at=at, **activity)

    async def phase(self) -> SessionPhase:
        holder = next(r for r in self.owners.runners.values() if r.state()["session_id"])
        return (await holder.view("s1")).phase


@pytest.fixture
async def house() -> AsyncIterator[House]:
    clock = ManualClock()
    async with opened_stores("memory", Path(), clock) as stores:
        bench = Workbench(stores, clock)
        made = House(bench)
        await made.open()
        yield made
        await bench.close()


async def test_a_quiet_session_sleeps_after_its_time_and_not_before(house):
    await house.round()
    await house.round(1)
    known = await house.bench.ledger.idleness("s1")
    assert known.sleeps_at == pytest.approx(house.bench.clock.now() - 1 + AFTER)
    await house.round(AFTER - 2)
    assert house.bench.codi.sealed == []
    container = house.container_id
    await house.round(1)
    assert house.bench.codi.sealed == [container]
    assert await house.phase() in {SessionPhase.HIBERNATING, SessionPhase.HIBERNATED}
    assert house.runner.stats()["idle_hibernations_total"] == 1


async def test_typing_keeps_it_awake_and_is_reported_once(house):
    for _ in range(5):
        await house.round(AFTER / 2)
        house.seen(input_age=1.0)
    await house.round(AFTER / 2)
    assert house.bench.codi.sealed == []
    because = [data["awake_because"] for data in house.bench.events.of("idle")]
    assert because.count(["input"]) == 1


async def test_what_happens_at_the_last_moment_calls_sleep_off(house):
    await house.round()
    house.owners.before_sleep = lambda: house.seen(input_age=0.0)
    await house.round(AFTER)
    house.bench.clock.advance(1)
    assert house.bench.codi.sealed == []
    assert await house.phase() is SessionPhase.READY
    assert house.runner.stats()["idle_hibernations_called_off_total"] == 1


async def test_a_veto_keeps_it_awake_and_survives_what_is_reported(house):
    ledger = house.bench.ledger
    await house.round()
    until = house.bench.clock.now() + 2 * AFTER
    ledger.idleness_of["s1"] = Idleness(session_id="s1", keep_awake_until=until)
    await house.round(AFTER + 1)
    assert house.bench.codi.sealed == []
    known = await ledger.idleness("s1")
    assert (known.keep_awake_until, known.due_at) == (until, until)
    await house.round(AFTER)
    assert len(house.bench.codi.sealed) == 1


async def test_attached_sockets_count(house):
    house.attached["s1"] = 1
    await house.round()
    await house.round(1)
    assert (await house.bench.ledger.idleness("s1")).signals == ("clients",)


async def test_a_passive_session_gets_an_owner_to_sleep(house):
    first = house.owners.runners.pop("a1")
    ledger = house.bench.ledger
    await house.bench.kill(first)
    await ledger.passivate(ledger.stored["s1"])
    await house.round()
    await house.round(AFTER)
    assert len(house.bench.codi.sealed) == 1
    assert house.owners.runners["a2"].state()["session_id"] == "s1"


async def test_a_container_that_does_not_answer_is_left_to_others(house):
    await house.round()
    house.bench.codi.deaf.add(house.container_id)
    await house.round(2 * AFTER)
    assert house.bench.codi.sealed == []
    assert house.runner.stats()["idle_failures_total"] == 1


async def test_a_successor_begins_to_watch_anew(house):
    await house.round()
    await house.round(AFTER - 1)
    house.runner = house.sampler()
    await house.round(1)
    await house.round(AFTER - 1)
    assert house.bench.codi.sealed == []
    await house.round(1)
    assert len(house.bench.codi.sealed) == 1


async def test_a_session_that_hibernates_by_request_is_watched_no_more(house):
    await house.round()
    await house.owners.runners["a1"].hibernate("s1")
    await house.round(AFTER)
    assert house.bench.codi.sealed == []
    assert house.runner.stats()["idle_sessions_watched"] == 0
