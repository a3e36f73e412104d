"""A FoundationDB server that is killed again and again under load: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.core.errors.base import DeadlineExceeded
from cluster.store.engines.fdb.client import MIN_API_VERSION
from cluster.store.engines.fdb.engine import FdbEngine
from cluster.store.engines.interface import MutationKind
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import API_VARIABLE
from tests.support.fdb_process import FdbProcess
from tests.support.linearizability import Recorder, linearize, transactions
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.fdb, pytest.mark.timeout(300)]
KILLS = 3
MOST_KILLS = 20
WRITERS = 12


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[tuple[FdbProcess, FdbEngine]]:
    process = FdbProcess(tmp_path)
    api_version = int(os.environ.get(API_VARIABLE, str(MIN_API_VERSION)))
    engine = FdbEngine(process.cluster_file, prefix="t", api_version=api_version)
    try:
        await asyncio.to_thread(process.create)
        await engine.open()
        yield process, engine
        await engine.close()
    finally:
        process.kill()


async def restart(process: FdbProcess, engine: FdbEngine) -> None:
    process.kill()
    process.start()

    async def answers() -> bool:
        await transact(engine, count, b"read")
        return True

    await wait_until(answers)


async def unknown_commits(engine: FdbEngine) -> int:
    statistics = await engine.statistics()
    return int(statistics["commits_unknown_total"])


async def count(tr: Transaction, key: bytes) -> int:
    return int.from_bytes(await tr.get(key) or b"", "little")


async def increment(tr: Transaction) -> None:
    tr.set(b"read", (await count(tr, b"read") + 1).to_bytes(8, "little"))


async def add(tr: Transaction) -> None:
    tr.atomic(MutationKind.ADD, b"blind", (1).to_bytes(8, "little"))


async def test_every_increment_counts_once_though_the_server_is_killed(database):
    process, engine = database
    over = asyncio.Event()
    certain = {b"read": 0, b"blind": 0}
    uncertain = {b"read": 0, b"blind": 0}

    async def writer(key: bytes, work) -> None:
        while not over.is_set():
            try:
                await transact(engine, work)
            except DeadlineExceeded:
                # The outcome of one that was given up is not known.
                uncertain[key] += 1
            else:
                certain[key] += 1

    async with asyncio.TaskGroup() as group:
        for n in range(WRITERS):
            group.create_task(writer(b"blind", add) if n % 2 else writer(b"read", increment))
        kills = 0
        # A kill may come between all commits, so there are more until one has hit a commit.
        while kills < KILLS or not await unknown_commits(engine):
            assert kills < MOST_KILLS
            kills += 1
            seen = certain[b"blind"]
            await wait_until(lambda seen=seen: asyncio.sleep(0, certain[b"blind"] > seen + 20))
            await restart(process, engine)
        over.set()
    for key, sure in certain.items():
        counted = await transact(engine, count, key)
        assert sure <= counted <= sure + uncertain[key]


async def test_histories_across_a_kill_are_linearizable(database):
    process, engine = database
    recorder = Recorder()

    async def work(tr: Transaction, keys: list[bytes], writes: dict) -> dict:
        found = dict(zip(keys, await tr.get_many(keys), strict=True))
        for key, value in writes.items():
            tr.set(key, value)
        return found

    async def client(me: int) -> None:
        for turn in range(20):
            writes = {b"%d" % (turn % 3): b"%d/%d" % (me, turn)}
            try:
                async with recorder.call(writes) as call:
                    call.answered = await transact(engine, work, [b"0", b"1", b"2"], writes)
            except DeadlineExceeded:
                continue

    async with asyncio.TaskGroup() as group:
        for me in range(4):
            group.create_task(client(me))
        await wait_until(lambda: asyncio.sleep(0, len(recorder.calls) > 20))
        await restart(process, engine)
    linearize(transactions(), recorder.calls)
