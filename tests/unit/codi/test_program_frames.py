"""Frames of a program's socket: what is made is read, and what is none is refused."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.codi.programs.frames import (
    Ended,
    EndOfInput,
    Output,
    Resize,
    Signal,
    Start,
    Started,
    parse_asked,
    parse_told,
    signal_number,
)
from cluster.codi.terminals.frames import BadFrame, control


@given(
    st.lists(st.text(), min_size=1),
    st.none() | st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
    st.sampled_from(["kill", "hang_up", "leave"]),
)
def test_a_start_is_read_as_it_was_made(argv, tty, on_close):
    start = Start(argv, "src", {"A": "b"}, tty, on_close)
    assert parse_asked(start.encode()) == start


@given(st.integers(-64, 255))
def test_an_end_is_read_as_it_was_made_and_gives_the_code_back(code):
    ended = Ended.of(code)
    assert parse_told(ended.encode()) == ended
    assert ended.exit_code == code


def test_every_other_frame_is_read():
    assert parse_asked(control("end_of_input")) == EndOfInput()
    assert parse_asked(control("resize", cols=3, rows=4)) == Resize((3, 4))
    assert parse_asked(control("signal", name="SIGINT")) == Signal(signal.SIGINT)
    assert parse_asked(control("of a newer caller")) is None
    assert parse_told(control("of a newer CODI")) is None
    assert parse_told(control("started", pid=7)) == Started(7)
    assert parse_told(b"\x02ab") == Output(2, b"ab")


@pytest.mark.parametrize(
    "frame", ["", "[]", "{}", '{"type": 1}', "[" * 100_000, '{"type": "signal", "name": 9}']
)
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(BadFrame):
        parse_asked(frame)


@pytest.mark.parametrize(
    "frame", [b"", b"\x00in", b"\x03", '{"type": "ended"}', '{"type": "window"}']
)
def test_what_a_program_cannot_tell_is_refused(frame):
    with pytest.raises(BadFrame):
        parse_told(frame)


def test_a_signal_has_its_name_with_or_without_its_beginning():
    assert signal_number("TERM") == signal_number("SIGTERM") == signal.SIGTERM
    with pytest.raises(BadFrame, match="one of"):
        signal_number("term")
