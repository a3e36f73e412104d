"""Conflicts of transactions, key by key, over every engine."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from actors.core.errors.store import CommitConflict
from cluster.store.engines.interface import (
    Commit,
    Engine,
    KeyRange,
    Mutation,
    MutationKind,
    key_after,
)
from cluster.store.transactions.transaction import Transaction
from tests.fakes.engines import ENGINES, opened_engine

THERE = (b"b", b"d", b"f", b"h")
ANYWHERE = (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i")
_numbers = itertools.count()


@pytest.fixture(params=ENGINES)
async def engine(request, tmp_path) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, tmp_path) as made:
        await write(made, *THERE)
        yield made


async def write(engine: Engine, *keys: bytes) -> None:
    sets = tuple(Mutation(MutationKind.SET, key, b"v%d" % next(_numbers)) for key in keys)
    await engine.commit(Commit(0, (), sets, b"w%d" % next(_numbers)))


async def clear(engine: Engine, begin: bytes, end: bytes) -> None:
    mutation = Mutation(MutationKind.CLEAR_RANGE, begin, end)
    await engine.commit(Commit(0, (), (mutation,), b"c%d" % next(_numbers)))


async def is_let_through(tr: Transaction) -> bool:
    tr.set(b"z", b"")
    try:
        await tr.commit(b"m%d" % next(_numbers))
    except CommitConflict:
        return False
    return True


# Of the range from b to h (its end left out): how much is read, and where others may not write.
READ_RANGES = [
    (9, False, b"bcdefg"),
    (3, False, b"bcdef"),
    (2, False, b"bcd"),
    (1, False, b"b"),
    (9, True, b"bcdefg"),
    (3, True, b"bcdefg"),
    (2, True, b"defg"),
    (1, True, b"fg"),
]


@pytest.mark.parametrize(("limit", "reverse", "guarded"), READ_RANGES)
async def test_a_range_conflicts_up_to_the_last_pair_that_it_returned(
    engine, limit, reverse, guarded
):
    for key in ANYWHERE:
        tr = Transaction(engine)
        await tr.get_range(KeyRange(b"b", b"h"), limit=limit, reverse=reverse)
        await write(engine, key)
        assert await is_let_through(tr) is (key not in guarded), key
        await clear(engine, b"a", b"z")
        await write(engine, *THERE)


@pytest.mark.parametrize(
    ("key", "safe"),
    [(b"b", False), (b"c", False), (b"cbz", False), (b"cc", True), (b"cd", True), (b"d", True)],
)
async def test_a_cleared_range_conflicts_up_to_its_end_and_not_beyond(engine, key, safe):
    tr = Transaction(engine)
    await tr.get(key)
    await clear(engine, b"b", b"cc")
    assert await is_let_through(tr) is safe


async def test_what_own_writes_decide_does_not_conflict_and_what_lies_beside_does(engine):
    for key in ANYWHERE:
        tr = Transaction(engine)
        tr.set(b"c", b"own")
        tr.clear_range(KeyRange(b"e", key_after(b"f")))
        await tr.get_range(KeyRange(b"b", b"h"))
        await write(engine, key)
        assert await is_let_through(tr) is (key in b"acefhi"), key


async def test_a_snapshot_read_never_conflicts(engine):
    tr = Transaction(engine)
    await tr.get(b"b", snapshot=True)
    await tr.get_range(KeyRange(b"b", b"h"), limit=2, snapshot=True)
    await tr.last_of([KeyRange(b"b", b"h")])
    await clear(engine, b"a", b"z")
    assert await is_let_through(tr)
