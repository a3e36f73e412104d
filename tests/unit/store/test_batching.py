"""Batches of questions, and the store's own in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.errors import ActorGone, CommitConflict, CommitUnknown, DeadlineExceeded, Unavailable
from cluster.store.batching import Batcher
from cluster.store.client import RemoteEngine
from cluster.store.engine import Commit, KeyRange, Mutation, MutationKind, key_after
from cluster.store.lmdb_engine import LmdbEngine
from cluster.store.store_actor import StoreActor


class Echo:
    """Answers each question with itself, one call at a time as ``let_go`` allows."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gates: list[asyncio.Event] = []

    async def send(self, questions):
        self.batches.append(list(questions))
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return [ValueError(q) if q < 0 else q for q in questions]


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_asked_in_one_turn_goes_together_and_the_rest_waits_for_a_free_call():
    echo = Echo()
    batcher = Batcher[int, int](echo.send, in_flight=1, batch=3)
    asking = [asyncio.create_task(batcher.ask(n)) for n in range(5)]
    await turn()
    assert echo.batches == [[0, 1, 2]]
    echo.gates[0].set()
    await turn()
    assert echo.batches == [[0, 1, 2], [3, 4]]
    echo.gates[1].set()
    assert await asyncio.gather(*asking) == [0, 1, 2, 3, 4]


async def test_an_error_is_told_to_whoever_asked_and_to_nobody_else():
    echo = Echo()
    batcher = Batcher[int, int](echo.send)
    asking = [asyncio.create_task(batcher.ask(n)) for n in (1, -2, 3)]
    await turn()
    echo.gates[0].set()
    one, two, three = await asyncio.gather(*asking, return_exceptions=True)
    assert (one, three) == (1, 3)
    assert isinstance(two, ValueError)


async def test_a_question_cancelled_before_it_was_sent_is_never_sent():
    echo = Echo()
    batcher = Batcher[int, int](echo.send, in_flight=1)
    first = asyncio.create_task(batcher.ask(1))
    await turn()
    second, third = (asyncio.create_task(batcher.ask(n)) for n in (2, 3))
    await turn()
    second.cancel()
    await turn()
    echo.gates[0].set()
    await turn()
    echo.gates[1].set()
    assert (await first, await third) == (1, 3)
    assert echo.batches == [[1], [3]]


class Directory:
    """Stands in for an ActorDirectory with one actor in this process; ``error`` is raised instead."""

    def __init__(self, actor: StoreActor) -> None:
        self.actor = actor
        self.calls: list[tuple[str, int]] = []
        self.error: Exception | None = None

    async def call(self, name, method, /, *arguments, timeout_seconds):
        if self.error is not None:
            raise self.error
        self.calls.append((method, len(arguments[0]) if arguments else 0))
        return await getattr(self.actor, method)(*arguments)


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    actor = StoreActor(lambda: LmdbEngine(tmp_path, map_size=1 << 24))
    yield Directory(actor)
    await actor.close()


def setting(key: bytes, value: bytes, *, version: int = 0, conflict: bool = False) -> Commit:
    conflicts = (KeyRange(key, key_after(key)),) if conflict else ()
    return Commit(version, conflicts, (Mutation(MutationKind.SET, key, value),), b"id" + value)


async def test_the_stores_reads_and_commits_go_in_batches_and_each_gets_its_own_answer(directory):
    engine = RemoteEngine(directory, "store")
    await asyncio.gather(*(engine.commit(setting(b"k%d" % n, b"v%d" % n)) for n in range(8)))
    reads = await asyncio.gather(
        *(engine.get_many([b"k%d" % n], None) for n in range(8)),
        engine.get_range(KeyRange(b"k0", b"k3"), None, limit=10, reverse=False),
    )
    assert [read.values for read in reads[:8]] == [[b"v%d" % n] for n in range(8)]
    assert [key for key, _ in reads[8].pairs] == [b"k0", b"k1", b"k2"]
    assert directory.calls == [("commit", 8), ("read", 9)]


async def test_a_conflict_in_a_batch_refuses_that_commit_only(directory):
    engine = RemoteEngine(directory, "store")
    version = await engine.commit(setting(b"a", b"1"))
    await engine.commit(setting(b"a", b"2"))
    stale, fine = await asyncio.gather(
        engine.commit(setting(b"a", b"3", version=version, conflict=True)),
        engine.commit(setting(b"b", b"4")),
        return_exceptions=True,
    )
    assert isinstance(stale, CommitConflict)
    assert isinstance(fine, int)


@pytest.mark.parametrize(
    "error", [ActorGone("store"), Unavailable("store", "away"), DeadlineExceeded("store.read", 1)]
)
async def test_a_store_that_does_not_answer_is_unavailable_and_its_commits_unknown(
    directory, error
):
    engine = RemoteEngine(directory, "store")
    directory.error = error
    with pytest.raises(Unavailable):
        await engine.get_many([b"a"], None)
    with pytest.raises(CommitUnknown):
        await engine.commit(setting(b"a", b"1"))
