"""Changes that fit into a quota, and journals cut to one."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors.limits import ContainersExceeded, QuotaExceeded
from actors.core.quotas import Amount, Quotas, Resource, Room, Usage, fit, level, totals


def room(size: int | None, files: int | None, used: tuple[int, int] = (0, 0)) -> Room:
    return Room(Usage(used[0], size), Usage(used[1], files))


def test_overrides_replace_single_limits_and_zero_is_none():
    quotas = Quotas(file_bytes=10, files=5).overridden({"files": 0, "of a newer release": 7})
    assert quotas.limit(Resource.FILE_BYTES) == 10
    assert quotas.limit(Resource.FILES) is None


def test_what_does_not_grow_fits_also_above_the_limit():
    above = room(10, 1, used=(50, 9))
    assert above.lacking(Amount(0, 0)) is None
    assert above.lacking(Amount(-5, 0)) is None
    assert above.lacking(Amount(1, 0)) is Resource.FILE_BYTES
    assert above.lacking(Amount(-5, 1)) is Resource.FILES
    assert room(None, None, used=(50, 9)).lacking(Amount(1 << 60, 10)) is None


def test_small_changes_fit_beside_a_large_one_that_is_held():
    found = fit({b"a": Amount(6, 1), b"b": Amount(50, 1), b"c": Amount(4, 1)}, room(10, 10))
    assert (found.fits, found.held, found.lacks) == ([b"a", b"c"], [b"b"], Resource.FILE_BYTES)


def test_a_shrinking_file_makes_room_for_another():
    found = fit({b"a": Amount(8, 1), b"z": Amount(-8, 0)}, room(10, 10, used=(10, 1)))
    assert set(found.fits) == {b"a", b"z"}


amounts = st.builds(Amount, st.integers(-50, 50), st.sampled_from([-1, 0, 1]))
limits = st.one_of(st.none(), st.integers(0, 200))


@given(
    growths=st.dictionaries(st.binary(min_size=1, max_size=3), amounts),
    size=limits,
    files=limits,
    used=st.tuples(st.integers(0, 200), st.integers(0, 200)),
)
def test_what_fits_never_exceeds_and_what_is_held_would_have(growths, size, files, used):
    before = room(size, files, used)
    found = fit(growths, before)
    assert sorted(found.fits + found.held) == sorted(growths)
    assert (found.lacks is None) is (not found.held)
    after = before
    for path in found.fits:
        after = after.with_more(growths[path])
    for usage, had in ((after.size, used[0]), (after.files, used[1])):
        assert usage.limit is None or usage.used <= max(usage.limit, had)
    for path in found.held:
        assert growths[path].grows


@given(sizes=st.lists(st.integers(0, 1000), max_size=12), total=st.integers(0, 5000))
def test_a_level_cuts_to_the_total_and_no_further(sizes, total):
    bound = level(sizes, total)
    kept = sum(min(size, bound) for size in sizes)
    assert kept <= total
    if sum(sizes) <= total:
        assert kept == sum(sizes)
    else:
        assert sum(min(size, bound + 1) for size in sizes) > total


def test_errors_travel_between_processes_with_all_fields():
    refused = QuotaExceeded("file_bytes", 9, 10, 5)
    refused.unkept = True
    again = pickle.loads(pickle.dumps(refused))
    assert (again.resource, again.used, again.limit, again.needed) == ("file_bytes", 9, 10, 5)
    assert again.unkept
    assert "not kept" in str(again)
    containers = pickle.loads(pickle.dumps(ContainersExceeded(2, 2, ("default", "work"))))
    assert containers.sessions == ("default", "work")
    assert "default, work" in str(containers)


def test_amounts_count_bytes_and_paths_apart():
    assert Amount(5, 2).plus(Amount(-1, 3)) == Amount(4, 5)
    assert Amount(5, 2).minus(Amount(-1, 3)) == Amount(6, -1)
    assert totals([Amount(1, 10), Amount(2, 20), Amount(3, -5)]) == Amount(6, 25)


def test_what_is_left_is_reported_of_each_resource_and_is_never_less_than_nothing():
    some = room(10, 5, used=(4, 5))
    assert (some.left(Resource.FILE_BYTES), some.left(Resource.FILES)) == (6, 0)
    over = room(10, None, used=(40, 5))
    assert (over.left(Resource.FILE_BYTES), over.left(Resource.FILES)) == (0, None)


@pytest.mark.parametrize(
    ("sizes", "total", "bound"),
    [([], 10, 0), ([7], 10, 7), ([3, 9, 9], 15, 6), ([3, 9, 9], 16, 6), ([4, 4], -5, 0)],
)
def test_a_level_is_whole_and_what_all_fit_under(sizes, total, bound):
    assert level(sizes, total) == bound
    assert isinstance(level(sizes, total), int)
