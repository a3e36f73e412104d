"""Frames of a client, read by CODI, as another library writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from cluster.codi.agent.rfc6455 import BINARY, Broken, Frames, Piece, frame, may_close

KEY = b"mask"


def sent(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def messages(pieces: list[Piece]) -> list[tuple[int, bytes]]:
    """Put the pieces of messages together."""
    found, begun = [], bytearray()
    for piece in pieces:
        if piece.kind >= Opcode.CLOSE:
            assert piece.last
            found.append((piece.kind, piece.data))
            continue
        begun += piece.data
        if piece.last:
            found.append((piece.kind, bytes(begun)))
            begun = bytearray()
    assert not begun
    return found


@given(
    parts=st.lists(st.tuples(st.sampled_from([1, 2, 9, 10]), st.binary(max_size=125)), max_size=8),
    large=st.sampled_from([0, 125, 126, 127, 65535, 65536, 70001]),
    cuts=st.lists(st.integers(0, 80_000), max_size=12),
)
def test_frames_are_read_however_they_arrive(parts, large, cuts):
    parts = [*parts, (2, bytes(range(256)) * (large // 256) + b"z" * (large % 256))]
    wire = b""
    for kind, data in parts:
        half = len(data) // 2
        if kind < Opcode.CLOSE and half:
            wire += sent(Opcode(kind), data[:half], fin=False) + sent(Opcode.PING, b"amid")
            wire += sent(Opcode.CONT, data[half:])
        else:
            wire += sent(Opcode(kind), data)
    frames, pieces, at = Frames(), [], 0
    for cut in [*sorted(cuts), len(wire)]:
        pieces += frames.take(wire[at:cut])
        at = max(at, cut)
    expected = []
    for kind, data in parts:
        expected += [(Opcode.PING, b"amid")] if kind < Opcode.CLOSE and len(data) > 1 else []
        expected.append((kind, data))
    assert messages(pieces) == expected


def test_a_message_is_yielded_as_it_comes():
    frames, wire = Frames(), sent(Opcode.BINARY, b"abcdefgh")
    pieces = [piece for at in range(len(wire)) for piece in frames.take(wire[at : at + 1])]
    assert [piece.data for piece in pieces] == [bytes([byte]) for byte in b"abcdefgh"]
    assert [piece.last for piece in pieces] == [False] * 7 + [True]


@pytest.mark.parametrize(
    "wire",
    [
        b"\x82\x01x",  # not masked
        b"\x83\x80" + KEY,  # no such opcode
        b"\xc2\x80" + KEY,  # an extension's bit
        b"\x09\x80" + KEY,  # a part of a ping
        b"\x89\xfe\x00\x7e" + KEY,  # a long ping
        b"\x80\x80" + KEY,  # nothing to go on with
        b"\x02\x80" + KEY + b"\x82\x80" + KEY,  # a message within another
        b"\x82\xfe\x00\x7d" + KEY,  # a length in more bytes than it takes
        b"\x82\xff" + (0xFFFF).to_bytes(8, "big") + KEY,
        b"\x82\xff" + (1 << 63).to_bytes(8, "big") + KEY,
    ],
)
def test_what_is_no_frame_is_refused(wire):
    with pytest.raises(Broken):
        list(Frames().take(wire))


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_our_frames_are_those_of_the_library(size):
    data = b"x" * size
    assert b"".join(frame(BINARY, data)) == Frame(Opcode.BINARY, data).serialize(mask=False)


@pytest.mark.parametrize(
    ("payload", "good"),
    [
        (b"", True),
        (b"\x03\xe8", True),
        (b"\x0f\xa0gr\xc3\xb6", True),
        (b"\x03", False),
        (b"\x03\xe8\xff", False),
        *(
            (code.to_bytes(2, "big"), False)
            for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)
        ),
    ],
)
def test_a_close_frame_holds_a_code_and_a_reason(payload, good):
    assert may_close(payload) is good
