"""The keeper of a lease, over a ledger in memory: it acts only while it may."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.sessions import Fenced, NotBound
from actors.core.lease import LeaseRules
from actors.core.records.sessions import SessionPhase, SessionRecord
from actors.session import lease_keeper as session_lease
from actors.session.lease_keeper import LeaseKeeper
from actors.session.record_writer import RecordWriter
from tests.fakes.ledger import MemoryLedger
from tests.fakes.pool_fakes import ManualClock

RULES = LeaseRules(seconds=8.0)


class SilentStore(MemoryLedger):
    """Does not answer renewals while ``silent``."""

    silent = False

    async def renew_lease(self, record, number):
        if self.silent:
            raise Unavailable("store", "no answer")
        await super().renew_lease(record, number)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def ledger(clock) -> SilentStore:
    made = SilentStore(clock)
    made.stored["s"] = SessionRecord(
        session_id="s",
        tenant_id="t",
        user_id="u",
        name="main",
        phase=SessionPhase.READY,
        epoch=3,
        workspace_id="w",
        owner_actor_id="a1",
        created_at=0.0,
        updated_at=0.0,
        last_activity=0.0,
    )
    return made


@pytest.fixture
def writer(ledger) -> RecordWriter:
    return RecordWriter(ledger, ledger.stored["s"])


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def advance(clock: ManualClock) -> None:
    clock.advance(RULES.renew_every)


@pytest.fixture
async def keeper(clock, writer, monkeypatch):
    monkeypatch.setattr(session_lease, "WRITE_SECONDS", 0.05)
    keeper = LeaseKeeper(writer, clock, RULES)
    task = asyncio.create_task(keeper.run())
    keeper.task = task
    await settle()
    yield keeper
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_holds_from_its_first_renewal_on_and_renews_in_time(keeper, clock, ledger):
    await keeper.hold()
    for _ in range(10):
        clock.advance(RULES.renew_every)
        await settle()
        await keeper.hold()
    assert ledger.leases["s"] >= 10
    assert not keeper.has_run_out


async def test_without_a_store_it_stops_acting_and_goes_on_when_nobody_took_over(
    keeper, clock, ledger
):
    ledger.silent = True
    for _ in range(8):
        clock.advance(RULES.seconds / 8)
        await settle()
    assert keeper.has_run_out
    with pytest.raises(Unavailable):
        await keeper.hold()
    ledger.silent = False
    clock.advance(RULES.renew_every)
    await settle()
    await keeper.hold()


async def test_one_that_was_stopped_finds_its_lease_gone_and_itself_fenced(keeper, clock, ledger):
    ledger.take_over("s", "a2")
    clock.advance(RULES.seconds)
    with pytest.raises(Unavailable):
        await keeper.hold()
    assert keeper.has_run_out
    with pytest.raises(Fenced):
        await keeper.task


async def test_it_ends_with_its_activation(keeper, clock, writer):
    writer.close()
    clock.advance(RULES.renew_every)
    await keeper.task


async def test_an_epoch_that_its_own_writer_raises_does_not_fence_it(keeper, clock, writer):
    await asyncio.gather(writer.raise_epoch(lambda record: record), advance(clock))
    await settle()
    await keeper.hold()
    assert not keeper.task.done()
    with pytest.raises(NotBound):
        writer.close()
        await writer.raise_epoch(lambda record: record)


async def test_one_that_is_given_up_is_held_again_only_after_a_renewal(keeper, clock):
    await keeper.hold()
    keeper.give_up()
    assert not keeper.has_run_out
    holding = asyncio.create_task(keeper.hold())
    await settle()
    assert not holding.done()
    clock.advance(RULES.renew_every)
    await settle()
    await holding
