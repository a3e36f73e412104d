"""What every ledger's feeds keep to, as the informers see it that stand on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.core.informer import Informer
from actors.core.ports.ledger import ClaimRequest, Ledger
from actors.core.records.containers import ContainerStatus
from cluster.clock import SystemClock
from cluster.store.engines.interface import Engine, KeyRange, Pairs
from cluster.store.layers import changes
from cluster.store.layers.changes import ChangeLogs
from cluster.store.layers.keyspace import Keyspace
from cluster.store.ledger import StoreLedger
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import CALLERS_ENGINES, opened_engine
from tests.fakes.ledgers import ALL_LEDGERS, opened
from tests.fakes.memory_engine import CommitFault, MemoryEngine
from tests.fakes.pool_fakes import ManualClock, container_record, settle

NOW = 1000.0
LONG = 60.0


@pytest.fixture(params=ALL_LEDGERS)
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(request.param, tmp_path, ManualClock(NOW)) as made:
        yield made


@pytest.fixture(params=CALLERS_ENGINES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, tmp_path) as made:
        yield made


def containers_of(ledger: Ledger, node_id: str = "node-1") -> Informer:
    return Informer(ledger.container_feed(node_id), SystemClock())


def request(**changes: str | None) -> ClaimRequest:
    fields = {
        "user_id": "u1",
        "name": "main",
        "new_session_id": "s1",
        "new_workspace_id": "w1",
        "actor_id": "a1",
        "node_id": "node-1",
        "container_id": None,
    }
    return ClaimRequest(**(fields | changes), now=NOW)


async def test_a_node_sees_its_containers_without_the_stopped_ones(ledger):
    await ledger.put_container(container_record("c1"))
    await ledger.put_container(container_record("c2", node_id="node-2"))
    await ledger.put_container(container_record("c3", ContainerStatus.STOPPED))
    informer = containers_of(ledger)
    assert await informer.refresh() == {"c1": container_record("c1")}
    assert set(await containers_of(ledger, "node-2").refresh()) == {"c2"}
    await ledger.put_container(container_record("c4", node_id="node-2"))
    await ledger.put_container(container_record("c1", ContainerStatus.STOPPED))
    assert await informer.refresh() == {}


async def test_every_write_of_a_container_is_seen(ledger):
    informer = containers_of(ledger)
    assert await informer.refresh() == {}
    await ledger.put_container(container_record("c1"))
    assert (await informer.refresh())["c1"].status is ContainerStatus.WARM
    await ledger.claim(request(container_id="c1"))
    assert (await informer.refresh())["c1"].session_id == "s1"
    await ledger.set_container_status(
        "c1", ContainerStatus.LOST, expected=(ContainerStatus.READY,), reason="exited"
    )
    assert (await informer.refresh())["c1"].reason == "exited"
    await ledger.remove_container("c1")
    assert await informer.refresh() == {}
    assert informer.stats("x")["x_repairs_total"] == 0


async def test_every_write_of_a_session_is_seen(ledger):
    informer = Informer(ledger.session_feed(), SystemClock())
    assert await informer.refresh() == {}
    session = (await ledger.claim(request())).session
    assert await informer.refresh() == {"s1": session}
    session = await ledger.save_session(session.model_copy(update={"revision": 7}))
    assert (await informer.refresh())["s1"].revision == 7
    session = await ledger.new_container_epoch(session)
    assert (await informer.refresh())["s1"].epoch == session.epoch
    await ledger.passivate(session)
    assert (await informer.refresh())["s1"].owner_actor_id is None
    session = await ledger.activate(
        "s1", actor_id="a2", node_id="node-1", now=NOW, dead_actor_id=None
    )
    assert await informer.refresh() == {"s1": session}
    await ledger.end_session(session)
    assert await informer.refresh() == {}


async def test_a_write_wakes_whoever_waits(ledger):
    informer = containers_of(ledger)
    for n in range(2):
        await informer.refresh()
        waiting = asyncio.create_task(informer.wait(LONG))
        await ledger.put_container(container_record(f"c{n}"))
        await asyncio.wait_for(waiting, 60)
    assert set(await informer.refresh()) == {"c0", "c1"}


async def test_one_that_is_behind_what_is_remembered_lists_everything(engine):
    ledger, logs = StoreLedger(engine, "t", ManualClock(NOW)), ChangeLogs(engine, Keyspace("t"))
    late = containers_of(ledger)
    await ledger.put_container(container_record("c1"))
    await late.refresh()
    await ledger.remove_container("c1")
    await ledger.put_container(container_record("c2"))
    for _ in range(2):
        await logs.trim()
    assert set(await late.refresh()) == {"c2"}
    assert late.stats("x")["x_gaps_total"] == 1
    await ledger.put_container(container_record("c3"))
    assert set(await late.refresh()) == {"c2", "c3"}
    assert late.stats("x")["x_gaps_total"] == 1, "from then on changes are enough"


async def test_logs_are_bounded_though_nobody_reads_them(engine):
    ledger, logs = StoreLedger(engine, "t", ManualClock(NOW)), ChangeLogs(engine, Keyspace("t"))
    log = Keyspace("t").changes.range()
    counts = []
    for _ in range(4):
        for n in range(5):
            await ledger.put_container(container_record(f"c{n}"))
            await ledger.put_container(container_record(f"d{n}", node_id="gone"))
        await logs.trim()
        counts.append(len(await transact(engine, lambda tr: tr.get_range(log, limit=1000))))
    assert counts == [10, 12, 12, 12], "the newest ones of the last time, and what came since"


async def test_logs_are_not_written_to_while_nothing_changes(tmp_path):
    async with opened_engine("lmdb", tmp_path) as engine:
        await StoreLedger(engine, "t", ManualClock(NOW)).put_container(container_record("c1"))
        logs = ChangeLogs(engine, Keyspace("t"))
        for _ in range(2):
            await logs.trim()
        before = (await engine.statistics())["commits_total"]
        await logs.trim()
        assert (await engine.statistics())["commits_total"] == before


async def test_logs_are_trimmed_again_after_the_store_was_full():
    engine, clock = MemoryEngine(), ManualClock()
    ledger = StoreLedger(engine, "t", ManualClock(NOW))
    trimming = asyncio.create_task(changes.trim_forever(engine, "t", clock))
    counts = []
    for faults in [], [CommitFault.NO_ROOM], []:
        for n in range(5):
            await ledger.put_container(container_record(f"c{n}"))
        engine.faults = faults
        await settle()
        clock.advance(changes.TRIM_SECONDS)
        await settle()
        counts.append(len([*engine.data.irange(*Keyspace("t").changes.range())]))
    trimming.cancel()
    await asyncio.gather(trimming, return_exceptions=True)
    assert counts == [5, 10, 6]


class Counting:
    """An engine that counts reads of ranges."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.get_many, self.commit, self.watch = engine.get_many, engine.commit, engine.watch
        self.ranges = 0

    async def get_range(
        self, span: KeyRange, read_version: int | None, *, limit: int, reverse: bool
    ) -> Pairs:
        self.ranges += 1
        return await self._engine.get_range(span, read_version, limit=limit, reverse=reverse)


async def test_while_nothing_changes_no_range_is_read(tmp_path):
    async with opened_engine("lmdb", tmp_path) as engine:
        counting = Counting(engine)
        ledger = StoreLedger(counting, "t", ManualClock(NOW))
        await ledger.put_container(container_record("c1"))
        informers = [containers_of(ledger), Informer(ledger.session_feed(), SystemClock())]
        for informer in informers:
            await informer.refresh()
        counting.ranges = 0
        for informer in informers * 5:
            await informer.refresh()
        assert counting.ranges == 0


async def test_writers_do_not_conflict_over_their_feed(engine):
    ledger = StoreLedger(engine, "t", ManualClock(NOW))
    readers = [containers_of(ledger) for _ in range(2)]
    await asyncio.gather(
        *(ledger.put_container(container_record(f"c{n}")) for n in range(20)),
        *(reader.refresh() for reader in readers),
    )
    for reader in readers:
        assert len(await reader.refresh()) == 20
        assert reader.stats("x")["x_repairs_total"] == 0
    if hasattr(engine, "statistics"):
        assert (await engine.statistics())["conflicts_total"] == 0


async def test_changes_from_before_a_restored_backup_are_not_taken_for_newer_ones(engine):
    """A cluster into which a backup was restored may number its commits below those it holds."""
    ledger, keys = StoreLedger(engine, "t", ManualClock(NOW)), Keyspace("t")
    log, name = keys.changes, changes.containers_of("node-1")

    async def earlier_life(tr: Transaction) -> None:
        high = b"\xff" * 8 + b"\0\0"
        tr.set(keys.newest_changes.key(name), high)
        tr.set(log.below(name).stamped(high + b"\0\0") + b"\x02c9\x00", b"")

    await transact(engine, earlier_life)
    informer = containers_of(ledger)
    await informer.refresh()
    for n in range(6):
        await ledger.put_container(container_record(f"c{n}"))
        assert len(await informer.refresh()) == n + 1
    assert informer.stats("x")["x_gaps_total"] <= 2, "it does not list everything with each change"
