"""Conditions under which a silent owner may be replaced."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.base import Unavailable
from actors.core.lease import LeaseRules
from actors.pool.takeover import LOOK_SECONDS, Owners, Takeover
from tests.fakes.pool_fakes import (
    FakeSessionActors,
    ManualClock,
    PoolLedger,
    services,
    session_record,
)


class House:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = PoolLedger(self.clock)
        self.actors = FakeSessionActors()
        self.services = services(self.ledger, None, self.clock)
        self.owners = Owners(self.services, self.actors)
        self.patience = LeaseRules(self.services.settings.owner_lease).patience
        self.session = session_record("s1", owner_actor_id="a1", owner_node_id="node-1", epoch=1)
        self.ledger.sessions_by_id["s1"] = self.session
        self.ledger.leases["s1"] = 1
        self.actors.sessions["a1"] = "s1"

    async def wait(self, seconds: float, task: asyncio.Task, renew: bool = False) -> None:
        for _ in range(int(seconds / LOOK_SECONDS) + 1):
            if renew:
                self.ledger.leases["s1"] += 1
            for _ in range(10):
                await asyncio.sleep(0)
            if task.done():
                return
            self.clock.advance(LOOK_SECONDS)


@pytest.fixture
def house() -> House:
    return House()


async def test_an_owner_that_answers_keeps_its_session(house):
    assert await house.owners.until_free(house.session) is None


async def test_an_owner_that_is_gone_from_this_node_is_replaced_at_once(house):
    house.actors.dies("a1")
    assert await house.owners.until_free(house.session) == Takeover("a1", None)


async def test_an_owner_that_is_gone_from_another_node_may_live_until_its_lease_has_run_out(house):
    session = house.session.model_copy(update={"owner_node_id": "node-2"})
    house.ledger.sessions_by_id["s1"] = session
    house.actors.dies("a1")
    task = asyncio.create_task(house.owners.until_free(session))
    await house.wait(house.patience - 2 * LOOK_SECONDS, task)
    assert not task.done()
    await house.wait(4 * LOOK_SECONDS, task)
    assert await task == Takeover("a1", "1/1")


async def test_a_silent_owner_is_replaced_when_its_lease_has_run_out(house):
    house.actors.hangs("a1")
    task = asyncio.create_task(house.owners.until_free(house.session))
    await house.wait(house.patience - 2 * LOOK_SECONDS, task)
    assert not task.done()
    await house.wait(4 * LOOK_SECONDS, task)
    assert await task == Takeover("a1", "1/1")


async def test_a_silent_owner_that_renews_keeps_its_session_and_this_is_reported(house):
    house.actors.hangs("a1")
    task = asyncio.create_task(house.owners.until_free(house.session))
    await house.wait(3 * house.patience, task, renew=True)
    with pytest.raises(Unavailable):
        await task


async def test_an_owner_that_never_renewed_holds_no_lease_and_is_replaced_at_once(house):
    house.ledger.leases.clear()
    house.actors.hangs("a1")
    assert await house.owners.until_free(house.session) == Takeover("a1", "1/")


async def test_an_owner_that_comes_to_itself_meanwhile_keeps_its_session(house):
    house.actors.hangs("a1")
    task = asyncio.create_task(house.owners.until_free(house.session))
    await house.wait(house.patience / 2, task)
    house.actors.fate.clear()
    await house.wait(2 * LOOK_SECONDS, task)
    assert await task is None
