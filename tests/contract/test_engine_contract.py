"""The contract of store engines. A new engine joins in ``tests.fakes.engines``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors.core.errors.requests import InvalidArgument
from actors.core.errors.store import (
    CommitConflict,
    KeyTooLarge,
    TransactionTooLarge,
    TransactionTooOld,
    ValueTooLarge,
)
from cluster.store.engines.atomic import versionstamp
from cluster.store.engines.interface import (
    MAX_COMMIT_KEY,
    MAX_KEY,
    Commit,
    Engine,
    KeyRange,
    Mutation,
    MutationKind,
    key_after,
)
from tests.fakes.engines import ENGINES, opened_engine

SET, CLEAR = MutationKind.SET, MutationKind.CLEAR_RANGE


@pytest.fixture(params=ENGINES)
async def engine(request, tmp_path) -> AsyncIterator[Engine]:
    async with opened_engine(request.param, tmp_path) as made:
        yield made


_keys = iter(range(10**9))


def commit(*mutations: tuple, read_version: int = 0, reads: tuple = (), key: bytes | None = None):
    return Commit(
        read_version,
        tuple(KeyRange(k, key_after(k)) if isinstance(k, bytes) else KeyRange(*k) for k in reads),
        tuple(Mutation(*m) for m in mutations),
        key or b"key%d" % next(_keys),
    )


async def put(engine: Engine, **pairs: bytes) -> int:
    return await engine.commit(commit(*((SET, k.encode(), v) for k, v in pairs.items())))


async def dump(engine: Engine) -> list[tuple[bytes, bytes]]:
    return (await engine.get_range(KeyRange(b"", b"\xff"), None, limit=1000, reverse=False)).pairs


async def test_a_commit_is_seen_by_the_next_read(engine):
    version = await put(engine, a=b"1")
    answer = await engine.get_many([b"a", b"b"], None)
    assert answer.values == [b"1", None]
    assert answer.version >= version


async def test_reads_of_one_version_do_not_see_later_commits(engine):
    await put(engine, a=b"1")
    before = (await engine.get_many([b"a"], None)).version
    await put(engine, a=b"2", b=b"2")
    assert (await engine.get_many([b"a", b"b"], before)).values == [b"1", None]
    assert (await engine.get_range(KeyRange(b"a", b"c"), before, limit=9, reverse=False)).pairs == [
        (b"a", b"1")
    ]
    assert (await engine.get_many([b"a", b"b"], None)).values == [b"2", b"2"]


async def test_many_keys_are_answered_in_their_order_at_one_version(engine):
    before = await put(engine, a=b"1", b=b"2", c=b"3")
    asked = [b"c", b"missing", b"a", b"c", b""]
    answer = await engine.get_many(asked, None)
    assert answer.values == [b"3", None, b"1", b"3", None]
    assert answer.version >= before
    await put(engine, a=b"4", missing=b"5")
    assert await engine.get_many(asked, answer.version) == answer
    assert (await engine.get_many([], answer.version)).values == []
    keys = [b"k%03d" % n for n in range(500)]
    await engine.commit(commit(*((SET, key, key) for key in keys)))
    assert (await engine.get_many(keys, None)).values == keys


async def test_a_version_that_was_never_read_is_too_old(engine):
    await put(engine, a=b"1")
    with pytest.raises(TransactionTooOld):
        await engine.get_many([b"a"], 1 << 40)


@pytest.mark.parametrize("reverse", [False, True])
async def test_ranges_are_ordered_limited_and_report_whether_there_is_more(engine, reverse):
    await put(engine, a=b"1", b=b"2", c=b"3", d=b"4")
    answer = await engine.get_range(KeyRange(b"a", b"d"), None, limit=2, reverse=reverse)
    expected = [(b"c", b"3"), (b"b", b"2")] if reverse else [(b"a", b"1"), (b"b", b"2")]
    assert answer.pairs == expected
    assert answer.more
    whole = await engine.get_range(KeyRange(b"a", b"d"), None, limit=3, reverse=reverse)
    assert not whole.more
    empty = await engine.get_range(KeyRange(b"x", b"y"), None, limit=3, reverse=reverse)
    assert empty.pairs == []


async def test_keys_are_ordered_as_unsigned_bytes(engine):
    keys = [b"\x00", b"\x00\x00", b"\x01", b"\x7f", b"\x80", b"\xfe\xff"]
    await engine.commit(commit(*((SET, key, b"") for key in reversed(keys))))
    assert [key for key, _ in await dump(engine)] == keys


async def test_a_write_to_what_was_read_conflicts(engine):
    await put(engine, a=b"1")
    version = (await engine.get_many([b"a"], None)).version
    await put(engine, a=b"1")
    with pytest.raises(CommitConflict):
        await engine.commit(commit((SET, b"z", b""), read_version=version, reads=(b"a",)))
    assert (await engine.get_many([b"z"], None)).values == [None]


async def test_a_write_into_a_range_that_was_read_conflicts(engine):
    version = (await engine.get_many([b"a"], None)).version
    await put(engine, m=b"1")
    with pytest.raises(CommitConflict):
        await engine.commit(commit((SET, b"z", b""), read_version=version, reads=((b"a", b"n"),)))


async def test_a_cleared_range_conflicts_with_a_read_inside_it(engine):
    version = (await engine.get_many([b"a"], None)).version
    await engine.commit(commit((CLEAR, b"a", b"n")))
    with pytest.raises(CommitConflict):
        await engine.commit(commit((SET, b"z", b""), read_version=version, reads=(b"g",)))


async def test_writes_elsewhere_and_blind_writes_do_not_conflict(engine):
    version = (await engine.get_many([b"a"], None)).version
    await put(engine, b=b"1")
    await engine.commit(commit((SET, b"z", b""), read_version=version, reads=(b"a", (b"c", b"d"))))
    await engine.commit(commit((SET, b"b", b"2")))
    assert (await engine.get_many([b"b"], None)).values == [b"2"]


async def test_of_two_commits_at_once_that_read_what_the_other_writes_one_wins(engine):
    version = (await engine.get_many([b"a"], None)).version
    results = await asyncio.gather(
        engine.commit(commit((SET, b"a", b"x"), read_version=version, reads=(b"b",))),
        engine.commit(commit((SET, b"b", b"y"), read_version=version, reads=(b"a",))),
        return_exceptions=True,
    )
    assert sorted(type(result) for result in results if not isinstance(result, int)) == [
        CommitConflict
    ]


async def test_explicit_write_conflicts_count_as_writes(engine):
    version = (await engine.get_many([b"a"], None)).version
    await engine.commit(Commit(0, (), (Mutation(SET, b"q", b""),), b"wc", (KeyRange(b"a", b"b"),)))
    with pytest.raises(CommitConflict):
        await engine.commit(commit((SET, b"z", b""), read_version=version, reads=(b"a",)))


async def test_the_same_commit_again_is_applied_once(engine):
    add = commit((MutationKind.ADD, b"n", (1).to_bytes(8, "little")), key=b"once")
    first, second = await engine.commit(add), await engine.commit(add)
    assert first == second
    both = await asyncio.gather(*(engine.commit(add) for _ in range(3)))
    assert set(both) == {first}
    assert (await engine.get_many([b"n"], None)).values == [(1).to_bytes(8, "little")]


async def test_the_same_commit_again_succeeds_though_what_it_read_has_changed_since(engine):
    version = (await engine.get_many([b"a"], None)).version
    mine = commit((SET, b"a", b"mine"), read_version=version, reads=(b"a",), key=b"mine")
    first = await engine.commit(mine)
    await put(engine, a=b"theirs")
    assert await engine.commit(mine) == first
    assert (await engine.get_many([b"a"], None)).values == [b"theirs"]


async def test_mutations_are_applied_in_order(engine):
    await engine.commit(
        commit((SET, b"a", b"1"), (CLEAR, b"a", b"b"), (SET, b"a", b"2"), (SET, b"aa", b"3"))
    )
    await engine.commit(commit((SET, b"ab", b"4"), (CLEAR, b"aa", b"ac")))
    assert await dump(engine) == [(b"a", b"2")]


ATOMIC = [
    (MutationKind.ADD, b"\xff\x00", b"\x01\x00", b"\x00\x01"),
    (MutationKind.ADD, None, b"\x01", b"\x01"),
    (MutationKind.ADD, b"\x01\x02\x03", b"\x01", b"\x02"),
    (MutationKind.BIT_AND, b"\x0f", b"\x3c", b"\x0c"),
    (MutationKind.BIT_AND, None, b"\x3c", b"\x3c"),
    (MutationKind.BIT_OR, b"\x0f", b"\x30", b"\x3f"),
    (MutationKind.BIT_XOR, b"\x0f", b"\x3c", b"\x33"),
    (MutationKind.APPEND_IF_FITS, b"ab", b"cd", b"abcd"),
    (MutationKind.MAX, b"\x01\x02", b"\x02\x01", b"\x01\x02"),
    (MutationKind.MIN, b"\x01\x02", b"\x02\x01", b"\x02\x01"),
    (MutationKind.MIN, None, b"\x05", b"\x05"),
    (MutationKind.BYTE_MIN, b"b", b"abc", b"abc"),
    (MutationKind.BYTE_MAX, b"b", b"abc", b"b"),
    (MutationKind.COMPARE_AND_CLEAR, b"x", b"x", None),
    (MutationKind.COMPARE_AND_CLEAR, b"x", b"y", b"x"),
]


@pytest.mark.parametrize(("kind", "old", "operand", "new"), ATOMIC)
async def test_atomic_operations(engine, kind, old, operand, new):
    if old is not None:
        await engine.commit(commit((SET, b"k", old)))
    await engine.commit(commit((kind, b"k", operand)))
    assert (await engine.get_many([b"k"], None)).values == [new]


async def test_versionstamped_keys_and_values_carry_the_commits_version(engine):
    hole = b"\x00" * 10
    key = b"s/" + hole + (2).to_bytes(4, "little")
    version = await engine.commit(
        commit(
            (MutationKind.SET_VERSIONSTAMPED_KEY, key, b"v"),
            (MutationKind.SET_VERSIONSTAMPED_VALUE, b"t", hole + (0).to_bytes(4, "little")),
        )
    )
    [(stamped, value)] = (
        await engine.get_range(KeyRange(b"s/", b"s0"), None, limit=9, reverse=False)
    ).pairs
    assert value == b"v"
    assert stamped[2:10] == version.to_bytes(8, "big")
    assert (await engine.get_many([b"t"], None)).values == [stamped[2:]]
    assert len(versionstamp(version, 0)) == 10


TOO_MUCH = [
    (ValueTooLarge, [(SET, b"a", b"x" * 100_001)]),
    (ValueTooLarge, [(MutationKind.ADD, b"a", b"x" * 100_001)]),
    (KeyTooLarge, [(SET, b"k" * (MAX_KEY + 1), b"")]),
    (KeyTooLarge, [(SET, b"k" * 10_001, b"")]),
    (TransactionTooLarge, [(SET, b"k%d" % n, b"x" * 100_000) for n in range(101)]),
    # Each key counts three times: itself, and both ends of the range that it conflicts with.
    (TransactionTooLarge, [(SET, b"k%04d" % n + b"x" * 495, b"") for n in range(7_000)]),
    (InvalidArgument, [(SET, b"", b"")]),
    (InvalidArgument, [(MutationKind.SET_VERSIONSTAMPED_VALUE, b"a", b"abc")]),
    (InvalidArgument, [(MutationKind.SET_VERSIONSTAMPED_KEY, b"k" * 9 + bytes(4), b"")]),
    (InvalidArgument, [(MutationKind.SET_VERSIONSTAMPED_KEY, b"k" * 12 + b"\xff" * 4, b"")]),
]


@pytest.mark.parametrize(("error", "mutations"), TOO_MUCH)
async def test_what_is_too_large_or_malformed_is_refused_and_nothing_is_written(
    engine, error, mutations
):
    with pytest.raises(error):
        await engine.commit(commit((SET, b"good", b""), *mutations))
    for key in (b"", b"c" * (MAX_COMMIT_KEY + 1)):
        with pytest.raises((InvalidArgument, KeyTooLarge)):
            await engine.commit(Commit(0, (), (Mutation(SET, b"good", b""),), key))
    assert await dump(engine) == []
    await put(engine, after=b"1")


async def test_what_is_just_not_too_large_is_written(engine):
    await engine.commit(commit((SET, b"k" * MAX_KEY, b"v" * 100_000), key=b"c" * MAX_COMMIT_KEY))
    assert await dump(engine) == [(b"k" * MAX_KEY, b"v" * 100_000)]


@pytest.mark.parametrize("reverse", [False, True])
async def test_longer_keys_than_there_can_be_bound_ranges_and_are_not_found(engine, reverse):
    longest, beyond = b"k" * MAX_KEY, b"k" * 9_000
    await put(engine, j=b"1", l=b"3")
    await engine.commit(commit((SET, longest, b"2")))
    assert (await engine.get_many([beyond, longest], None)).values == [None, b"2"]

    async def found(begin: bytes, end: bytes) -> list[bytes]:
        answer = await engine.get_range(KeyRange(begin, end), None, limit=9, reverse=reverse)
        return sorted(value for _, value in answer.pairs)

    assert await found(beyond, b"z") == [b"3"]
    assert await found(b"a", beyond) == [b"1", b"2"]
    assert await found(longest + b"\x00", beyond) == []
    await engine.commit(commit((CLEAR, b"a", longest)))
    await engine.commit(commit((CLEAR, beyond, b"z")))
    assert await dump(engine) == [(longest, b"2")]
    await engine.commit(commit((CLEAR, longest, longest + b"\x00")))
    assert await dump(engine) == []


async def test_a_committer_may_read_at_its_own_version(engine):
    version = await put(engine, a=b"1")
    assert await engine.get_many([b"a"], version) == (version, [b"1"])


# ---- watches ------------------------------------------------------------------------------------


async def is_over(watch: asyncio.Task) -> bool:
    """Whether a watch ends now that whoever else was under way has been served."""
    await asyncio.wait({watch}, timeout=0.05)
    return watch.done()


@pytest.mark.parametrize("change", ["set", "clear", "stamp"])
async def test_a_watch_ends_with_the_first_commit_that_changes_its_key(engine, change):
    await put(engine, a=b"1", b=b"1")
    watch = asyncio.create_task(engine.watch(b"a", b"1", 60.0))
    await put(engine, b=b"2")
    assert not await is_over(watch)
    await engine.commit(
        commit(
            {
                "set": (SET, b"a", b"2"),
                "clear": (CLEAR, b"", b"b"),
                "stamp": (MutationKind.SET_VERSIONSTAMPED_VALUE, b"a", bytes(14)),
            }[change]
        )
    )
    await asyncio.wait_for(watch, 60)


@pytest.mark.parametrize("seen", [b"0", None])
async def test_a_watch_of_what_is_not_so_any_more_ends_at_once(engine, seen):
    await put(engine, a=b"1")
    await asyncio.wait_for(engine.watch(b"a", seen, 60.0), 60)


async def test_a_key_that_is_not_there_is_watched_until_it_is(engine):
    watches = [asyncio.create_task(engine.watch(b"a", None, 60.0)) for _ in range(3)]
    assert not await is_over(watches[0])
    await put(engine, a=b"1")
    await asyncio.wait_for(asyncio.gather(*watches), 60)


async def test_a_watch_ends_by_itself_and_leaves_nothing_behind(engine):
    await engine.watch(b"a", None, 0.01)
    watch = asyncio.create_task(engine.watch(b"a", None, 60.0))
    assert not await is_over(watch)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    await put(engine, a=b"1")
    assert (await engine.get_many([b"a"], None)).values == [b"1"]
