"""The frames between CODI and the journal."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.codi.journal_protocol import (
    MAX_BATCH,
    MAX_INPUTS,
    BadBatch,
    decode_batch,
    encode_batch,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=128)
BATCHES = st.tuples(
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 53) - 1),
    st.binary(max_size=300),
    st.dictionaries(NAMES, st.integers(0, (1 << 53) - 1), max_size=5),
)


@given(batch=BATCHES)
def test_a_batch_comes_back_as_it_was(batch):
    assert decode_batch(encode_batch(*batch)) == batch


def test_the_largest_batch_comes_back_as_it_was():
    inputs = {f"{number:0128}": number for number in range(MAX_INPUTS)}
    batch = (7, 1 << 40, b"x" * MAX_BATCH, inputs)
    assert decode_batch(encode_batch(*batch)) == batch


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
        struct.pack(">IQB", 1, 0, 0) + b"x" * (MAX_BATCH + 1),
    ],
)
def test_a_frame_that_is_none_is_refused(frame):
    with pytest.raises(BadBatch):
        decode_batch(frame)


@given(frame=st.binary(max_size=60))
def test_any_bytes_are_a_batch_or_are_refused(frame):
    try:
        _, _, data, _ = decode_batch(frame)
    except BadBatch:
        return
    assert frame.endswith(data)
