"""A view of a real store's records, against the records, whatever happens between any two reads.

Several readers share a feed, whose log is trimmed; one may fall behind it, or be restarted. Whoever is
current and stands at the newest change has exactly what the store has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st

from actors.core.records.containers import ContainerRecord, ContainerStatus
from actors.core.view import RecordView
from cluster.store.layers import changes
from cluster.store.layers.keyspace import Keyspace
from cluster.store.ledger import StoreLedger
from tests.fakes.engines import opened_engine
from tests.fakes.pool_fakes import ManualClock, container_record

IDS = st.sampled_from([f"c{n}" for n in range(12)])
READERS = st.integers(0, 1)
NODES = st.sampled_from(["node-1", "node-1", "node-2"])
STATUSES = st.sampled_from([ContainerStatus.WARM, ContainerStatus.READY, ContainerStatus.STOPPED])
NEWEST = Keyspace("t").newest_changes.key(changes.containers_of("node-1"))


class ViewMachine(stateful.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(changes, "PAGE", 3)
        self.patch.setattr(changes, "CHANGES_AT_ONCE", 4)
        self.loop = asyncio.new_event_loop()
        self.opened = AsyncExitStack()
        making = opened_engine("fdb_double", Path(), clock=lambda: 0.0)
        self.engine = self.do(self.opened.enter_async_context(making))
        self.ledger = StoreLedger(self.engine, "t", ManualClock())
        self.feed = self.ledger.container_feed("node-1")
        self.logs = changes.ChangeLogs(self.engine, Keyspace("t"))
        self.views: list[RecordView[ContainerRecord]] = [RecordView(), RecordView()]
        self.nodes: dict[str, str] = {}

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    @stateful.rule(ids=st.lists(IDS, min_size=1, max_size=6), status=STATUSES, node=NODES)
    def write(self, ids: list[str], status: ContainerStatus, node: str) -> None:
        for container_id in ids:
            home = self.nodes.setdefault(container_id, node)  # a container never moves
            record = container_record(container_id, status, node_id=home)
            self.do(self.ledger.put_container(record))

    @stateful.rule(container_id=IDS)
    def remove(self, container_id: str) -> None:
        self.do(self.ledger.remove_container(container_id))

    @stateful.rule(reader=READERS)
    def read(self, reader: int) -> None:
        view = self.views[reader]
        view.apply(self.do(self.feed.read(view.question())))

    @stateful.rule(reader=READERS)
    def catch_up(self, reader: int) -> None:
        for _ in range(100):
            self.read(reader)
            if self.views[reader].is_current:
                return
        raise AssertionError("never current")

    @stateful.rule(reader=READERS)
    def list_again(self, reader: int) -> None:
        self.views[reader].list_again()

    @stateful.rule()
    def trim(self) -> None:
        self.do(self.logs.trim())

    @stateful.rule(reader=READERS)
    def restart_reader(self, reader: int) -> None:
        self.views[reader] = RecordView()

    @stateful.invariant()
    def whoever_has_seen_the_newest_change_has_all(self) -> None:
        [newest] = self.do(self.engine.get_many([NEWEST], None)).values
        stored = {r.container_id: r for r in self.do(self.ledger.containers())}
        here = {i: record for i, record in stored.items() if record.node_id == "node-1"}
        for view in self.views:
            assert view.repairs == 0
            if view.is_current and view.place == newest:
                assert view.records == here

    def teardown(self) -> None:
        try:
            for reader in range(len(self.views)):
                self.catch_up(reader)
            self.whoever_has_seen_the_newest_change_has_all()
        finally:
            self.do(self.opened.aclose())
            self.patch.undo()
            self.loop.close()


ViewMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestView = ViewMachine.TestCase
