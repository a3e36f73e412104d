"""A StoreActor's socket: what both ends do when the other one ends, hangs, lags or talks nonsense."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.store import CommitConflict, CommitUnknown, StoreError
from cluster.store.engines.interface import (
    Commit,
    KeyRange,
    Mutation,
    MutationKind,
    Values,
    key_after,
)
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.remote import server as serving
from cluster.store.remote import wire
from cluster.store.remote.client import RemoteEngine
from cluster.store.remote.server import StoreServer
from cluster.store.remote.store_actor import StoreActor
from cluster.store.remote.wire import MAX_FRAME, short_path
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import opened_engine, served
from tests.support.waiting import wait_until


def setting(key: bytes, value: bytes, *, version: int = 0, conflict: bool = False) -> Commit:
    conflicts = (KeyRange(key, key_after(key)),) if conflict else ()
    return Commit(version, conflicts, (Mutation(MutationKind.SET, key, value),), b"id" + value)


class Slow:
    """An engine whose reads wait for a gate and whose commits fail in a way nobody foresaw."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.reading = 0

    async def get_many(self, keys, read_version):
        self.reading += 1
        await self.gate.wait()
        return Values(1, list(keys))

    async def commit(self, commit):
        raise ZeroDivisionError("nobody foresaw it")


async def test_many_questions_share_a_connection_and_each_gets_its_own_answer(tmp_path):
    async with opened_engine("lmdb_served", tmp_path) as engine:
        await asyncio.gather(*(engine.commit(setting(b"k%d" % n, b"v%d" % n)) for n in range(50)))
        reads = await asyncio.gather(*(engine.get_many([b"k%d" % n], None) for n in range(50)))
        assert [read.values for read in reads] == [[b"v%d" % n] for n in range(50)]


async def test_an_error_is_raised_by_whoever_asked_and_by_nobody_else(tmp_path):
    async with opened_engine("lmdb_served", tmp_path) as engine:
        version = await engine.commit(setting(b"a", b"1"))
        await engine.commit(setting(b"a", b"2"))
        stale, fine = await asyncio.gather(
            engine.commit(setting(b"a", b"3", version=version, conflict=True)),
            engine.commit(setting(b"b", b"4")),
            return_exceptions=True,
        )
        assert isinstance(stale, CommitConflict)
        assert isinstance(fine, int)


async def test_what_an_engine_did_not_foresee_is_reported_too(tmp_path):
    async with served(Slow(), tmp_path) as engine:
        with pytest.raises(StoreError, match="nobody foresaw it"):
            await engine.commit(setting(b"a", b"1"))


async def test_nobody_listens(tmp_path):
    engine = RemoteEngine(tmp_path / "store.sock")
    with pytest.raises(Unavailable, match="nobody listens"):
        await engine.get_many([b"a"], None)
    with pytest.raises(CommitUnknown):
        await engine.commit(setting(b"a", b"1"))


async def test_a_server_that_ends_is_reported_to_whoever_waits_and_the_next_one_is_found(tmp_path):
    path = tmp_path / "store.sock"
    slow = Slow()
    first = StoreServer(slow, path)
    await first.open()
    engine = RemoteEngine(path)
    waiting = [asyncio.create_task(engine.get_many([b"a"], None)) for _ in range(3)]
    await wait_until(lambda: asyncio.sleep(0, slow.reading == 3))
    await first.close()
    for task in waiting:
        with pytest.raises(Unavailable, match="ended"):
            await task
    slow.gate.set()
    second = StoreServer(slow, path)
    await second.open()
    assert (await engine.get_many([b"b"], None)).values == [b"b"]
    engine.close()
    await second.close()


async def test_a_server_that_does_not_answer_in_time_is_unavailable_and_the_connection_lives(
    tmp_path,
):
    slow = Slow()
    async with served(slow, tmp_path) as remote:
        engine = RemoteEngine(remote._path, timeout_seconds=0.05)
        with pytest.raises(Unavailable, match=r"within 0\.05 s"):
            await engine.get_many([b"a"], None)
        slow.gate.set()
        assert (await engine.get_many([b"b"], None)).values == [b"b"]
        engine.close()


async def test_a_process_that_asks_too_much_at_once_waits_and_gets_everything(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(serving, "MAX_OUTSTANDING", 4)
    slow = Slow()
    async with served(slow, tmp_path) as engine:
        big = b"x" * 100_000  # so that what is not read stays in the socket
        asking = [asyncio.create_task(engine.get_many([big], None)) for _ in range(40)]
        await wait_until(lambda: asyncio.sleep(0, slow.reading >= 4))
        for _ in range(200):
            await asyncio.sleep(0)
        assert slow.reading < 40
        slow.gate.set()
        assert all(answer.values == [big] for answer in await asyncio.gather(*asking))


@pytest.mark.parametrize("nonsense", [(MAX_FRAME + 1).to_bytes(4, "little"), b"\x04\0\0\0abcd"])
async def test_nonsense_ends_the_connection_and_nothing_else(tmp_path, nonsense):
    async with opened_engine("lmdb_served", tmp_path) as engine:
        with short_path(engine._path) as name:
            reader, writer = await asyncio.open_unix_connection(name)
        writer.write(nonsense)
        assert await reader.read() == b""
        writer.close()
        assert (await engine.get_many([b"a"], None)).values == [None]


async def test_a_path_longer_than_a_socket_address_is_no_matter(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    async with opened_engine("lmdb", tmp_path) as engine, served(engine, deep) as remote:
        assert (await remote.get_many([b"a"], None)).values == [None]
        assert (deep / "run" / "store.sock").stat().st_mode & 0o777 == 0o600


async def test_a_transaction_lives_through_a_new_store_actor(tmp_path: Path):
    async def add(tr):
        value = int(await tr.get(b"n") or b"0") + 1
        tr.set(b"n", b"%d" % value)
        return value

    path = tmp_path / "run" / "store.sock"
    remote = RemoteEngine(path)
    for round_ in (1, 2):
        tending = asyncio.Event()

        async def tend(engine, tending=tending) -> None:
            await engine.get_many([b"n"], None)  # it is open
            tending.set()
            await asyncio.Event().wait()

        actor = StoreActor(lambda: LmdbEngine(tmp_path / "store", map_size=1 << 24), path, tend)
        assert await transact(remote, add) == round_
        assert (await actor.ping())["ready"]
        await asyncio.wait_for(tending.wait(), 60)
        await actor.close()
    remote.close()


async def test_an_answer_too_large_for_a_frame_is_an_error_of_that_question_only(
    tmp_path, monkeypatch
):
    async with opened_engine("lmdb_served", tmp_path) as engine:
        value = Mutation(MutationKind.SET, b"a", b"x" * 50_000)
        await engine.commit(Commit(0, (), (value,), b"large"))
        monkeypatch.setattr(wire, "MAX_FRAME", 20_000)
        large, small = await asyncio.gather(
            engine.get_many([b"a"], None), engine.get_many([b"b"], None), return_exceptions=True
        )
        assert isinstance(large, StoreError)
        assert small.values == [None]


async def test_a_transaction_reads_very_many_keys_in_portions_of_one_version(tmp_path):
    async with opened_engine("lmdb", tmp_path) as engine:
        for number in (1, 1000):
            await engine.commit(setting(b"k%04d" % number, b"%d" % number))
        asked = []

        class Counting:
            async def get_many(self, keys, read_version):
                asked.append((len(keys), read_version))
                return await engine.get_many(keys, read_version)

        tr = Transaction(Counting())
        found = await tr.get_many([b"k%04d" % number for number in range(1001)])
        assert (found[0], found[1], found[1000]) == (None, b"1", b"1000")
        assert [count for count, _ in asked] == [500, 500, 1]
        assert [version for _, version in asked] == [None, asked[1][1], asked[1][1]]
