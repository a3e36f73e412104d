"""Callers of a store that fails by seed: nothing acknowledged is lost, nothing happens twice.

The store grows old, meets conflicts, loses answers of commits that were applied and of commits that
were not, and applies some long after their sender gave up. Over the embedded engine the faults are
injected above it, over FoundationDB's double in the cluster below it, and also in both places.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from actors.core.errors.sessions import Fenced, SlotGone
from actors.core.informer import Informer
from actors.core.ports.ledger import ClaimRequest
from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import SessionRecord
from cluster.clock import SystemClock
from cluster.store.engines.interface import Engine, MutationKind
from cluster.store.ledger import StoreLedger
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import double_engine, opened_engine
from tests.fakes.faulty_engine import FaultyEngine
from tests.fakes.fdb_cluster import Cluster, Faults
from tests.fakes.pool_fakes import ManualClock, container_record

SEEDS = range(8)
NOW = 1000.0
Settle = Callable[[], Awaitable[None]]


@asynccontextmanager
async def faulty(name: str, seed: int, directory: Path) -> AsyncIterator[tuple[Engine, Settle]]:
    """Open a failing store; the second value lets everything under way arrive and ends the faults."""
    cluster = Cluster(time.monotonic)
    async with AsyncExitStack() as stack:
        if name.startswith("fdb_double"):
            below: Engine = double_engine(cluster)
            await below.open()
            stack.push_async_callback(below.close)
            cluster.faults = Faults(seed, commit_rate=0.3, read_rate=0.1)
        else:
            below = await stack.enter_async_context(opened_engine(name, directory))
        engine = below if name == "fdb_double" else FaultyEngine(below, seed)

        async def settle() -> None:
            if isinstance(engine, FaultyEngine):
                await engine.settle()
                engine.stop()
            cluster.settle()
            cluster.faults.stop()

        yield engine, settle


STORES = [
    "lmdb",
    "fdb_double",
    "fdb_double_twice",
    pytest.param("fdb_cluster", marks=pytest.mark.fdb),
]


@pytest.fixture(params=STORES)
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_increment_counts_once(name, seed, tmp_path):
    """Half of them read and write, half add blindly."""

    async def increment(tr: Transaction) -> None:
        value = int.from_bytes(await tr.get(b"read") or b"", "little")
        tr.set(b"read", (value + 1).to_bytes(8, "little"))

    async def add(tr: Transaction) -> None:
        tr.atomic(MutationKind.ADD, b"blind", (1).to_bytes(8, "little"))

    async def both(tr: Transaction) -> list[int]:
        values = await tr.get_many([b"read", b"blind"])
        return [int.from_bytes(value or b"", "little") for value in values]

    async with faulty(name, seed, tmp_path) as (engine, settle):

        async def writer() -> None:
            for _ in range(6):
                await transact(engine, increment)
                await transact(engine, add)

        await asyncio.gather(*(writer() for _ in range(4)))
        await settle()
        assert await transact(engine, both) == [24, 24]


@pytest.mark.parametrize("seed", SEEDS)
async def test_views_of_containers_miss_nothing_that_was_written(name, seed, tmp_path):
    async with faulty(name, seed, tmp_path) as (engine, settle):
        ledger = StoreLedger(engine, "t", ManualClock(NOW))
        views = [Informer(ledger.container_feed("node-1"), SystemClock()) for _ in range(2)]

        async def writer(number: int) -> None:
            for n in range(6):
                await ledger.put_container(container_record(f"c{number}-{n % 4}", ready_at=n))
                await ledger.remove_container(f"c{number}-{n // 2}")

        async def reader(view: Informer) -> None:
            for _ in range(6):
                await view.refresh()
                await view.wait(0.1)

        await asyncio.gather(*map(writer, range(3)), *map(reader, views))
        await settle()
        stored = {c.container_id: c for c in await ledger.containers()}
        for view in views:
            assert await view.refresh() == stored
            assert view.stats("x")["x_repairs_total"] == 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_of_rival_claims_one_owns_the_session_and_each_container_serves_one(
    name, seed, tmp_path
):
    async with faulty(name, seed, tmp_path) as (engine, settle):
        ledger = StoreLedger(engine, "t", ManualClock(NOW))
        for n in range(3):
            await ledger.put_container(container_record(f"c{n}"))

        async def claim(rival: int, user: int):
            for container in itertools.chain((f"c{(rival + n) % 3}" for n in range(3)), [None]):
                try:
                    return await ledger.claim(
                        ClaimRequest(
                            user_id=f"u{user}",
                            name="main",
                            new_session_id=f"s{rival}",
                            new_workspace_id=f"w{rival}",
                            actor_id=f"a{rival}",
                            node_id="n",
                            container_id=container,
                            now=NOW,
                        )
                    )
                except SlotGone:
                    continue
            raise AssertionError("a claim without a container always has an answer")

        claims = await asyncio.gather(*(claim(n, n % 4) for n in range(12)))
        await settle()
        won = [made.session for made in claims if made.won]
        assert len(won) == 4
        assert sum(made.created for made in claims) == 4
        assert {made.session.session_id for made in claims} == {s.session_id for s in won}
        assert sorted(await ledger.sessions(), key=_id) == sorted(won, key=_id)
        for session in won:
            assert await ledger.bound_session(session.owner_actor_id) == session
        containers = {c.container_id: c for c in await ledger.containers()}
        taken = [session.container_id for session in won if session.container_id]
        assert len(taken) == len(set(taken)) == 3
        for session in won:
            if session.container_id:
                record = containers[session.container_id]
                assert record.session_id == session.session_id
                assert record.status is ContainerStatus.READY


@pytest.mark.parametrize("seed", SEEDS)
async def test_rivals_for_one_session_lose_no_acknowledged_save_and_overwrite_none(
    name, seed, tmp_path
):
    """Each takes the session from the other, saves until it is fenced, and takes it again."""
    async with faulty(name, seed, tmp_path) as (engine, settle):
        ledger = StoreLedger(engine, "t", ManualClock(NOW))
        first = await ledger.claim(
            ClaimRequest(
                user_id="u",
                name="main",
                new_session_id="s",
                new_workspace_id="w",
                actor_id="a0",
                node_id="n",
                container_id=None,
                now=NOW,
            )
        )
        acknowledged: list[str] = []
        epochs: list[int] = [first.session.epoch]

        async def rival(me: int) -> None:
            for turn in range(3):
                try:
                    record = await ledger.activate(
                        "s", actor_id=f"a{me}", node_id="n", now=NOW, dead_actor_id=f"a{1 - me}"
                    )
                except Fenced:
                    continue
                epochs.append(record.epoch)
                try:
                    for n in range(4):
                        mark = f"{me}/{turn}/{n}"
                        record = await ledger.save_session(_marked(record, mark), key=mark)
                        acknowledged.append(mark)
                except Fenced:
                    continue

        await asyncio.gather(rival(0), rival(1))
        # Whatever the two left each other, a third alone is answered.
        before = await ledger.session("s")
        assert before is not None
        record = await ledger.activate(
            "s", actor_id="a2", node_id="n", now=NOW, dead_actor_id=before.owner_actor_id
        )
        epochs.append(record.epoch)
        await ledger.save_session(_marked(record, "2/0/0"), key="2/0/0")
        acknowledged.append("2/0/0")
        await settle()
        final = await ledger.session("s")
        assert final is not None
        saved = final.workspace_state.get("saved", [])
        assert len(saved) == len(set(saved))
        assert set(acknowledged) <= set(saved)
        for mine in ("0/", "1/"):
            # Only one's own order is certain: an answer may come long after its commit.
            kept = [mark for mark in saved if mark in acknowledged and mark.startswith(mine)]
            assert kept == [mark for mark in acknowledged if mark.startswith(mine)]
        assert len(epochs) == len(set(epochs))


def _marked(record: SessionRecord, mark: str) -> SessionRecord:
    saved = [*record.workspace_state.get("saved", []), mark]
    return record.model_copy(
        update={"workspace_state": {"saved": saved}, "restarts": record.restarts + 1}
    )


def _id(record: SessionRecord) -> str:
    return record.session_id
