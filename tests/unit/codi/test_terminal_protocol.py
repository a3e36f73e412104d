"""Bytes of a terminal: numbered, bounded, and exactly once for every client."""

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
)

from cluster.codi.terminal_protocol import (
    MAX_OFFSET,
    BadFrame,
    Journal,
    Request,
    TerminalProtocol,
    control,
    parse_control,
    parse_request,
)


def drain(protocol, key, limit=1 << 20):
    taken = b""
    while part := protocol.take(key, limit):
        taken += part
    return taken


class TestJournal:
    def test_keeps_the_newest_bytes_and_their_numbers(self):
        journal = Journal(8, base=100)
        journal.append(b"abcdef")
        journal.append(b"ghij")
        assert (journal.start, journal.end) == (102, 110)
        assert journal.read(102, 100) == b"cdefghij"
        assert journal.read(107, 2) == b"hi"
        assert journal.read(110, 5) == b""

    def test_refuses_an_offset_that_is_not_kept(self):
        journal = Journal(4)
        journal.append(b"abcdef")
        for offset in (1, 7):
            with pytest.raises(ValueError, match="not kept"):
                journal.read(offset, 1)

    def test_many_tiny_writes_do_not_become_many_objects(self):
        journal = Journal(1 << 20)
        for _ in range(100_000):
            journal.append(b"x")
        assert len(journal._parts) < 100
        assert journal.read(99_990, 100) == b"x" * 10

    def test_one_write_larger_than_the_capacity_keeps_its_end(self):
        journal = Journal(4)
        journal.append(b"0123456789")
        assert (journal.start, journal.end, journal.read(6, 9)) == (6, 10, b"6789")


class TestAttaching:
    def test_without_an_offset_everything_kept_is_sent(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.output(b"hello")
        attached = protocol.attach(1, Request())
        assert (attached.output_offset, attached.truncated, attached.restarted) == (0, False, False)
        assert drain(protocol, 1) == b"hello"

    def test_with_an_offset_the_rest_is_sent(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.output(b"hello")
        assert protocol.attach(1, Request("c", offset=3)).output_offset == 3
        assert drain(protocol, 1) == b"lo"

    def test_an_offset_older_than_the_journal_is_said_to_be_truncated(self):
        protocol = TerminalProtocol(4096)
        protocol.output(b"x" * 2048)
        protocol.output(b"y" * 4000)
        attached = protocol.attach(1, Request("c", offset=10))
        assert attached.truncated
        assert attached.output_offset == protocol.journal.start
        assert len(drain(protocol, 1)) == 4096

    def test_a_new_connection_of_a_client_replaces_the_former(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.attach(1, Request("c"))
        protocol.accept(1, b"abc")
        attached = protocol.attach(2, Request("c"))
        assert (attached.replaced, attached.input_offset) == (1, 3)
        assert protocol.accept(1, b"late") == b""
        assert protocol.acknowledgement(1) is None
        protocol.detach(1)
        assert protocol.connections == [2]

    def test_input_that_the_client_knows_to_be_accepted_counts_after_a_new_shell(self):
        protocol = TerminalProtocol(1 << 16, base_offset=10, restarted=True)
        assert protocol.attach(1, Request("c", offset=10, input_offset=77)).input_offset == 77

    def test_an_acknowledgement_is_due_once(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.attach(1, Request("c"))
        assert protocol.acknowledgement(1) is None
        assert protocol.accept(1, b"ls\n") == b"ls\n"
        assert json.loads(protocol.acknowledgement(1)) == {"type": "input_ack", "offset": 3}
        assert protocol.acknowledgement(1) is None


class TestNewShells:
    def test_a_client_that_is_ahead_of_a_restarted_terminal_sees_all_of_it(self):
        protocol = TerminalProtocol(1 << 16, base_offset=950, restarted=True)
        protocol.output(b"$ " * 50)  # up to 1050: the client's offset lies within
        attached = protocol.attach(1, Request("ahead", offset=1000))
        assert (attached.output_offset, attached.truncated, attached.restarted) == (
            1000,
            False,
            True,
        )
        assert len(drain(protocol, 1)) == 100

        again = protocol.attach(2, Request("ahead", offset=1100))
        assert (again.output_offset, again.restarted) == (1100, False)
        assert drain(protocol, 2) == b""

    def test_clients_of_one_restarted_terminal_keep_their_own_numbers(self):
        protocol = TerminalProtocol(1 << 16, base_offset=950, restarted=True)
        protocol.output(b"prompt")
        for key, offset in ((1, 950), (2, 1000), (3, 990)):
            assert protocol.attach(key, Request(f"c{key}", offset=offset)).output_offset == offset
            assert drain(protocol, key) == b"prompt"

    def test_a_client_behind_the_base_is_told_what_it_misses(self):
        protocol = TerminalProtocol(1 << 16, base_offset=950, restarted=True)
        protocol.output(b"prompt")
        attached = protocol.attach(1, Request("c", offset=900))
        assert (attached.output_offset, attached.truncated, attached.restarted) == (950, True, True)

    def test_an_offset_beyond_the_end_of_a_terminal_made_anew_is_continued(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.output(b"prompt")
        attached = protocol.attach(1, Request("c", offset=500))
        assert (attached.output_offset, attached.restarted) == (500, True)
        assert drain(protocol, 1) == b"prompt"

    def test_another_shell_in_the_same_container_is_told_once(self):
        protocol = TerminalProtocol(1 << 16)
        protocol.output(b"bye")
        protocol.attach(1, Request("c", offset=0))
        protocol.detach(1)
        protocol.new_shell()
        protocol.output(b"hi")
        assert protocol.attach(2, Request("c", offset=3)).restarted
        assert drain(protocol, 2) == b"hi"
        assert not protocol.attach(3, Request("c", offset=5)).restarted


class TestFlow:
    def test_the_terminal_waits_while_everybody_is_far_behind(self):
        protocol = TerminalProtocol(1 << 20)
        assert not protocol.paused
        protocol.attach(1, Request("a"))
        protocol.attach(2, Request("b"))
        while not protocol.paused:
            protocol.output(b"x" * protocol.read_size)
        assert 256 << 10 < protocol.behind(1) <= (256 << 10) + protocol.read_size
        protocol.take(1, 1 << 20)
        assert not protocol.paused
        protocol.detach(1)
        assert protocol.paused
        protocol.detach(2)
        assert not protocol.paused

    def test_who_is_far_behind_the_others_is_cut_before_losing_a_byte(self):
        protocol = TerminalProtocol(1 << 20)
        protocol.attach(1, Request("fast"))
        protocol.attach(2, Request("slow"))
        while not protocol.laggards(protocol.read_size):
            protocol.output(b"x" * protocol.read_size)
            drain(protocol, 1)
        assert protocol.laggards(protocol.read_size) == [2]
        assert protocol.journal.start <= protocol.journal.end - protocol.behind(2)

    @pytest.mark.parametrize("capacity", [4096, 10_000, 1 << 20, 8 << 20])
    def test_a_lone_client_that_does_not_read_is_never_cut(self, capacity):
        protocol = TerminalProtocol(capacity)
        protocol.attach(1, Request("slow"))
        while not protocol.paused:
            assert protocol.laggards(protocol.read_size) == []
            protocol.output(b"x" * protocol.read_size)
        assert len(drain(protocol, 1)) == protocol.journal.end


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
        assert parse_control(control("resize", cols=1000, rows=1)) == (1000, 1)
        assert parse_control(control("future", field=1)) is None


class ExactlyOnce(RuleBasedStateMachine):
    """Any order of output, attaching, taking, typing and breaking, with bytes lost in flight.

    The model is a stream of bytes that are all different from their neighbours, and for each
    client what it has seen and what it has typed.
    """

    clients = Bundle("clients")

    def __init__(self):
        super().__init__()
        self.protocol = TerminalProtocol(4096)
        self.printed = b""
        self.seen = {}  # client: (number of the first byte, what was received behind it)
        self.typed = {}
        self.received = {}
        self.keys = {}
        self.next_key = 0

    @rule(target=clients)
    def arrive(self):
        client = f"c{len(self.seen)}"
        self.seen[client] = None
        self.typed[client], self.received[client] = b"", b""
        return multiple(client)

    @rule(size=st.integers(1, 3000))
    def print(self, size):
        size = min(size, self.protocol.read_size)
        if self.protocol.paused:
            return
        for key in self.protocol.laggards(size):
            self.protocol.detach(key)
            self.keys = {client: known for client, known in self.keys.items() if known != key}
        start = len(self.printed)
        data = b"".join(b"%d," % number for number in range(start, start + size))[:size]
        self.protocol.output(data)
        self.printed += data

    @rule(client=clients, new_tab=st.booleans())
    def attach(self, client, new_tab):
        self.next_key += 1
        seen = None if new_tab else self.seen[client]
        offset = None if seen is None else seen[0] + len(seen[1])
        request = Request(client, offset, input_offset=len(self.received[client]))
        attached = self.protocol.attach(self.next_key, request)
        self.keys[client] = self.next_key
        if offset is None:
            self.seen[client] = (attached.output_offset, b"")
        elif attached.truncated:
            assert attached.output_offset > offset
            self.seen[client] = (attached.output_offset, b"")
        else:
            assert attached.output_offset == offset
        # What was sent and not accepted is sent again from there.
        assert attached.input_offset == len(self.received[client])
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

    def _type(self, client, data):
        self.received[client] += self.protocol.accept(self.keys[client], data)

    @invariant()
    def everybody_saw_the_stream_without_gap_or_repetition(self):
        for seen in self.seen.values():
            if seen is not None:
                first, data = seen
                assert self.printed[first : first + len(data)] == data

    @invariant()
    def input_arrived_in_order_and_once(self):
        for client, received in self.received.items():
            assert self.typed[client].startswith(received)
            if client in self.keys:
                assert received == self.typed[client]

    @invariant()
    def memory_is_bounded(self):
        journal = self.protocol.journal
        assert journal.end - journal.start <= journal.capacity
        assert sum(len(part) for part in journal._parts) < 2 * journal.capacity + 4096


TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
