"""The client's side of the terminal protocol, against a model of the server."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from coditect.terminal_state import TerminalState
from tests.support.terminal_vectors import SCENARIOS, parameters


def attached(output_offset: int, input_offset: int) -> dict[str, int]:
    return {"output_offset": output_offset, "input_offset": input_offset}


@pytest.mark.parametrize("steps", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_the_client_speaks_the_protocol(steps):
    state = TerminalState("c")
    for step in steps:
        match step["do"]:
            case "connect":
                assert state.query() == parameters(step)
                gap, resent = state.receive_attached(step["attached"])
                assert resent.decode() == step["resent"]
                assert (gap.end - gap.start if gap else 0) == step["gap"]
            case "output":
                assert state.receive_output(step["data"].encode()).decode() == step["shown"]
            case "type":
                assert state.send(step["data"].encode()).decode() == step["sent"]
            case "ack":
                state.receive_ack(step["offset"])
            case "lose":
                state.detach()


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
