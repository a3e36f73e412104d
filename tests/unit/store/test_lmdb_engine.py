"""The embedded engine's own promises: restarts, power cuts, a full disk, one owner."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.store import StoreFailed, StoreFull, TransactionTooOld
from cluster.store.engines.interface import Commit, KeyRange, Mutation, MutationKind
from cluster.store.engines.lmdb.engine import LmdbEngine

SET = MutationKind.SET


def write(key: bytes, value: bytes, commit_key: bytes) -> Commit:
    return Commit(0, (), (Mutation(SET, key, value),), commit_key)


def clear(key: bytes, commit_key: bytes) -> Commit:
    return Commit(0, (), (Mutation(MutationKind.CLEAR_RANGE, key, key + b"\x00"),), commit_key)


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
from cluster.store.engines.interface import Commit, Mutation, MutationKind
from cluster.store.engines.lmdb.engine import LmdbEngine

async def main():
    engine = LmdbEngine(Path(sys.argv[1]), map_size=64 << 20)
    await engine.open()

    async def write(writer):
        for n in range(10**6):
            name = b"%s/%d/%06d" % (sys.argv[2].encode(), writer, n)
            keys = [b"%s/%d" % (name, part) for part in range(3)]
            mutations = tuple(Mutation(MutationKind.SET, key, b"x" * 200) for key in keys)
            await engine.commit(Commit(0, (), mutations, name))
            print(name.decode(), flush=True)

    await asyncio.gather(*(write(writer) for writer in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
async def test_after_kill_9_all_acknowledged_commits_are_there_and_none_is_half_there(
    tmp_path, seed
):
    """Killed again and again, at any moment, in the middle of commits, on one and the same file."""
    moments = random.Random(seed)
    acknowledged: set[bytes] = set()
    for life in range(4):
        acknowledged |= _killed(tmp_path, life, lines=moments.choice((1, 2, 37, 400)))
        engine = await reopened(tmp_path)
        whole = KeyRange(b"", b"\xff")
        pairs = (await engine.get_range(whole, None, limit=10**6, reverse=False)).pairs
        parts = Counter(key.rpartition(b"/")[0] for key, _ in pairs)
        assert set(parts.values()) == {3}
        assert acknowledged <= parts.keys()
        await engine.close()


def _killed(directory: Path, life: int, *, lines: int) -> set[bytes]:
    """Run a writer until it has acknowledged that much, kill it, return all it acknowledged."""
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(life)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.read().splitlines(keepends=True)
    process.wait()
    return {line.strip() for line in said if line.endswith(b"\n")}


async def test_commits_are_synced_and_not_only_written(tmp_path):
    """Show that a power cut would find everything on the disk, as no killed process can."""
    engine = await reopened(tmp_path)
    flags = engine._env.flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert not flags["writemap"]
    assert not flags["map_async"]
    await engine.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    engine = await reopened(small_disk / "store")
    acknowledged: dict[bytes, bytes] = {}

    async def fill(begin: int) -> None:
        for n in range(begin, begin + 400):
            key, value = b"x%d" % n, b"%d" % n * 1000
            await engine.commit(write(key, value, b"k%d" % n))
            acknowledged[key] = value

    with pytest.raises(StoreFull) as refused:
        await fill(0)
    assert acknowledged
    assert refused.value.retryable
    for _ in range(3):
        with pytest.raises(StoreFull):
            await engine.commit(write(b"large", b"v" * 50_000, b"large"))
    assert await everything(engine) == acknowledged
    await engine.commit(clear(b"x0", b"clear"))
    del acknowledged[b"x0"]
    assert await everything(engine) == acknowledged
    ballast.unlink()
    # The very commit that was refused, and others, by the engine as it is.
    version = await engine.commit(write(b"large", b"v" * 50_000, b"large"))
    assert await engine.commit(write(b"large", b"", b"large")) == version
    acknowledged[b"large"] = b"v" * 50_000
    with pytest.raises(StoreFull):
        await fill(1000)
    assert await everything(engine) == acknowledged
    await engine.close()
    engine = await reopened(small_disk / "store")
    assert await everything(engine) == acknowledged
    await engine.close()


async def everything(engine: LmdbEngine) -> dict[bytes, bytes]:
    whole = KeyRange(b"", b"\xff")
    return dict((await engine.get_range(whole, None, limit=10**6, reverse=False)).pairs)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_every_way_of_being_full_is_known(tmp_path, monkeypatch, code):
    engine = await reopened(tmp_path)

    def refuse(commits, now):
        raise lmdb.Error(f"mdb_txn_commit: {os.strerror(code)}")

    monkeypatch.setattr(engine._committer, "_apply", refuse)
    with pytest.raises(StoreFull):
        await engine.commit(write(b"a", b"1", b"k"))
    monkeypatch.undo()
    await engine.commit(write(b"a", b"1", b"k"))
    await engine.close()


async def test_after_any_other_error_nothing_is_written_any_more(tmp_path, monkeypatch):
    engine = await reopened(tmp_path)

    def fail(commits, now):
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    monkeypatch.setattr(engine._committer, "_apply", fail)
    for key in (b"k", b"l"):
        with pytest.raises(StoreFailed, match="Input/output"):
            await engine.commit(write(b"a", b"1", key))
    monkeypatch.undo()
    with pytest.raises(StoreFailed):
        await engine.commit(write(b"a", b"1", b"m"))
    await engine.close()


async def test_a_bug_while_applying_stops_the_engine_and_leaves_nobody_waiting(
    tmp_path, monkeypatch
):
    engine = await reopened(tmp_path)

    def trip(commits, now):
        raise ZeroDivisionError

    monkeypatch.setattr(engine._committer, "_apply", trip)
    async with asyncio.timeout(60):
        for key in (b"k", b"l"):
            with pytest.raises(StoreFailed):
                await engine.commit(write(b"a", b"1", key))
    await engine.close()
