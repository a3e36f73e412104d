"""The conflict window against a list of all writes."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from cluster.store.engines.interface import KeyRange
from cluster.store.engines.lmdb.conflicts import ConflictWindow

point = st.binary(max_size=2)
span = st.tuples(point, point).map(lambda pair: KeyRange(min(pair), max(pair)))


@given(st.lists(span, max_size=30), span, st.integers(0, 30), st.integers(0, 30))
def test_a_read_conflicts_when_a_later_write_overlaps_it(writes, read, read_version, floor):
    window = ConflictWindow(0, max_boundaries=5)
    for version, written in enumerate(writes, 1):
        window.write(written, version)
    window.forget(min(floor, len(writes)), len(writes))
    if window.is_too_old(read_version):
        return
    expected = any(
        version > read_version and max(written.begin, read.begin) < min(written.end, read.end)
        for version, written in enumerate(writes, 1)
    )
    assert window.conflicts(read, read_version) == expected


def test_the_window_is_bounded_and_whoever_read_before_is_too_old():
    window = ConflictWindow(0, max_boundaries=100)
    for version in range(1, 1000):
        key = b"%06d" % version
        window.write(KeyRange(key, key + b"\0"), version)
        window.forget(0, version)
    assert len(window) <= 300
    assert window.is_too_old(0)
    assert not window.is_too_old(999)
