"""The frames between CODI and the journal."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.codi.journal_protocol import (
    MAX_BATCH,
    MAX_FRAME,
    MAX_INPUTS,
    MAX_STATE,
    MAX_STATES,
    BadBatch,
    decode_batch,
    encode_batch,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=128)
BATCHES = st.tuples(
    st.integers(0, (1 << 31) - 1),
    st.integers(0, (1 << 53) - 1),
    st.binary(max_size=300),
    st.dictionaries(NAMES, st.integers(0, (1 << 53) - 1), max_size=5),
)


@given(batch=BATCHES, data=st.data())
def test_a_batch_comes_back_as_it_was(batch, data):
    begin, size = batch[1], len(batch[2])
    places = st.integers(begin + 1, begin + size) if size else st.nothing()
    states = data.draw(st.dictionaries(places, st.binary(max_size=50), max_size=5 if size else 0))
    assert decode_batch(encode_batch(*batch, states)) == (*batch, states)


def test_the_largest_batch_comes_back_as_it_was():
    inputs = {f"{number:0128}": number for number in range(MAX_INPUTS)}
    states = {(1 << 40) + 1 + number: b"s" * MAX_STATE for number in range(MAX_STATES)}
    batch = (7, 1 << 40, b"x" * MAX_BATCH, inputs, states)
    frame = encode_batch(*batch)
    assert decode_batch(frame) == batch
    assert len(frame) <= MAX_FRAME


@pytest.mark.parametrize(
    "states",
    [
        {10: b"in front"},
        {14: b"behind"},
        {11: b"x" * (MAX_STATE + 1)},
    ],
)
def test_states_of_other_output_or_beyond_their_bounds_are_refused(states):
    with pytest.raises(BadBatch):
        decode_batch(encode_batch(1, 10, b"abc", {}, states))


def test_no_more_states_are_taken_than_may_be():
    many = dict.fromkeys(range(1, MAX_STATES + 2), b"")
    with pytest.raises(BadBatch):
        decode_batch(encode_batch(1, 0, b"x" * 60, {}, many))


@given(batch=BATCHES, cut=st.integers(1, 12))
def test_a_frame_that_ends_in_its_head_is_refused(batch, cut):
    with pytest.raises(BadBatch):
        decode_batch(encode_batch(*batch)[:13][:-cut])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"x",
        struct.pack(">IQB", 1, 0, 1),
        struct.pack(">IQBHQ", 1, 0, 1, 5, 9) + b"abc",
        struct.pack(">IQBHQ", 1, 0, 2, 1, 9) + b"a",
        struct.pack(">IQBHQ", 1, 0, 1, 2, 9) + b"\xff\xfe",
        struct.pack(">IQB", 1 << 31, 0, 0),
        struct.pack(">IQBBIH", 1 << 31, 0, 0, 2, 1, 1) + b"ab",
        struct.pack(">IQB", 1, 0, 0) + b"x" * (MAX_BATCH + 1),
    ],
)
def test_a_frame_that_is_none_is_refused(frame):
    with pytest.raises(BadBatch):
        decode_batch(frame)


@given(frame=st.binary(max_size=60))
def test_any_bytes_are_a_batch_or_are_refused(frame):
    try:
        _, _, data, _, _ = decode_batch(frame)
    except BadBatch:
        return
    assert frame.endswith(data)
