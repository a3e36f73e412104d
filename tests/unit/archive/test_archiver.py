"""The archiver follows what the records of containers and sessions say, in whatever order they come."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from actors.core.informer import GATHER_SECONDS
from actors.core.records.containers import ContainerStatus
from cluster.archive.archiver import FIRST_PAUSE, Archiver
from tests.fakes.ledger import MemoryLedger
from tests.fakes.pool_fakes import ManualClock, container_record, session_record, settle


class EndlessSyncer:
    """Follows until it is cancelled, unless there are ``errors``; ``routes`` are those that it followed."""

    def __init__(self, session_id: str) -> None:
        self.fence = SimpleNamespace(session_id=session_id)
        self.route = None
        self.routes: list = []
        self.ended = False
        self.restoring = 0

    async def follow(self) -> None:
        self.routes.append(self.route)
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


class Node:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = MemoryLedger(self.clock)
        self.syncers: dict[str, EndlessSyncer] = {}

        async def nothing() -> None:
            return None

        tools = SimpleNamespace(clock=self.clock, client=SimpleNamespace(close=nothing))
        collector = SimpleNamespace(run=nothing, stats=dict)
        self.archiver = Archiver(tools, self.ledger, "node-1", collector)
        self.archiver._make = self.make
        self.running = asyncio.create_task(self.archiver.run())

    def make(self, record):
        return self.syncers.setdefault(record.container_id, EndlessSyncer(record.session_id))

    async def pass_time(self, seconds: float) -> None:
        await settle()
        self.clock.advance(seconds)
        await settle()

    async def launched(self) -> None:
        await self.ledger.put_container(
            container_record("c1", ContainerStatus.READY, session_id="s1", user_id="u1")
        )
        await self.pass_time(GATHER_SECONDS)


@pytest.fixture
async def node():
    made = Node()
    await made.pass_time(1.0)
    yield made
    made.running.cancel()
    await asyncio.gather(made.running, return_exceptions=True)
    await made.archiver.close()


async def test_a_container_is_followed_as_soon_as_it_serves_a_session(node):
    node.ledger.stored["s1"] = session_record("s1", container_id="c1", epoch=3)
    await node.launched()
    assert [route.epoch for route in node.syncers["c1"].routes] == [3]


async def test_the_record_of_its_session_may_come_later(node):
    await node.launched()
    assert node.syncers["c1"].routes == []
    node.ledger.stored["s1"] = session_record("s1", container_id="c1", epoch=3)
    await node.pass_time(FIRST_PAUSE)
    assert [route.epoch for route in node.syncers["c1"].routes] == [3]


async def test_one_that_is_gone_is_followed_no_more(node):
    node.ledger.stored["s1"] = session_record("s1", container_id="c1")
    await node.launched()
    await node.ledger.remove_container("c1")
    await node.pass_time(GATHER_SECONDS)
    assert node.syncers["c1"].ended
    assert node.archiver.stats()["workspaces_followed"] == 0
