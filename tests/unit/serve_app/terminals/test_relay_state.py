"""Any order of drops and new shells: every byte of output shown once, every byte of input typed once.

The other side is CODI's own ``TerminalProtocol``, so the two halves are held to each other; between
them lies the journal, whose bytes are the truth.
"""

from __future__ import annotations

import json
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.core.records.terminals import TerminalRecord
from cluster.codi.terminals.frames import BadFrame, Request, control, parse_request
from cluster.codi.terminals.protocol import TerminalProtocol
from serve_app.terminals.relay_state import (
    MAX_UNACKNOWLEDGED,
    Finish,
    Reconnect,
    RelayState,
    Replay,
    ShowState,
    Status,
    ToBrowser,
    ToCodi,
)


def attached(output_offset=0, input_offset=0, shell_offset=0, **more):
    return {
        "type": "attached",
        "output_offset": output_offset,
        "input_offset": input_offset,
        "truncated": False,
        "shell_offset": shell_offset,
    } | more


def shown_first(output_offset=0, input_offset=0, *, truncated=False, **more):
    """Return the browser's first frame."""
    return {
        "type": "attached",
        "output_offset": output_offset,
        "input_offset": input_offset,
        "truncated": truncated,
    } | more


def record(start=0, end=0, **more) -> TerminalRecord:
    fields = {"session_id": "s1", "name": "main", "container_id": "c1"}
    times = {"created_at": 0.0, "updated_at": 0.0}
    return TerminalRecord(**(fields | times | {"start": start, "end": end} | more))


def relay(**fields) -> RelayState:
    return RelayState(Request(client="w", **fields))


def reported(outputs) -> list[dict]:
    return [json.loads(output.text) for output in outputs if isinstance(output, ToBrowser)]


def replayed(outputs) -> list[tuple[int, int]]:
    return [(output.begin, output.end) for output in outputs if isinstance(output, Replay)]


def sent(outputs) -> bytes:
    return b"".join(output.frame for output in outputs if isinstance(output, ToCodi))


RESTARTED = '{"type":"restarted"}'


class Relayed(RuleBasedStateMachine):
    """A browser types and reads while the connection, and the container behind it, come and go.

    ``journal`` has what was committed, ``shells`` where each shell's output begins in it. What a dead
    container had printed beyond that is gone, as is input that was not committed with it.
    """

    CAPACITY = 64

    def __init__(self) -> None:
        super().__init__()
        self.relay = RelayState(Request(client="browser"))
        self.journal = b""
        self.counts: dict[str, int] = {}
        self.shells: list[int] = []
        self.codi: TerminalProtocol
        self.key = 0
        self.to_codi: deque[bytes] = deque()
        self.to_relay: deque[bytes | str] = deque()
        self.typed = b""
        self.arrived = b""
        self.shown = b""
        self.marks: list[int] = []
        self.counter = 0
        self.container_starts()

    def container_starts(self) -> None:
        self.codi = TerminalProtocol(self.CAPACITY)
        self.codi.number(len(self.journal), self.counts)
        self.shells.append(len(self.journal))

    def commit(self) -> None:
        offset, data, inputs = self.codi.unkept(self.CAPACITY)
        assert offset == len(self.journal)
        self.journal += data
        self.counts |= inputs
        self.codi.keep(offset + len(data), inputs)

    def connect(self) -> None:
        self.key += 1
        found = self.codi.attach(self.key, parse_request(self.relay.query()))
        frame = attached(
            found.output_offset,
            found.input_offset,
            found.shell_offset,
            truncated=found.truncated,
        )
        kept_from = 0 if self.relay.missing_before(found.output_offset) else None
        self.carry_out(self.relay.attached(frame, kept_from))

    def carry_out(self, outputs) -> None:
        for output in outputs:
            match output:
                case ToCodi(frame):
                    self.to_codi.append(frame)
                case Replay(begin, end):
                    assert 0 <= begin < end <= len(self.journal)
                    self.show(self.relay.output(self.journal[begin:end]))
                case ToBrowser(text):
                    self.show([text])
                case Finish():
                    raise AssertionError(output)

    def show(self, parts) -> None:
        for part in parts:
            if isinstance(part, bytes):
                self.shown += part
            elif json.loads(part)["type"] == "restarted":
                self.marks.append(len(self.shown))

    @rule(data=st.binary(min_size=1, max_size=20))
    def type(self, data: bytes) -> None:
        self.typed += data
        self.carry_out(self.relay.typed(data))

    @rule()
    def print(self) -> None:
        if self.codi.paused:
            return
        for key in self.codi.laggards(8):
            self.codi.detach(key)
            self.connection_breaks()
        self.counter += 1
        self.codi.output(b"%d," % self.counter)

    @rule()
    def journal_commits(self) -> None:
        self.commit()

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
            self.show(self.relay.output(frame))
        else:
            self.carry_out(self.relay.codi_says(frame))

    @precondition(lambda self: self.relay.connected)
    @rule()
    def connection_breaks(self) -> None:
        self.to_codi.clear()
        self.to_relay.clear()
        assert self.relay.codi_closed(None, "") == Reconnect(replaced=False)
        self.codi.detach(self.key)

    @rule()
    def container_is_replaced(self) -> None:
        if self.relay.connected:
            self.connection_breaks()
        # Input that was not committed was not acknowledged: it is typed again, into the new shell.
        self.arrived = self.arrived[: self.counts.get("browser", 0)]
        self.container_starts()

    @precondition(lambda self: not self.relay.connected and not self.relay.shown)
    @rule()
    def transcript_is_shown(self) -> None:
        kept = record(0, len(self.journal), inputs=self.counts)
        self.carry_out(self.relay.transcript(kept))

    @precondition(lambda self: not self.relay.connected and self.codi.may_attach("browser"))
    @rule()
    def reconnect(self) -> None:
        self.connect()

    @invariant()
    def each_byte_once_and_in_order_and_none_that_the_journal_lacks(self) -> None:
        assert self.journal.startswith(self.shown)
        assert self.typed.startswith(self.arrived)

    @invariant()
    def marks_are_where_a_shell_begins_and_sent_once(self) -> None:
        assert set(self.marks) <= set(self.shells)
        assert len(self.marks) == len(set(self.marks))

    def teardown(self) -> None:
        self.commit()
        if not self.relay.connected:
            self.connect()
        while self.to_codi:
            self.input_arrives()
        self.commit()
        for _ in range(len(self.journal) + 2):
            self.codi_sends(8)
        while self.to_relay:
            self.output_arrives()
        assert self.shown == self.journal
        assert self.arrived == self.typed
        if self.shells[-1] > 0:
            assert self.marks[-1:] == [self.shells[-1]]


TestRelayed = Relayed.TestCase
TestRelayed.settings = settings(max_examples=100, stateful_step_count=40)


def test_the_first_frame_is_attached_and_nothing_is_sent_before_it():
    state = relay(offset=5)
    assert state.become(Status.RECOVERING) == []
    assert not state.missing_before(5)
    outputs = state.attached(attached(5, 0, cols=80, rows=24), None)
    assert reported(outputs) == [shown_first(5, 0, cols=80, rows=24)]
    assert state.become(Status.READY) == []


def test_an_outage_is_reported_once_and_its_end_too():
    state = relay()
    state.attached(attached(), None)
    state.codi_closed(None, "")
    assert reported(state.become(Status.RECOVERING)) == [{"type": "status", "status": "recovering"}]
    assert state.become(Status.RECOVERING) == []
    outputs = state.attached(attached(), None)
    assert reported(outputs) == [{"type": "status", "status": "ready"}]


def test_input_typed_before_the_first_connection_is_typed_after_it():
    state = relay()
    assert state.typed(b"early") == []
    assert sent(state.attached(attached(0, 7), None)) == b"early"
    assert state.query()["input_offset"] == "7"


# ---- what CODI does not hold any more -----------------------------------------------------------


def test_a_new_socket_gets_what_is_kept_and_then_what_codi_holds():
    state = relay()
    assert state.missing_before(100)
    outputs = state.attached(attached(100), kept_from=40)
    assert reported(outputs) == [shown_first(40, truncated=True)]
    assert replayed(outputs) == [(40, 100)]
    assert state.output(b"k" * 60) == [b"k" * 60]
    assert state.output(b"live") == [b"live"]
    assert state.query()["offset"] == "104"


def test_a_terminal_without_a_journal_begins_where_codi_does():
    outputs = relay().attached(attached(100), kept_from=None)
    assert reported(outputs) == [shown_first(100, truncated=True)]
    assert replayed(outputs) == []


@pytest.mark.parametrize(
    ("wanted", "begins", "truncated"), [(20, 40, True), (40, 40, False), (70, 70, False)]
)
def test_a_socket_goes_on_where_its_browser_wants_if_that_is_kept(wanted, begins, truncated):
    outputs = relay(offset=wanted).attached(attached(100), kept_from=40)
    assert reported(outputs) == [shown_first(begins, truncated=truncated)]
    assert replayed(outputs) == [(begins, 100)]


def test_what_a_connection_missed_comes_from_the_journal_unnoticed():
    state = relay(offset=10)
    state.attached(attached(10), None)
    state.codi_closed(None, "")
    assert state.missing_before(20)
    outputs = state.attached(attached(20), kept_from=0)
    assert reported(outputs) == []
    assert replayed(outputs) == [(10, 20)]


@pytest.mark.parametrize("kept_from", [None, 11, 20])
def test_a_gap_sends_the_browser_to_attach_again(kept_from):
    state = relay(offset=10)
    state.attached(attached(10), None)
    state.codi_closed(None, "")
    outputs = state.attached(attached(20), kept_from)
    assert [(type(output), output.code) for output in outputs] == [(Finish, 4408)]
    assert not state.connected


def test_output_that_was_shown_already_is_not_shown_again():
    state = relay(offset=10)
    state.attached(attached(10), None)
    state.output(b"12345")
    state.codi_closed(None, "")
    state.attached(attached(12), None)
    assert state.output(b"34") == []
    assert state.output(b"567") == [b"67"]


# ---- the transcript -----------------------------------------------------------------------------


def test_what_is_kept_is_shown_before_there_is_a_container():
    state = relay()
    state.typed(b"early")
    outputs = state.transcript(record(10, 30, cols=90, rows=20, inputs={"w": 4}))
    assert reported(outputs) == [shown_first(10, 4, truncated=True, cols=90, rows=20)]
    assert replayed(outputs) == [(10, 30)]
    assert reported(state.become(Status.HIBERNATED)) == [{"type": "status", "status": "hibernated"}]
    assert state.transcript(record(10, 30)) == []
    state.output(b"t" * 20)
    outputs = state.attached(attached(30, 4), None)
    assert reported(outputs) == [{"type": "status", "status": "ready"}]
    assert sent(outputs) == b"early"


def test_a_transcript_that_the_browser_has_is_not_repeated():
    outputs = relay(offset=30).transcript(record(10, 30, cols=80, rows=24))
    assert reported(outputs) == [shown_first(30, cols=80, rows=24)]
    assert replayed(outputs) == []


def test_input_that_the_browser_knows_to_be_accepted_counts_without_a_record_of_it():
    outputs = relay(input_offset=7).transcript(record(0, 3, cols=80, rows=24, inputs={"w": 4}))
    assert reported(outputs) == [shown_first(0, 7, cols=80, rows=24)]


def test_what_was_kept_after_the_transcript_was_shown_comes_before_the_new_shell():
    state = relay()
    state.transcript(record(0, 30))
    state.output(b"t" * 30)
    outputs = state.attached(attached(35, 0, 35), kept_from=0)
    assert replayed(outputs) == [(30, 35)]
    assert state.output(b"last!") == [b"last!", RESTARTED]
    assert state.output(b"$ ") == [b"$ "]


# ---- another shell ------------------------------------------------------------------------------


def test_another_shell_is_reported_behind_the_last_byte_of_the_former():
    state = relay()
    state.attached(attached(), None)
    state.output(b"old")
    state.codi_closed(None, "")
    assert reported(state.attached(attached(3, 0, 3), None)) == [{"type": "restarted"}]
    assert state.output(b"$ ") == [b"$ "]


def test_another_shell_is_reported_after_the_transcript_of_the_former():
    state = relay()
    state.transcript(record(0, 3))
    state.output(b"old")
    assert reported(state.attached(attached(3, 0, 3), None)) == [{"type": "restarted"}]


def test_another_shell_is_reported_amid_output_that_belongs_to_both():
    state = relay()
    state.attached(attached(0, 0, 5), None)
    assert state.output(b"old") == [b"old"]
    assert state.output(b"er$ new") == [b"er", RESTARTED, b"$ new"]
    assert state.output(b"er") == [b"er"]


def test_a_shell_that_the_browser_knows_is_reported_once():
    state = relay()
    state.attached(attached(0, 0, 3), None)
    assert state.output(b"old$ ") == [b"old", RESTARTED, b"$ "]
    state.codi_closed(None, "")
    assert reported(state.attached(attached(5, 0, 3), None)) == []
    assert state.output(b"more") == [b"more"]


@pytest.mark.parametrize(
    ("offset", "shell_offset"), [(None, 0), (0, 0), (None, 40), (60, 40), (60, 0)]
)
def test_a_shell_of_which_all_that_is_shown_comes_is_not_announced(offset, shell_offset):
    state = relay(offset=offset)
    outputs = state.attached(attached(offset or 40, 0, shell_offset), kept_from=40)
    assert [frame["type"] for frame in reported(outputs)] == ["attached"]
    assert state.output(b"$ ") == [b"$ "]


# ---- ends, sizes, bounds ------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "end"), [(4410, Finish), (4400, Finish), (4411, Finish)])
def test_some_ends_are_final(code, end):
    state = relay()
    state.attached(attached(), None)
    assert isinstance(state.codi_closed(code, "why"), end)


def test_a_container_that_closes_by_itself_is_not_asked_again():
    state = relay()
    state.attached(attached(), None)
    assert state.codi_closed(1001, "") == Reconnect(replaced=True)
    assert state.codi_closed(4408, "") == Reconnect(replaced=False)


def test_a_size_is_remembered_for_the_next_connection():
    state = relay(size=(80, 24))
    assert state.browser_says('{"type": "resize", "cols": 100, "rows": 30}') == []
    assert (state.query()["cols"], state.query()["rows"]) == ("100", "30")
    state.attached(attached(), None)
    assert len(state.browser_says('{"type": "resize", "cols": 101, "rows": 30}')) == 1
    with pytest.raises(BadFrame):
        state.browser_says('{"type": "resize", "cols": 0, "rows": 30}')


def test_unacknowledged_input_is_bounded_by_whoever_reads():
    state = relay()
    state.attached(attached(), None)
    state.typed(b"x" * MAX_UNACKNOWLEDGED)
    assert state.full
    state.codi_says('{"type": "input_ack", "offset": 1}')
    assert not state.full


def test_a_browser_learns_what_it_is_to_the_terminal_on_every_connection():
    relay = RelayState(Request(client="c", emulator=True))
    assert relay.query()["emulator"] == "1"
    role = {"cols": 80, "rows": 24, "sizes": False, "answers": True, "answers_from": 7}
    first = {"output_offset": 0, "input_offset": 0, "shell_offset": 0, "truncated": False}
    begun = json.loads(relay.attached(first | role, None)[0].text)
    assert {name: begun[name] for name in role} == role
    relay.codi_closed(None, "")
    again = role | {"answers": False, "answers_from": 9, "sizes": True}
    reported = [json.loads(output.text) for output in relay.attached(first | again, None)]
    assert reported == [
        {"type": "resized", "cols": 80, "rows": 24, "sizes": True},
        {"type": "answers", "answers": False, "offset": 9},
    ]


def test_what_a_browser_does_not_show_has_no_size_on_the_next_connection_either():
    relay = RelayState(Request(client="c", size=(80, 24)))
    relay.browser_says(control("hidden"))
    assert "cols" not in relay.query()
    first = {"output_offset": 0, "input_offset": 0, "shell_offset": 0, "truncated": False}
    relay.attached(first, None)
    assert relay.browser_says(control("hidden")) == [ToCodi(control("hidden"))]
    assert relay.browser_says(control("active")) == [ToCodi(control("active"))]


@pytest.mark.parametrize("wanted", [None, 0, 399])
def test_a_socket_that_lacks_output_begins_with_the_state_that_it_left(wanted):
    relay = RelayState(Request(client="c", offset=wanted))
    first = {"output_offset": 500, "input_offset": 0, "shell_offset": 0, "truncated": True}
    reported, state, replay = relay.attached(first, 400)
    assert json.loads(reported.text)["truncated"]
    assert (state, replay) == (ShowState(400), Replay(400, 500))
    assert relay.codi_says(control("snapshot", data="")) == []  # of bytes that the journal has


@pytest.mark.parametrize(("wanted", "kept_from"), [(None, 0), (400, 400), (450, 400)])
def test_a_socket_that_lacks_none_needs_no_state(wanted, kept_from):
    relay = RelayState(Request(client="c", offset=wanted))
    first = {"output_offset": 500, "input_offset": 0, "shell_offset": 0, "truncated": True}
    assert ShowState(kept_from) not in relay.attached(first, kept_from)


def test_what_codi_sends_of_the_state_counts_where_the_journal_knows_nothing():
    relay = RelayState(Request(client="c"))
    first = {"output_offset": 500, "input_offset": 0, "shell_offset": 0, "truncated": True}
    relay.attached(first, None)
    frame = control("snapshot", data="")
    assert relay.codi_says(frame) == [ToBrowser(frame)]


def test_a_transcript_that_lacks_output_begins_with_its_state():
    relay = RelayState(Request(client="c"))
    record = TerminalRecord(
        session_id="s", name="t", container_id="c1", created_at=0, updated_at=0, start=400, end=500
    )
    assert relay.transcript(record)[1:] == [ShowState(400), Replay(400, 500)]


def test_what_a_page_sends_of_itself_goes_on_to_codi_unchanged():
    state = relay()
    state.attached(attached(), None)
    sent = state.browser_says('{"type": "resize", "cols": 101, "rows": 30}')
    assert sent == [ToCodi(control("resize", cols=101, rows=30))]
    assert state.browser_says('{"type": "active"}') == [ToCodi(control("active"))]
    assert state.browser_says('{"type": "of the future"}') == []


def test_the_label_of_a_window_and_a_rule_chosen_meanwhile_reach_the_next_connection():
    relay = RelayState(Request(client="c", label="Firefox on Linux"))
    assert relay.query()["label"] == "Firefox on Linux"
    chosen = control("sizing", rule="smallest")
    assert relay.browser_says(chosen) == []
    first = {"output_offset": 0, "input_offset": 0, "shell_offset": 0, "truncated": False}
    assert relay.attached(first, None)[-1] == ToCodi(chosen)
    relay.codi_closed(None, "")
    assert ToCodi(chosen) not in relay.attached(first, None)
    latest = control("sizing", rule="latest")
    assert relay.browser_says(latest) == [ToCodi(latest)]
    relay.codi_closed(None, "")
    assert ToCodi(latest) not in relay.attached(first, None)
    with pytest.raises(BadFrame, match="latest, smallest, largest"):
        relay.browser_says(control("sizing", rule="widest"))


def test_codi_is_asked_for_what_the_browser_asked_for_and_for_a_shell():
    assert RelayState(Request(client="c")).query() == {
        "client": "c",
        "input_offset": "0",
        "create": "1",
    }
    whole = Request("c", 7, 3, size=(80, 24), emulator=True, label="desk")
    assert RelayState(whole).query() == {
        "client": "c",
        "input_offset": "3",
        "create": "1",
        "offset": "7",
        "cols": "80",
        "rows": "24",
        "emulator": "1",
        "label": "desk",
    }


@pytest.mark.parametrize(
    ("wanted", "offset", "missing"),
    [(None, 0, False), (None, 1, True), (0, 1, True), (5, 6, True), (6, 6, False), (7, 6, False)],
)
def test_output_is_missing_where_codi_begins_behind_what_is_wanted(wanted, offset, missing):
    assert RelayState(Request(client="c", offset=wanted)).missing_before(offset) is missing


def test_what_codi_sends_is_passed_on_but_for_what_the_relay_heals_itself():
    relay = RelayState(Request(client="c"))
    first = {"output_offset": 500, "input_offset": 0, "shell_offset": 0, "truncated": True}
    relay.attached(first, None)
    for frame in (control("cwd", path="/x"), control("exit", code=3), control("of a newer one")):
        assert relay.codi_says(frame) == [ToBrowser(frame)]
    assert relay.codi_says(control("dropped", reason="slow")) == []
    state = control("snapshot", data="eA==")
    assert relay.codi_says(state) == [ToBrowser(state)]
    assert relay.codi_says(state) == []  # of a later connection, which follows on what is shown
