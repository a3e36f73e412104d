"""A terminal's modes outlive the output that set them."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.codi.terminals.modes import MAX_PARTIAL, Modes

VECTORS = json.loads((Path(__file__).parent / "terminal_modes.json").read_text())
"""Output and the state it leaves, which the page's tests try on a real emulator (xterm.js)."""


def snapshot(*outputs: bytes) -> bytes:
    modes = Modes()
    for output in outputs:
        modes.feed(output)
    return modes.snapshot()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_state_is_what_the_output_set(vector):
    output = vector["output"].encode("latin-1")
    assert snapshot(output).decode("latin-1") == vector["state"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_replay_may_begin_at_any_byte(vector):
    output = vector["output"].encode("latin-1")
    for cut in range(len(output) + 1):
        begun = snapshot(output[:cut])
        assert snapshot(begun, output[cut:]) == snapshot(output), cut
        assert snapshot(output[:cut], output[cut:]) == snapshot(output), cut


PIECES = st.sampled_from(
    [vector["output"].encode("latin-1") for vector in VECTORS]
    + [
        b"text",
        "漢😀".encode(),
        b"\r\n",
        b"\x1b[0m",
        b"\x1b[?1049l",
        b"\x1b8",
        b"\x1b[r",
        b"\x1b[?6h",
    ]
    + [b"\x1b", b"\x1b[", b"\x1b]0;", b"\x1bP", b"\x18", b"\x07", b"\x1b\\", b"\x1b[2;9r"]
)


@example(
    [b"\x1b[3g\r    \x1bH", b"x\xe6\xbc"], 13, 1
)  # amid a character, behind stops of one's own
@given(st.lists(PIECES, max_size=12), st.integers(0, 400), st.integers(1, 40))
def test_any_output_can_be_cut_anywhere_and_come_in_any_pieces(pieces, cut, size):
    output = b"".join(pieces)
    whole = snapshot(output)
    assert snapshot(*(output[at : at + size] for at in range(0, len(output), size))) == whole
    assert snapshot(snapshot(output[:cut]), output[cut:]) == whole


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_break_it(output, cut):
    assert snapshot(output[:cut], output[cut:]) == snapshot(output)


@pytest.mark.parametrize(
    ("text", "column"),
    [("abc", 3), ("h\u00e9", 2), ("\u6f22\u5b57", 4), ("e\u0301", 1), ("x\u200d", 1), ("ab\b", 1)],
)
def test_a_tab_stop_is_set_behind_the_cells_that_the_text_takes(text, column):
    stopped = snapshot(b"\x1b[3g\r" + text.encode() + b"\x1bH")
    assert stopped.startswith(b"\x1b[3g\r\x1b[%dG\x1bH" % (column + 1))


def test_a_string_that_is_too_long_is_swallowed_to_its_end():
    image = b"\x1bPq" + b"#" * 3 * MAX_PARTIAL
    modes = Modes()
    modes.feed(image)
    assert modes.snapshot() == b"\x1b_"
    modes.feed(b"more\x1b\\\x1b[1m")
    assert modes.snapshot() == b"\x1b[1m"
    modes.feed(b"\x1b]52;c;" + b"A" * 3 * MAX_PARTIAL)
    assert modes.snapshot() == b"\x1b[1m\x1b]99999;"
    modes.feed(b"\x07text")
    assert modes.snapshot() == b"\x1b[1m"


def test_what_programs_set_without_end_is_bounded():
    modes = Modes()
    for number in range(3000):
        modes.feed(
            b"\x1b[?%dh\x1b]4;%d;rgb:11/22/33\x07\x1b[1;%d;4m" % (number, number, number % 50)
        )
        modes.feed(b"\r\x1b[%dG\x1bH\x1b7\x1b[>%du" % (number, number))
    modes.feed(b"\x1b]0;" + b"t" * 9000 + b"\x07\x1b]8;;http://" + b"x" * 9000 + b"\x07")
    modes.feed(b"\x1b[" + b"1;" * 5000 + b"m\x1b[" + b"1" * 5000 + b" q")
    assert len(modes.snapshot()) < 8 << 10


def test_another_size_gives_up_the_scroll_regions_of_both_screens():
    modes = Modes()
    modes.feed(b"\x1b[2;10r\x1b[?1049h\x1b[3;9r")
    assert modes.snapshot() == b"\x1b[2;10r\x1b[?1049h\x1b[3;9r"
    modes.resized()
    assert modes.snapshot() == b"\x1b[?1049h"
