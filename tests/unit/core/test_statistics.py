"""Distributions in fixed buckets."""

import pytest

from actors.core.statistics import Histogram, merge


def test_bounds_are_inclusive_and_the_last_count_is_of_what_is_past_them():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    assert histogram.snapshot() == {
        "bounds": [1.0, 2.0],
        "counts": [2, 1, 1],
        "sum": 6.0,
        "count": 4,
    }
    assert histogram.mean == 1.5


@pytest.mark.parametrize("bounds", [(), (2.0, 1.0), (1.0, 1.0)])
def test_bounds_must_ascend(bounds):
    with pytest.raises(ValueError, match="ascend"):
        Histogram(bounds)


def test_snapshots_add_up():
    one, two = Histogram((1.0,)), Histogram((1.0,))
    one.observe(0.5)
    two.observe(2.0)
    assert merge([one.snapshot(), two.snapshot()]) == {
        "bounds": [1.0],
        "counts": [1, 1],
        "sum": 2.5,
        "count": 2,
    }


def test_snapshots_with_other_bounds_do_not_add_up():
    with pytest.raises(ValueError, match="different bounds"):
        merge([Histogram((1.0,)).snapshot(), Histogram((2.0,)).snapshot()])


def test_what_does_not_add_up_is_refused():
    one, two = Histogram((1.0,)).snapshot(), Histogram((1.0, 2.0)).snapshot()
    for parts in ([], [one, two], [one, {**one, "counts": [0, 0, 0]}]):
        with pytest.raises(ValueError, match=r"."):
            merge(parts)
    assert merge([one]) == one
