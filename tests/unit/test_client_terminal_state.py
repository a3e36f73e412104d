"""The client's side of the terminal protocol, against a model of the server."""

import hypothesis.strategies as st
from hypothesis import given

from coditect.terminal_state import Gap, TerminalState


def attached(output_offset: int, input_offset: int) -> dict[str, int]:
    return {"output_offset": output_offset, "input_offset": input_offset}


def test_first_attach_takes_the_servers_offset():
    state = TerminalState("c")
    assert "offset" not in state.query()
    assert state.receive_attached(attached(100, 0)) == (None, b"")
    state.receive_output(b"abc")
    assert state.query()["offset"] == "103"


def test_output_seen_before_is_not_shown_again():
    state = TerminalState("c", offset=10)
    state.receive_attached(attached(7, 0))
    assert state.receive_output(b"xy") == b""
    assert state.receive_output(b"zNEW") == b"NEW"
    assert state.offset == 13


def test_output_that_is_gone_is_said():
    state = TerminalState("c", offset=10)
    gap, _ = state.receive_attached(attached(50, 0))
    assert gap == Gap(10, 50)
    assert state.receive_output(b"a") == b"a"
    assert state.offset == 51


def test_input_typed_while_detached_is_sent_after_the_attach():
    state = TerminalState("c")
    state.receive_attached(attached(0, 0))
    assert state.send(b"ab") == b"ab"
    state.receive_ack(1)
    state.detach()
    assert state.send(b"c") == b""
    _, resend = state.receive_attached(attached(0, 1))
    assert resend == b"bc"


def test_a_server_that_forgot_the_client_does_not_get_acknowledged_input_again():
    state = TerminalState("c")
    state.receive_attached(attached(0, 0))
    state.send(b"abcd")
    state.receive_ack(3)
    state.detach()
    _, resend = state.receive_attached(attached(0, 0))
    assert resend == b"d"
    state.receive_ack(1)
    assert state.unacknowledged == 0


step = st.one_of(
    st.tuples(st.just("type"), st.binary(min_size=1, max_size=5)),
    st.tuples(st.just("deliver"), st.integers(0, 8)),
    st.tuples(st.just("ack"), st.just(0)),
    st.tuples(st.just("drop"), st.just(0)),
    st.tuples(st.just("attach"), st.just(0)),
)


@given(st.lists(step, max_size=60))
def test_every_typed_byte_arrives_once_and_in_order(steps):
    state = TerminalState("c")
    typed, arrived, wire = bytearray(), bytearray(), bytearray()
    for action, value in [*steps, ("drop", 0), ("attach", 0), ("deliver", 10_000)]:
        if action == "type":
            typed += value
            wire += state.send(value)
        elif action == "deliver":
            arrived += wire[:value]
            del wire[:value]
        elif action == "ack" and state.attached:
            state.receive_ack(len(arrived))
        elif action == "drop":
            wire.clear()
            state.detach()
        elif action == "attach" and not state.attached:
            wire += state.receive_attached(attached(0, len(arrived)))[1]
    assert arrived == typed
