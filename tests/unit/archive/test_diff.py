"""Differences between a listing and a manifest, and the stored forms of entries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.base import Unavailable
from actors.core.errors.store import StoreFailed
from actors.core.quotas import Amount
from actors.core.records.archive import Reason
from cluster.archive import diff as plan
from cluster.archive.packs import packs
from cluster.archive.restoring.chunk_reader import WINDOW_BYTES, holes_of, windows
from cluster.store.layers.entries import HOLE, ChunkRef, Entry, Kind, decode, encode, join, place
from cluster.store.layers.workspaces.chunks import Inline, Packed

FILE = ["f", 0o644, 3, 10, 20, 7, None, 4096]
ENTRY = Entry(Kind.FILE, 0o644, 3, 10, 20, 7)


def test_an_item_becomes_an_entry_or_the_reason_why_nothing_is_kept():
    assert plan.seen(["a", *FILE]) == plan.Seen(b"a", ENTRY)
    assert plan.seen(["a", *FILE], b"d/e") == plan.Seen(b"d/e/a", ENTRY)
    assert plan.seen(["a"]) == plan.Seen(b"a", None)
    assert plan.seen(["a", "x"]) == plan.Seen(b"a", None, Reason.UNREADABLE)
    assert plan.seen(["a", "e"]) == plan.Seen(b"a", None, Reason.EXCLUDED)
    special = plan.seen(["a", "o", 0o600, 0, 1, 2, 3, None, 0])
    assert special == plan.Seen(b"a", None, Reason.SPECIAL)
    long = plan.seen(["a", *FILE], b"d" * plan.MAX_PATH_BYTES)
    assert (long.entry, long.why) == (None, Reason.PATH_TOO_LONG)
    link = plan.seen(["l", "l", 0o777, 0, 1, 2, 3, "caf\udce9", 0])
    assert link.entry is not None
    assert link.entry.target == b"caf\xe9"


@pytest.mark.parametrize("item", [[], ["a", "f"], ["a", "q", 1], ["a", "f", 1, 2, 3]])
def test_what_cannot_be_is_refused(item):
    with pytest.raises(Unavailable):
        plan.seen(item)


def test_a_listing_reports_what_to_read_what_is_gone_and_where_to_go_on():
    known = {
        b"same": ENTRY,
        b"changed": Entry(Kind.FILE, 0o644, 3, 11, 20, 7),
        b"gone": ENTRY,
        b"sub": Entry(Kind.DIRECTORY, 0o755),
        b"hidden": ENTRY,
    }
    items = [
        ["same", *FILE],
        ["changed", *FILE],
        ["new", *FILE],
        ["sub", "d", 0o755, 0, 5, 6, 9, None, 0],
        ["hidden", "x"],
        ["excluded", "e"],
    ]
    known[b"excluded"] = ENTRY
    found = plan.of_listing(b"d", items, known)
    assert list(found.read) == [b"d/changed", b"d/new"]
    assert found.gone == {b"d/gone": ENTRY, b"d/excluded": ENTRY}
    assert found.inside == [b"d/sub"]
    assert found.left_out == {
        b"d/hidden": Reason.UNREADABLE,
        b"d/excluded": Reason.EXCLUDED,
    }


def test_holes_count_nothing_and_what_is_not_read_yet_counts_by_what_it_takes():
    hole = ChunkRef(HOLE, 1 << 30)
    data = ChunkRef(b"a" * 32, 5 << 20)
    sparse = Entry(Kind.FILE, size=(2 << 30) + data.size, chunks=(hole, data, hole))
    assert sparse.amount == Amount(data.size, 1)
    assert sparse.data == (data,)
    assert holes_of(sparse) == [(0, 1 << 30), ((1 << 30) + data.size, 1 << 30)]
    assert holes_of(replace(sparse, chunks=(hole, hole, data))) == [(0, 2 << 30)]
    assert windows(sparse.chunks) == [[hole, data, hole]]
    large = plan.seen(["a", "f", 0o644, 1 << 32, 1, 2, 3, None, 4096]).entry
    assert large is not None
    assert large.amount == Amount(4096, 1)
    small = plan.seen(["a", "f", 0o644, 1 << 10, 1, 2, 3, None, 0]).entry
    assert small is not None
    assert small.amount == Amount(1 << 10, 1)  # it is read as a whole
    # More is allocated than a small file has.
    assert (
        plan.seen(["a", "f", 0o644, 1 << 20, 1, 2, 3, None, 2 << 20]).entry.amount.size == 1 << 20
    )


def test_the_directories_above_a_path_come_from_the_outermost():
    assert plan.ancestors(b"a/b/c") == [b"a", b"a/b"]
    assert plan.ancestors(b"a") == []


def test_a_directory_whose_path_is_too_long_is_kept_for_nothing_in_it():
    longest = b"d" * plan.MAX_PATH_BYTES
    assert plan.ancestors(longest + b"/file") == [longest]
    assert plan.ancestors(longest + b"d/file") == []


def test_a_restored_file_has_its_known_content_only_while_that_is_of_its_size():
    parts = (ChunkRef(b"a" * 32, 2), ChunkRef(b"b" * 32, 1))
    known = Entry(Kind.FILE, 0o644, 3, 10, 2, 5, chunks=parts)
    assert plan.merged(ENTRY, known) == replace(ENTRY, chunks=parts)
    assert plan.merged(replace(ENTRY, size=4), known) is None
    assert plan.merged(ENTRY, None) is None
    link = Entry(Kind.LINK, 0o777, target=b"t")
    assert plan.merged(link, link) == link


chunks = st.lists(st.builds(ChunkRef, st.binary(min_size=32, max_size=32), st.integers(0, 1 << 22)))


@given(
    st.builds(
        Entry,
        st.sampled_from(Kind),
        st.integers(0, 0o7777),
        st.integers(0, 1 << 60),
        st.integers(-(1 << 62), 1 << 62),
        st.integers(-(1 << 62), 1 << 62),
        st.integers(0, (1 << 64) - 1),
        st.binary(max_size=4096),
        chunks.map(tuple),
    )
)
def test_an_entry_is_read_as_it_was_written(entry):
    assert decode(encode(entry)) == entry


@pytest.mark.parametrize(
    "data", [b"", b"\x02" + bytes(60), encode(ENTRY)[:-1], encode(ENTRY) + b"x"]
)
def test_an_entry_that_does_not_parse_is_reported(data):
    with pytest.raises(StoreFailed):
        decode(data)


def test_a_place_fits_the_embedded_stores_keys():
    directory, name = place(b"d" * 255 + b"/" + b"e" * 255 + b"/" + b"n" * 255)
    assert len(directory) == 16
    assert name == b"n" * 255
    assert join(b"", b"a") == b"a"
    assert join(b"d", b"a") == b"d/a"


@pytest.mark.parametrize("size", [10, packs.INLINE_BYTES + 1])
def test_chunks_come_out_of_a_batch_as_they_went_in(size):
    data = {
        packs.name_of(d): d
        for d in (bytes(100), b"x" * size, bytes(range(200)) * (size // 200 + 1))
    }
    batch = packs.Batch("p")
    for name, content in data.items():
        batch.add(name, b"\x00" + content)
        batch.add(name, b"\x00" + content)
    places, pack = batch.sealed()
    for name, content in data.items():
        at = places[name]
        stored = at.data if isinstance(at, Inline) else pack[at.offset : at.offset + at.size]
        assert packs.unpack(stored, name) == content
    assert all(isinstance(at, Packed) for at in places.values()) is (size > packs.INLINE_BYTES)


def test_a_damaged_chunk_is_refused():
    name, stored = packs.name_of(b"a" * 1000), packs.pack(b"a" * 1000)
    assert packs.unpack(stored, name) == b"a" * 1000
    for damaged in (stored[:-3], stored[:1] + b"\x00" + stored[2:], packs.pack(b"b" * 1000)):
        with pytest.raises(Unavailable):
            packs.unpack(damaged, name)


def test_reading_ahead_is_bounded():
    refs = [ChunkRef(b"", 3 << 20)] * 10
    divided = windows(refs)
    assert [ref for part in divided for ref in part] == refs
    assert all(sum(ref.size for ref in part) <= WINDOW_BYTES for part in divided)
    assert windows([]) == []


def test_names_are_bytes_and_limits_are_exact():
    assert plan.seen(["caf\udce9", *FILE]).path == b"caf\xe9"
    longest = plan.seen(["d" * plan.MAX_PATH_BYTES, *FILE])
    assert longest.why is None
    assert plan.seen(["d" * (plan.MAX_PATH_BYTES + 1), *FILE]).why is Reason.PATH_TOO_LONG


@pytest.mark.parametrize(
    ("size", "allocated", "unallocated"),
    [
        (plan.SMALL_BYTES, 0, 0),
        (plan.SMALL_BYTES + 1, 4096, plan.SMALL_BYTES + 1 - 4096),
        (plan.SMALL_BYTES + 1, plan.SMALL_BYTES + 4096, 0),
    ],
)
def test_what_a_large_file_has_no_blocks_for_is_known(size, allocated, unallocated):
    seen = plan.seen(["a", "f", 0o644, size, 10, 20, 7, None, allocated])
    assert seen.entry is not None
    assert seen.entry.unallocated == unallocated


@pytest.mark.parametrize(("directory", "prefix"), [(b"", b""), (b"d/e", b"d/e/")])
def test_what_a_listing_finds_is_named_from_the_workspaces_own_directory_on(directory, prefix):
    known = {b"same": ENTRY, b"gone": ENTRY}
    items = [["same", *FILE], ["new", *FILE], ["sub", "d", 0o755, 0, 5, 6, 9, None, 0]]
    found = plan.of_listing(directory, items, known)
    assert set(found.read) == {prefix + b"new", prefix + b"sub"}
    assert found.read[prefix + b"new"] == ENTRY
    assert found.gone == {prefix + b"gone": ENTRY}
    assert found.inside == [prefix + b"sub"]
