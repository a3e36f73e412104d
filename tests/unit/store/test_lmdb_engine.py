"""What only the embedded engine promises: restarts, power cuts, a full disk, one owner."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.errors import StoreFull, TransactionTooOld, Unavailable
from cluster.store.engine import Commit, KeyRange, Mutation, MutationKind
from cluster.store.lmdb_engine import LmdbEngine

SET = MutationKind.SET


def write(key: bytes, value: bytes, commit_key: bytes) -> Commit:
    return Commit(0, (), (Mutation(SET, key, value),), commit_key)


async def reopened(directory: Path) -> LmdbEngine:
    engine = LmdbEngine(directory, map_size=64 << 20)
    await engine.open()
    return engine


async def test_data_versions_and_commit_keys_survive_a_restart(tmp_path):
    engine = await reopened(tmp_path)
    version = await engine.commit(write(b"a", b"1", b"key"))
    await engine.close()
    engine = await reopened(tmp_path)
    assert (await engine.get_many([b"a"], None)).values == [b"1"]
    assert await engine.commit(write(b"a", b"2", b"key")) == version
    assert await engine.commit(write(b"a", b"3", b"other")) > version
    await engine.close()


async def test_a_second_process_is_refused(tmp_path):
    engine = await reopened(tmp_path)
    second = LmdbEngine(tmp_path, map_size=64 << 20)
    with pytest.raises(Unavailable):
        await second.open()
    await second.close()
    await engine.close()


async def test_a_full_store_refuses_writes_serves_reads_and_recovers(tmp_path):
    engine = LmdbEngine(tmp_path, map_size=1 << 20)
    await engine.open()
    await engine.commit(write(b"kept", b"1", b"first"))
    count = 0

    async def fill() -> None:
        nonlocal count
        while count < 1000:
            await engine.commit(write(b"x%d" % count, b"v" * 50_000, b"k%d" % count))
            count += 1

    with pytest.raises(StoreFull):
        await fill()
    assert count > 0
    assert (await engine.get_many([b"kept", b"x%d" % count], None)).values == [b"1", None]
    await engine.commit(Commit(0, (), (Mutation(MutationKind.CLEAR_RANGE, b"x", b"y"),), b"clear"))
    await engine.close()
    engine = LmdbEngine(tmp_path, map_size=1 << 20)
    await engine.open()
    await engine.commit(write(b"again", b"2", b"again"))
    await engine.close()


async def test_a_small_commit_is_not_failed_by_a_large_one_of_the_same_batch(tmp_path):
    engine = LmdbEngine(tmp_path, map_size=1 << 20)
    await engine.open()
    large = Commit(
        0, (), tuple(Mutation(SET, b"l%d" % n, b"v" * 90_000) for n in range(20)), b"large"
    )
    results = await asyncio.gather(
        engine.commit(write(b"a", b"1", b"a")),
        engine.commit(large),
        engine.commit(write(b"b", b"2", b"b")),
        return_exceptions=True,
    )
    assert isinstance(results[1], StoreFull)
    assert (await engine.get_many([b"a", b"b", b"l0"], None)).values == [b"1", b"2", None]
    await engine.close()


async def test_snapshots_end_with_their_age(tmp_path):
    now = [100.0]
    engine = LmdbEngine(tmp_path, map_size=64 << 20, clock=lambda: now[0])
    await engine.open()
    version = (await engine.get_many([b"a"], None)).version
    await engine.commit(write(b"a", b"", b"key"))
    now[0] += 5.1
    with pytest.raises(TransactionTooOld):
        await engine.get_many([b"a"], version)
    assert (await engine.statistics())["open_snapshots"] == 0
    await engine.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from cluster.store.engine import Commit, Mutation, MutationKind
from cluster.store.lmdb_engine import LmdbEngine

async def main():
    engine = LmdbEngine(Path(sys.argv[1]), map_size=64 << 20)
    await engine.open()

    async def write(writer):
        for n in range(10**6):
            keys = [b"%d/%06d/%d" % (writer, n, part) for part in range(3)]
            mutations = tuple(Mutation(MutationKind.SET, key, b"x" * 200) for key in keys)
            await engine.commit(Commit(0, (), mutations, b"%d-%d" % (writer, n)))
            print(writer, n, flush=True)

    await asyncio.gather(*(write(writer) for writer in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 37, 400])
async def test_after_kill_9_all_acknowledged_commits_are_there_and_none_is_half_there(
    tmp_path, lines
):
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().split() for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().splitlines()
    acknowledged += [line.split() for line in rest if len(line.split()) == 2]
    process.wait()
    engine = await reopened(tmp_path)
    pairs = (await engine.get_range(KeyRange(b"", b"\xff"), None, limit=10**6, reverse=False)).pairs
    there: dict[bytes, int] = {}
    for key, _ in pairs:
        there[key.rpartition(b"/")[0]] = there.get(key.rpartition(b"/")[0], 0) + 1
    assert set(there.values()) == {3}
    for writer, number in acknowledged:
        assert b"%d/%06d" % (int(writer), int(number)) in there
    await engine.close()
