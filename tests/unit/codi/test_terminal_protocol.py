"""Bytes of a terminal: numbered, bounded, and exactly once for every client."""

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from cluster.codi.journal_protocol import MAX_INPUTS
from cluster.codi.terminals import frames
from cluster.codi.terminals.checkpoints import CHECKPOINT_EVERY
from cluster.codi.terminals.frames import (
    MAX_OFFSET,
    Active,
    BadFrame,
    Hidden,
    Request,
    Resize,
    check_name,
    check_size,
    control,
    parse_control,
    parse_request,
    snapshot,
)
from cluster.codi.terminals.protocol import TerminalProtocol
from cluster.codi.terminals.ring import HEADER, Ring
from tests.support.terminal_vectors import CAPACITY, CLOSES, OF_CODI, parameters


def drain(protocol, key, limit=1 << 20):
    taken = b""
    while part := protocol.take(key, limit):
        taken += part
    return taken


def numbered(capacity=1 << 16, end=0, inputs=None):
    """Return a terminal whose journal has answered."""
    protocol = TerminalProtocol(capacity)
    protocol.number(end, inputs or {})
    return protocol


def printing(protocol, data):
    """Have a terminal print, and its journal keep all of it at once."""
    protocol.output(data)
    keep_all(protocol)


def keep_all(protocol):
    offset, data, inputs = protocol.unkept(1 << 20)
    protocol.keep(offset + len(data), inputs)


def test_clients_are_tested_with_every_code_that_a_terminal_is_closed_with():
    assert {value for name, value in vars(frames).items() if name.startswith("CLOSE_")} <= {
        code for code, _ in CLOSES
    }


@pytest.mark.parametrize("steps", OF_CODI.values(), ids=OF_CODI.keys())
def test_the_server_speaks_the_protocol(steps):
    protocol, key, arrived = numbered(CAPACITY), 0, b""
    for step in steps:
        match step["do"]:
            case "print":
                data = step["data"].encode()
                for at in range(0, len(data), protocol.read_size):
                    printing(protocol, data[at : at + protocol.read_size])
            case "connect":
                key, request = key + 1, parse_request(parameters(step))
                attached = protocol.attach(key, request)
                reported = {name: getattr(attached, name) for name in step["attached"]}
                assert reported == step["attached"]
                assert attached.truncated is (step["gap"] > 0)
                arrived += protocol.accept(key, step["resent"].encode())
            case "output":
                data = step["data"].encode()
                assert protocol.take(key, len(data)) == data
            case "type":
                arrived += protocol.accept(key, step["arrives"].encode())
            case "ack":
                keep_all(protocol)
                assert protocol.acknowledgement(key) == control("input_ack", offset=step["offset"])
            case "lose":
                keep_all(protocol)
                protocol.detach(key)
            case "forget":
                protocol = numbered(CAPACITY, end=protocol.ring.end)
            case "end":
                assert arrived.decode() == step["arrived"]


class TestRing:
    def test_keeps_the_newest_bytes_and_their_numbers(self):
        ring = Ring(8)
        ring.number(100)
        ring.append(b"abcdef")
        ring.append(b"ghij")
        assert (ring.start, ring.end) == (102, 110)
        assert ring.read(102, 100) == b"cdefghij"
        assert ring.read(107, 2) == b"hi"
        assert ring.read(110, 5) == b""

    def test_what_it_holds_is_renumbered_as_a_whole(self):
        ring = Ring(8)
        ring.append(b"abcdefghij")
        ring.number(1000)
        assert (ring.start, ring.end) == (1002, 1010)
        assert ring.read(1002, 3) == b"cde"
        ring.append(b"klmnop")
        assert ring.read(1008, 9) == b"ijklmnop"

    def test_refuses_an_offset_that_is_not_kept(self):
        ring = Ring(4)
        ring.append(b"abcdef")
        for offset in (1, 7):
            with pytest.raises(ValueError, match="not kept"):
                ring.read(offset, 1)

    def test_many_tiny_writes_are_held_as_few_large_ones_are(self):
        ring = Ring(1 << 20)
        for _ in range(100_000):
            ring.append(b"x")
        assert ring.read(99_990, 100) == b"x" * 10

    def test_one_write_larger_than_the_capacity_keeps_its_end(self):
        ring = Ring(4)
        ring.append(b"0123456789")
        assert (ring.start, ring.end, ring.read(6, 9)) == (6, 10, b"6789")


class TestMemoryThatOutlivesTheProcess:
    """``Ring`` on memory that another ring was on: as after a SIGKILL at that moment."""

    @pytest.fixture
    def memory(self):
        return memoryview(bytearray(HEADER + 8))

    def fill(self, areas, data, notice=0):
        areas[0][0] = notice
        for area in areas[1:]:
            area[:], data = data[: len(area)], data[len(area) :]

    def test_everything_is_as_it_was(self, memory):
        protocol = TerminalProtocol(8, memory)
        protocol.output(b"abc")
        protocol.number(100, {})
        protocol.keep(102)
        protocol.new_shell()
        protocol.output(b"defghij")
        again = TerminalProtocol(8, memory)
        assert (again.ring.start, again.kept, again.shell_offset, again.ring.end) == (
            102,
            102,
            103,
            110,
        )
        assert again.ring.read(102, 100) == b"cdefghij"

    @pytest.mark.parametrize("before", [b"", b"abc", b"abcdef"])
    def test_a_read_that_took_place_is_counted_once(self, memory, before):
        ring = Ring(8, memory)
        ring.append(before)
        self.fill(ring.begin_reading(4), b"1234")  # killed here
        ring = Ring(8, memory)
        assert ring.end == len(before) + 4
        assert ring.read(ring.end - 4, 4) == b"1234"
        assert Ring(8, memory).end == len(before) + 4

    @pytest.mark.parametrize("notice", [0xFF, 1, 2, 32])
    def test_one_that_did_not_or_brought_a_notice_only_is_not(self, memory, notice):
        ring = Ring(8, memory)
        ring.append(b"abc")
        self.fill(ring.begin_reading(4)[:1], b"", notice)
        assert Ring(8, memory).end == 3
        assert ring.end_reading() == 0

    def test_nobody_attaches_before_the_journal_has_reported_what_it_has(self, memory):
        TerminalProtocol(8, memory).number(100, {"c": 5})
        again = TerminalProtocol(8, memory)
        again.recount({"d": 7})
        assert again.numbered
        assert not again.may_attach("c")
        again.number(100, {"c": 5, "d": 3})
        assert again.may_attach("c")
        assert not again.may_attach("d")
        again.keep(100, {"d": 7})
        assert again.attach(1, Request("d")).input_offset == 7
        assert again.attach(2, Request("c")).input_offset == 5


class TestKeeping:
    def test_nobody_attaches_before_the_journal_has_numbered_the_terminal(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.output(b"$ ")
        assert not protocol.may_attach(None)
        assert not protocol.may_attach("c")
        protocol.number(500, {})
        assert protocol.may_attach(None)
        assert protocol.may_attach("c")

    def test_what_was_printed_before_is_numbered_on_and_shown_once_it_is_kept(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.output(b"$ ")
        protocol.number(500, {})
        attached = protocol.attach(1, Request("c", offset=500))
        assert (attached.output_offset, attached.shell_offset) == (500, 500)
        assert protocol.take(1, 100) == b""
        assert protocol.unkept(100) == (500, b"$ ", {})
        protocol.keep(502)
        assert protocol.take(1, 100) == b"$ "
        assert protocol.complete

    def test_a_part_that_is_kept_is_shown_and_the_rest_is_handed_over_next(self):
        protocol = numbered()
        protocol.attach(1, Request())
        protocol.output(b"abcdef")
        assert protocol.unkept(4) == (0, b"abcd", {})
        protocol.keep(4)
        assert drain(protocol, 1) == b"abcd"
        assert protocol.behind(1) == 0
        assert not protocol.complete
        assert protocol.unkept(4) == (4, b"ef", {})

    def test_a_journal_that_connects_anew_reports_what_is_kept_and_renumbers_nothing(self):
        protocol = numbered(end=100)
        protocol.output(b"abcdef")
        protocol.keep(102)
        protocol.number(104, {})
        assert (protocol.kept, protocol.ring.end, protocol.shell_offset) == (104, 106, 100)
        assert protocol.unkept(10) == (104, b"ef", {})

    def test_what_the_journal_reports_wrongly_takes_nothing_back_and_invents_nothing(self):
        protocol = numbered()
        protocol.output(b"abc")
        protocol.keep(900)
        assert protocol.kept == 3
        protocol.keep(1)
        assert protocol.kept == 3

    def test_input_is_acknowledged_once_it_is_kept(self):
        protocol = numbered()
        protocol.attach(1, Request("c"))
        assert protocol.accept(1, b"ls\n") == b"ls\n"
        assert protocol.acknowledgement(1) is None
        offset, data, inputs = protocol.unkept(100)
        assert (offset, data, inputs) == (0, b"", {"c": 3})
        protocol.accept(1, b"more")
        protocol.keep(0, inputs)
        assert json.loads(protocol.acknowledgement(1)) == {"type": "input_ack", "offset": 3}
        assert protocol.acknowledgement(1) is None
        assert protocol.unkept(100)[2] == {"c": 7}

    def test_a_client_with_input_under_way_comes_back_when_that_is_kept(self):
        protocol = numbered()
        protocol.attach(1, Request("c"))
        protocol.accept(1, b"typed")
        protocol.detach(1)
        assert not protocol.may_attach("c")
        assert protocol.may_attach("other")
        keep_all(protocol)
        assert protocol.may_attach("c")
        assert protocol.attach(2, Request("c")).input_offset == 5

    def test_counts_of_the_journal_are_those_of_the_terminal(self):
        protocol = numbered(end=10, inputs={"c": 40})
        assert protocol.attach(1, Request("c")).input_offset == 40
        assert protocol.unkept(10)[2] == {}

    def test_who_has_no_name_is_counted_for_nobody(self):
        protocol = numbered()
        protocol.attach(1, Request())
        protocol.accept(1, b"abc")
        assert protocol.unkept(10) == (0, b"", {})
        assert json.loads(protocol.acknowledgement(1))["offset"] == 3

    def test_no_more_counts_are_handed_over_than_a_frame_has_room_for(self):
        protocol = numbered()
        for key in range(MAX_INPUTS + 20):
            protocol.attach(key, Request(f"c{key}"))
            protocol.accept(key, b"x")
        first = protocol.unkept(1)[2]
        assert len(first) == MAX_INPUTS
        protocol.keep(0, first)
        assert len(protocol.unkept(1)[2]) == 20

    def test_clients_that_are_long_gone_are_forgotten_but_none_with_input_under_way(self):
        protocol = numbered()
        protocol.attach(0, Request("typed"))
        protocol.accept(0, b"x")
        protocol.detach(0)
        for key in range(1, 3000):
            protocol.attach(key, Request(f"c{key}"))
            protocol.detach(key)
        assert len(protocol._clients) <= 1025
        assert protocol.unkept(1)[2] == {"typed": 1}


class TestAttaching:
    def test_without_an_offset_everything_held_is_sent(self):
        protocol = numbered()
        printing(protocol, b"hello")
        attached = protocol.attach(1, Request())
        assert (attached.output_offset, attached.truncated, attached.shell_offset) == (0, False, 0)
        assert drain(protocol, 1) == b"hello"

    def test_with_an_offset_the_rest_is_sent(self):
        protocol = numbered()
        printing(protocol, b"hello")
        assert protocol.attach(1, Request("c", offset=3)).output_offset == 3
        assert drain(protocol, 1) == b"lo"

    def test_an_offset_older_than_the_ring_is_reported_truncated(self):
        protocol = numbered(4096)
        printing(protocol, b"x" * 2048)
        printing(protocol, b"y" * 4000)
        attached = protocol.attach(1, Request("c", offset=10))
        assert attached.truncated
        assert attached.output_offset == protocol.ring.start
        assert len(drain(protocol, 1)) == 4096

    def test_an_offset_beyond_what_was_ever_shown_begins_at_what_is_kept(self):
        protocol = numbered(end=100)
        printing(protocol, b"prompt")
        protocol.output(b"not kept")
        attached = protocol.attach(1, Request("c", offset=500))
        assert (attached.output_offset, attached.truncated) == (106, False)
        assert drain(protocol, 1) == b""

    def test_a_new_connection_of_a_client_replaces_the_former(self):
        protocol = numbered()
        protocol.attach(1, Request("c"))
        protocol.accept(1, b"abc")
        keep_all(protocol)
        attached = protocol.attach(2, Request("c"))
        assert (attached.replaced, attached.input_offset) == (1, 3)
        assert protocol.accept(1, b"late") == b""
        assert protocol.acknowledgement(1) is None
        protocol.detach(1)
        assert protocol.connections == [2]

    def test_input_that_the_client_knows_to_be_accepted_counts_whatever_the_journal_knows(self):
        protocol = numbered(end=10, inputs={"c": 70})
        assert protocol.attach(1, Request("c", offset=10, input_offset=77)).input_offset == 77

    def test_another_shell_in_the_same_container_is_reported_by_where_it_begins(self):
        protocol = numbered(end=50)
        printing(protocol, b"bye")
        assert protocol.attach(1, Request("c", offset=50)).shell_offset == 50
        protocol.detach(1)
        protocol.new_shell()
        printing(protocol, b"hi")
        attached = protocol.attach(2, Request("c", offset=50))
        assert (attached.output_offset, attached.shell_offset) == (50, 53)
        assert drain(protocol, 2) == b"byehi"


class TestFlow:
    def test_the_terminal_waits_while_everybody_is_far_behind(self):
        protocol = numbered(1 << 20)
        assert not protocol.paused
        protocol.attach(1, Request("a"))
        protocol.attach(2, Request("b"))
        while not protocol.paused:
            printing(protocol, b"x" * protocol.read_size)
        assert 256 << 10 < protocol.behind(1) <= (256 << 10) + protocol.read_size
        protocol.take(1, 1 << 20)
        assert not protocol.paused
        protocol.detach(1)
        assert protocol.paused
        protocol.detach(2)
        assert not protocol.paused

    @pytest.mark.parametrize("capacity", [4096, 10_000, 1 << 20, 8 << 20])
    @pytest.mark.parametrize("is_numbered", [True, False])
    def test_the_terminal_waits_for_its_journal_before_an_unkept_byte_would_be_lost(
        self, capacity, is_numbered
    ):
        protocol = numbered(capacity) if is_numbered else TerminalProtocol(capacity)
        printed = 0
        while not protocol.paused:
            assert protocol.room >= protocol.read_size
            protocol.output(b"x" * protocol.read_size)
            printed += protocol.read_size
        assert protocol.ring.start == 0
        protocol.number(0, {})
        assert protocol.unkept(1 << 30)[:2] == (0, b"x" * printed)
        protocol.keep(printed)
        assert not protocol.paused

    def test_room_is_what_fits_beside_the_unkept_bytes(self):
        protocol = numbered(4096)
        printing(protocol, b"x" * 4000)
        assert protocol.room == 4096
        protocol.output(b"y" * 1000)
        assert protocol.room == 3096

    def test_who_is_far_behind_the_others_is_cut_before_losing_a_byte(self):
        protocol = numbered(1 << 20)
        protocol.attach(1, Request("fast"))
        protocol.attach(2, Request("slow"))
        while not protocol.laggards(protocol.read_size):
            printing(protocol, b"x" * protocol.read_size)
            drain(protocol, 1)
        assert protocol.laggards(protocol.read_size) == [2]
        assert protocol.ring.start <= protocol.kept - protocol.behind(2)

    @pytest.mark.parametrize("capacity", [4096, 10_000, 1 << 20, 8 << 20])
    def test_a_lone_client_that_does_not_read_is_never_cut(self, capacity):
        protocol = numbered(capacity)
        protocol.attach(1, Request("slow"))
        while not protocol.paused:
            assert protocol.laggards(protocol.read_size) == []
            printing(protocol, b"x" * protocol.read_size)
        assert len(drain(protocol, 1)) == protocol.ring.end


class TestFrames:
    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"offset": "-1"}, "offset"),
            ({"offset": str(MAX_OFFSET + 1)}, "offset"),
            ({"offset": "9" * 5000}, "offset"),
            ({"offset": "1e3"}, "offset"),
            ({"offset": "\u0661"}, "offset"),
            ({"input_offset": "x"}, "input_offset"),
            ({"cols": "0"}, "cols"),
            ({"rows": "1001"}, "rows"),
            ({"client": "x" * 129}, "client"),
            ({"client": "a\nb"}, "client"),
        ],
    )
    def test_a_wrong_parameter_is_named(self, query, field):
        with pytest.raises(BadFrame, match=f"^{field}: "):
            parse_request(query)

    def test_parameters_are_read(self):
        query = {"client": "c", "offset": "0", "cols": "100", "create": "1", "other": "x"}
        assert parse_request(query) == Request("c", 0, 0, (100, 24), create=True)
        assert parse_request({}) == Request()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "nonsense",
            "[]",
            "1",
            "{}",
            '{"type": 1}',
            "[" * 100_000,
            '{"type": "resize"}',
            '{"type": "resize", "cols": true, "rows": 1}',
            '{"type": "resize", "cols": 80, "rows": 0}',
            '{"type": "resize", "cols": 80.5, "rows": 24}',
            '{"type": "resize", "cols": 1e308, "rows": 24}',
            '{"type": "resize", "cols": "80", "rows": 24}',
        ],
    )
    def test_a_wrong_frame_is_refused(self, text):
        with pytest.raises(BadFrame):
            parse_control(text)

    def test_frames_are_read_and_unknown_ones_ignored(self):
        assert parse_control(control("resize", cols=1000, rows=1)) == Resize((1000, 1))
        assert parse_control(control("hidden")) == Hidden()
        assert parse_control(control("active")) == Active()
        assert parse_control(control("future", field=1)) is None


class ExactlyOnce(RuleBasedStateMachine):
    """Any order of output, attaching, taking, typing and breaking, with bytes lost in flight.

    The journal lags behind, loses its connection with what is under way on it, and gives the numbers
    on to a new container, whose shell prints other bytes. The model is the journal's stream; for each
    client what it has seen and typed.
    """

    clients = Bundle("clients")

    def __init__(self):
        super().__init__()
        self.protocol = TerminalProtocol(4096)
        self.journal = b""
        self.counts = {}
        self.under_way = None  # a batch that the journal has got and not answered
        self.shells = 0
        self.printed = 0
        self.seen = {}  # client: (number of the first byte, what was received behind it)
        self.typed = {}
        self.accepted = {}
        self.keys = {}
        self.next_key = 0

    @rule(target=clients)
    def arrive(self):
        client = f"c{len(self.seen)}"
        self.seen[client] = None
        self.typed[client] = self.accepted[client] = b""
        return client

    # ---- the journal ----------------------------------------------------------------------------

    @rule()
    def journal_connects(self):
        """Also again: what was under way is handed over anew."""
        self.under_way = None
        self.protocol.number(len(self.journal), self.counts)

    @precondition(lambda self: self.protocol.numbered and self.under_way is None)
    @rule(limit=st.integers(1, 3000))
    def journal_gets_a_batch(self, limit):
        offset, data, inputs = self.protocol.unkept(limit)
        if data or inputs:
            self.under_way = offset, data, inputs

    @precondition(lambda self: self.under_way is not None)
    @rule(answer_arrives=st.booleans())
    def journal_commits(self, answer_arrives):
        offset, data, inputs = self.under_way
        assert offset <= len(self.journal)
        again = self.journal[offset : offset + len(data)]
        assert data.startswith(again), "a number was given to another byte"
        self.journal += data[len(again) :]
        self.counts |= inputs
        self.under_way = None
        if answer_arrives:
            self.protocol.keep(offset + len(data), inputs)
        else:
            self.journal_connects()

    @rule()
    def container_dies(self):
        """Output that the journal lacks is gone, seen by nobody; another shell prints other bytes."""
        self.shells += 1
        self.printed = 0
        self.under_way = None
        self.keys.clear()
        self.protocol = TerminalProtocol(4096)
        for client, accepted in self.accepted.items():
            self.accepted[client] = accepted[: self.counts.get(client, 0)]

    # ---- the terminal ---------------------------------------------------------------------------

    @rule(size=st.integers(1, 3000))
    def print(self, size):
        size = min(size, self.protocol.read_size)
        if self.protocol.paused:
            return
        for key in self.protocol.laggards(size):
            self.protocol.detach(key)
            self.keys = {client: known for client, known in self.keys.items() if known != key}
        words = (b"%d:%d," % (self.shells, self.printed + n) for n in range(size))
        self.protocol.output(b"".join(words)[:size])
        self.printed += size

    @rule(client=clients, new_tab=st.booleans())
    def attach(self, client, new_tab):
        if not self.protocol.may_attach(client):
            return
        self.next_key += 1
        seen = None if new_tab else self.seen[client]
        offset = None if seen is None else seen[0] + len(seen[1])
        attached = self.protocol.attach(self.next_key, Request(client, offset))
        self.keys[client] = self.next_key
        if offset is None or attached.truncated:
            # What lies before comes from the journal.
            assert attached.output_offset <= len(self.journal)
            self.seen[client] = (attached.output_offset, b"")
        else:
            assert attached.output_offset == offset
        # What was sent and not accepted is sent again from there.
        assert attached.input_offset == len(self.accepted[client])
        self._type(client, self.typed[client][attached.input_offset :])

    @rule(client=clients, size=st.integers(1, 5000), arrives=st.booleans())
    def take(self, client, size, arrives):
        if client not in self.keys:
            return
        data = self.protocol.take(self.keys[client], size)
        if arrives:
            first, before = self.seen[client]
            self.seen[client] = (first, before + data)
        elif data:  # lost in flight: nothing behind it arrives either
            self.protocol.detach(self.keys.pop(client))

    @rule(client=clients, data=st.binary(min_size=1, max_size=9), arrives=st.booleans())
    def type(self, client, data, arrives):
        self.typed[client] += data
        if client in self.keys:
            if arrives:
                self._type(client, data)
            else:
                self.protocol.detach(self.keys.pop(client))

    @rule(client=clients)
    def vanish(self, client):
        if client in self.keys:
            self.protocol.detach(self.keys.pop(client))

    @rule(client=clients)
    def is_acknowledged(self, client):
        frame = self.protocol.acknowledgement(self.keys.get(client, -1))
        if frame is not None:
            assert json.loads(frame)["offset"] <= self.counts.get(client, 0)

    def _type(self, client, data):
        self.accepted[client] += self.protocol.accept(self.keys[client], data)

    @invariant()
    def everybody_saw_the_journals_stream_and_nothing_that_it_does_not_have(self):
        for seen in self.seen.values():
            if seen is not None:
                first, data = seen
                assert self.journal[first : first + len(data)] == data

    @invariant()
    def input_was_accepted_in_order_and_once(self):
        for client, accepted in self.accepted.items():
            assert self.typed[client].startswith(accepted)
            if client in self.keys:
                assert accepted == self.typed[client]

    @invariant()
    def nothing_is_lost_before_it_is_kept(self):
        assert self.protocol.ring.start <= self.protocol.kept <= self.protocol.ring.end

    @invariant()
    def memory_is_bounded(self):
        ring = self.protocol.ring
        assert ring.end - ring.start <= ring.capacity


TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = settings(max_examples=80, stateful_step_count=50)


class TestStates:
    """A replay over missing output begins at a byte at which the terminal's state is known."""

    CAPACITY = 64 << 10

    def printed(self, protocol, text, count):
        for _ in range(count):
            printing(protocol, text)

    def test_a_replay_without_the_oldest_output_begins_with_what_that_set(self):
        protocol = numbered(self.CAPACITY, end=1000)
        printing(protocol, b"\x1b[?1049h\x1b[?1h")
        self.printed(protocol, b"z" * 1000, 100)
        attached = protocol.attach(1, Request())
        assert attached.snapshot == b"\x1b[?1049h\x1b[?1h"
        assert (
            protocol.ring.start <= attached.output_offset < protocol.ring.start + CHECKPOINT_EVERY
        )
        assert drain(protocol, 1) == b"z" * (protocol.kept - attached.output_offset)

    @pytest.mark.parametrize("offset", [None, 0, 1000])
    def test_what_is_whole_or_goes_on_needs_no_state(self, offset):
        protocol = numbered(self.CAPACITY, end=1000)
        self.printed(protocol, b"\x1b[?1h" + b"z" * 1000, 20)
        assert protocol.attach(1, Request(offset=offset)).snapshot == b""
        self.printed(protocol, b"z" * 1000, 100)
        assert protocol.attach(2, Request(offset=protocol.ring.start)).snapshot == b""

    def test_the_journal_is_given_the_states_within_a_batch(self):
        protocol = numbered(self.CAPACITY, end=1000)
        protocol.output(b"\x1b[1m" + b"z" * (CHECKPOINT_EVERY - 4))
        protocol.output(b"\x1b[4m" + b"z" * (CHECKPOINT_EVERY - 4))
        end = protocol.ring.end
        states = [(1000 + CHECKPOINT_EVERY, b"\x1b[1m"), (end, b"\x1b[1;4m")]
        assert protocol.checkpoints(1000, end) == states
        assert protocol.checkpoints(1000, end - 1) == states[:1]
        assert protocol.checkpoints(1000 + CHECKPOINT_EVERY, end) == states[1:]

    def test_states_known_before_the_terminal_is_numbered_are_numbered_with_it(self):
        protocol = TerminalProtocol(self.CAPACITY)
        protocol.output(b"\x1b[1m" + b"z" * CHECKPOINT_EVERY)
        protocol.number(500, {})
        assert protocol.checkpoints(500, 1 << 20) == [(500 + CHECKPOINT_EVERY, b"\x1b[1m")]

    @pytest.mark.parametrize("printed", [100, CHECKPOINT_EVERY, 100_000])
    def test_a_process_that_goes_on_knows_what_was_set_before(self, printed):
        memory = memoryview(bytearray(HEADER + self.CAPACITY))
        former = TerminalProtocol(self.CAPACITY, memory)
        former.number(500, {})
        printing(former, b"\x1b[?1h")
        self.printed(former, b"z" * 100, printed // 100)
        protocol = TerminalProtocol(self.CAPACITY, memory)
        protocol.number(former.kept, {})
        printing(protocol, b"\x1b[4m")
        self.printed(protocol, b"z" * 1000, 100)
        assert protocol.attach(1, Request()).snapshot == b"\x1b[?1h\x1b[4m"

    def test_another_shell_begins_without_what_the_former_left(self):
        protocol = numbered(self.CAPACITY)
        self.printed(protocol, b"\x1b[?1h" + b"z" * 1000, 20)
        protocol.new_shell()
        printing(protocol, b"\x1b[4m")
        self.printed(protocol, b"z" * 1000, 100)
        assert protocol.attach(1, Request()).snapshot == b"\x1b[4m"


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ({}, Request()),
        ({"client": "c" * 128}, Request(client="c" * 128)),
        ({"label": "x" * 64}, Request(label="x" * 64)),
        ({"cols": "1", "rows": "1000"}, Request(size=(1, 1000))),
        ({"cols": "1000", "rows": "1"}, Request(size=(1000, 1))),
        ({"cols": "132"}, Request(size=(132, 24))),
        ({"rows": "50"}, Request(size=(80, 50))),
        ({"offset": "0"}, Request(offset=0)),
        ({"offset": str((1 << 53) - 1)}, Request(offset=(1 << 53) - 1)),
        (
            {"input_offset": "7", "create": "1", "emulator": "1"},
            Request(None, None, 7, None, True, True),
        ),
        ({"create": "yes", "emulator": "yes"}, Request()),
    ],
)
def test_what_a_socket_may_ask_for(query, asked):
    assert parse_request(query) == asked


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"client": "c" * 129}, "client"),
        ({"client": "a\x07"}, "client"),
        ({"label": "x" * 65}, "label"),
        ({"label": "a\n"}, "label"),
        ({"cols": "1001"}, "cols"),
        ({"rows": "0"}, "rows"),
        ({"offset": str(1 << 53)}, "offset"),
        ({"offset": "0" * 17}, "offset"),
        ({"offset": "٣"}, "offset"),
        ({"input_offset": "-1"}, "input_offset"),
    ],
)
def test_what_it_may_not_is_named(query, named):
    with pytest.raises(BadFrame, match=f"^{named}: "):
        parse_request(query)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("x" * 128, True),
        ("...", True),
        ("ä b", True),
        ("", False),
        ("x" * 129, False),
        (".", False),
        ("..", False),
        ("a/b", False),
        ("a\n", False),
    ],
)
def test_a_terminals_name_is_one_segment_of_a_url(name, good):
    if good:
        assert check_name(name) == name
    else:
        with pytest.raises(BadFrame, match=r"^name: "):
            check_name(name)


@pytest.mark.parametrize(
    ("cols", "rows", "named"),
    [
        (0, 24, "cols"),
        (80, 1001, "rows"),
        (True, 24, "cols"),
        (80, "24", "rows"),
        (None, 1, "cols"),
    ],
)
def test_a_size_that_is_none_is_named(cols, rows, named):
    with pytest.raises(BadFrame, match=f"^{named}: "):
        check_size(cols, rows)


def test_a_snapshot_is_a_frame_that_names_itself():
    assert json.loads(snapshot(b"\x1b[1m")) == {"type": "snapshot", "data": "G1sxbQ=="}
