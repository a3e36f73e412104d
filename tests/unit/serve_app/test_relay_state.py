"""Any order of drops and new shells: every byte of output shown once, every byte of input typed once.

The other side is CODI's own ``TerminalProtocol``, so the two halves are held to each other.
"""

from __future__ import annotations

import json
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.codi.terminal_protocol import BadFrame, Request, TerminalProtocol, parse_request
from serve_app.relay_state import (
    MAX_UNACKNOWLEDGED,
    Finish,
    Reconnect,
    RelayState,
    Status,
    ToBrowser,
    ToCodi,
)


def attached(output_offset=0, input_offset=0, **more):
    return {
        "type": "attached",
        "output_offset": output_offset,
        "input_offset": input_offset,
        "truncated": False,
        "restarted": False,
    } | more


def relay(**fields) -> RelayState:
    return RelayState(Request(client="w", **fields))


def told(outputs) -> list[dict]:
    return [json.loads(output.text) for output in outputs if isinstance(output, ToBrowser)]


def sent(outputs) -> bytes:
    return b"".join(output.frame for output in outputs if isinstance(output, ToCodi))


class Relayed(RuleBasedStateMachine):
    """A browser types and reads while the connection, and the shell behind it, come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.relay = RelayState(Request(client="browser"))
        self.codi = TerminalProtocol(1 << 20)
        self.key = 0
        self.to_codi: deque[bytes] = deque()
        self.to_relay: deque[bytes | str] = deque()
        self.typed = b""
        self.arrived = b""
        self.printed = b""
        self.shown = b""
        self.counter = 0
        self.connect()

    def connect(self) -> None:
        self.key += 1
        found = self.codi.attach(self.key, parse_request(self.relay.query()))
        frame = attached(
            found.output_offset,
            found.input_offset,
            truncated=found.truncated,
            restarted=found.restarted,
        )
        self.carry_out(self.relay.attached(frame))

    def carry_out(self, outputs) -> None:
        for output in outputs:
            assert not isinstance(output, Finish)
            if isinstance(output, ToCodi):
                self.to_codi.append(output.frame)

    @rule(data=st.binary(min_size=1, max_size=20))
    def type(self, data: bytes) -> None:
        self.typed += data
        self.carry_out(self.relay.typed(data))

    @rule()
    def print(self) -> None:
        self.counter += 1
        data = b"%d," % self.counter
        self.printed += data
        self.codi.output(data)

    @precondition(lambda self: self.to_codi)
    @rule()
    def input_arrives(self) -> None:
        self.arrived += self.codi.accept(self.key, self.to_codi.popleft())

    @precondition(lambda self: self.relay.connected)
    @rule(limit=st.integers(1, 8))
    def codi_sends(self, limit: int) -> None:
        data = self.codi.take(self.key, limit)
        if data:
            self.to_relay.append(data)
        acknowledgement = self.codi.acknowledgement(self.key)
        if acknowledgement is not None:
            self.to_relay.append(acknowledgement)

    @precondition(lambda self: self.to_relay)
    @rule()
    def output_arrives(self) -> None:
        frame = self.to_relay.popleft()
        if isinstance(frame, bytes):
            self.shown += self.relay.output(frame)
        else:
            self.carry_out(self.relay.codi_says(frame))

    @precondition(lambda self: self.relay.connected)
    @rule()
    def connection_breaks(self) -> None:
        self.to_codi.clear()
        self.to_relay.clear()
        assert self.relay.codi_closed(None, "") == Reconnect(replaced=False)
        self.codi.detach(self.key)

    @precondition(lambda self: self.relay.connected)
    @rule(lag=st.integers(0, 5))
    def container_is_replaced(self, lag: int) -> None:
        """The new shell numbers from a mark that may lag behind; what the old one had left is gone."""
        self.connection_breaks()
        self.printed = self.shown
        # Input of which no acknowledgement came is typed again, into the new shell.
        base = max(0, len(self.shown) - lag)
        self.codi = TerminalProtocol(1 << 20, base_offset=base, restarted=True)
        pending = self.relay.query()["input_offset"]
        self.arrived = self.arrived[: int(pending)]

    @precondition(lambda self: not self.relay.connected)
    @rule()
    def reconnect(self) -> None:
        self.connect()

    @invariant()
    def each_byte_once_and_in_order(self) -> None:
        assert self.printed.startswith(self.shown)
        assert self.typed.startswith(self.arrived)

    def teardown(self) -> None:
        if not self.relay.connected:
            self.connect()
        while self.to_codi:
            self.input_arrives()
        for _ in range(len(self.printed) + 2):
            self.codi_sends(8)
        while self.to_relay:
            self.output_arrives()
        assert self.shown == self.printed
        assert self.arrived == self.typed


TestRelayed = Relayed.TestCase
TestRelayed.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_the_first_frame_is_attached_and_nothing_is_said_before_it():
    state = relay()
    assert state.become(Status.RECOVERING) == []
    outputs = state.attached(attached(5, 0, cols=80, rows=24))
    assert told(outputs) == [attached(5, 0, cols=80, rows=24)]
    assert state.become(Status.READY) == []


def test_an_outage_is_told_once_and_its_end_too():
    state = relay()
    state.attached(attached())
    state.codi_closed(None, "")
    assert told(state.become(Status.RECOVERING)) == [{"type": "status", "status": "recovering"}]
    assert state.become(Status.RECOVERING) == []
    outputs = state.attached(attached(restarted=True))
    assert told(outputs) == [{"type": "restarted"}, {"type": "status", "status": "ready"}]


def test_input_typed_before_the_first_connection_is_typed_after_it():
    state = relay()
    assert state.typed(b"early") == []
    assert sent(state.attached(attached(0, 7))) == b"early"
    assert state.query()["input_offset"] == "7"


def test_a_gap_sends_the_browser_to_attach_again():
    state = relay(offset=10)
    state.attached(attached(10))
    state.codi_closed(None, "")
    assert [type(output) for output in state.attached(attached(20))] == [Finish]
    assert not state.connected


def test_a_new_shell_behind_a_gap_is_told_before_the_browser_is_sent_away():
    state = relay(offset=10)
    state.attached(attached(10))
    state.codi_closed(None, "")
    outputs = state.attached(attached(20, restarted=True))
    assert told(outputs) == [{"type": "restarted"}]
    assert isinstance(outputs[-1], Finish)


@pytest.mark.parametrize(("code", "end"), [(4410, Finish), (4400, Finish), (4411, Finish)])
def test_some_ends_are_final(code, end):
    state = relay()
    state.attached(attached())
    assert isinstance(state.codi_closed(code, "why"), end)


def test_a_container_that_says_good_bye_is_not_asked_again():
    state = relay()
    state.attached(attached())
    assert state.codi_closed(1001, "") == Reconnect(replaced=True)
    assert state.codi_closed(4408, "") == Reconnect(replaced=False)


def test_a_size_is_remembered_for_the_next_connection():
    state = relay(size=(80, 24))
    assert state.browser_says('{"type": "resize", "cols": 100, "rows": 30}') == []
    assert (state.query()["cols"], state.query()["rows"]) == ("100", "30")
    state.attached(attached())
    assert len(state.browser_says('{"type": "resize", "cols": 101, "rows": 30}')) == 1
    with pytest.raises(BadFrame):
        state.browser_says('{"type": "resize", "cols": 0, "rows": 30}')


def test_unacknowledged_input_is_bounded_by_whoever_reads():
    state = relay()
    state.attached(attached())
    state.typed(b"x" * MAX_UNACKNOWLEDGED)
    assert state.full
    state.codi_says('{"type": "input_ack", "offset": 1}')
    assert not state.full


def test_the_mark_follows_output_and_directory():
    state = relay()
    assert state.mark is None
    state.attached(attached(100))
    state.output(b"12345")
    state.codi_says('{"type": "cwd", "path": "/workspace/src"}')
    assert state.mark is not None
    assert (state.mark.end_offset, state.mark.cwd) == (105, "/workspace/src")
