"""CODI's batches for its journal, over connections that come and go."""

from __future__ import annotations

import asyncio
import json

import pytest

from actors.core.ports.codi import TerminalPrinted
from cluster.codi.agent.terminals.journal_feed import JournalFeed
from cluster.codi.journal_protocol import decode_batch
from cluster.codi.terminals.frames import Request
from cluster.codi.terminals.protocol import TerminalProtocol
from tests.support.waiting import wait_until


class Journal:
    """The other end of a connection: notes what is sent, and answers on request."""

    def __init__(self, feed: JournalFeed) -> None:
        self.feed = feed
        self.texts: list[dict] = []
        self.batches = []
        self.closed = None
        feed.connect(self)

    def send(self, message: bytes | str) -> None:
        if isinstance(message, str):
            self.texts.append(json.loads(message))
        else:
            self.batches.append(TerminalPrinted(*decode_batch(message)))

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    def number(self, end: int, **more) -> None:
        frame = {"type": "numbered", "id": self.texts[-1]["id"], "end": end, "inputs": {"c": 7}}
        self.feed.receive(json.dumps(frame | more))

    def keep(self) -> None:
        batch = self.batches[-1]
        self.feed.receive(
            json.dumps({"type": "kept", "ends": [[batch.terminal, batch.offset + len(batch.data)]]})
        )


class Terminal:
    """As much of a terminal as the feed sees."""

    def __init__(self, feed: JournalFeed) -> None:
        self.name = "main"
        self.protocol = TerminalProtocol(1 << 16)
        self.alive = True
        self.exit_code = None
        self.reported = 0
        self.chosen_sizing = self.recalled = None
        self.feed = feed
        feed.open(self)

    def announcement(self) -> dict:
        return {"name": self.name, "cols": 80, "rows": 24, "cwd": "/workspace"}

    def look(self) -> None:
        """The shell stays where it is."""

    def recall_sizing(self, rule: str) -> None:
        self.recalled = rule

    def kept(self) -> None:
        self.reported += 1

    def print(self, data: bytes) -> None:
        self.protocol.output(data)
        self.feed.changed(self)


@pytest.fixture
def feed() -> JournalFeed:
    return JournalFeed()


def test_nothing_is_handed_over_before_the_terminal_is_numbered(feed):
    terminal, journal = Terminal(feed), Journal(feed)
    terminal.print(b"early")
    assert journal.batches == []
    journal.number(100)
    assert [(b.offset, b.data) for b in journal.batches] == [(100, b"early")]


def test_one_batch_is_under_way_and_the_next_holds_what_came_meanwhile(feed):
    terminal, journal = Terminal(feed), Journal(feed)
    journal.number(0)
    for part in (b"a", b"b", b"c"):
        terminal.print(part)
    assert [b.data for b in journal.batches] == [b"a"]
    journal.keep()
    assert [b.data for b in journal.batches] == [b"a", b"bc"]
    assert terminal.protocol.kept == 1


def test_a_new_connection_is_reported_of_the_terminal_before_it_gets_a_batch(feed):
    terminal, first = Terminal(feed), Journal(feed)
    first.number(0)
    terminal.print(b"one")
    second = Journal(feed)
    terminal.print(b"two")
    assert first.closed == 4411
    assert second.texts[-1]["kept"] == 0
    assert second.batches == []
    # The first batch was kept though nobody could report it any more.
    second.number(3)
    assert [(b.offset, b.data) for b in second.batches] == [(3, b"two")]
    second.keep()
    assert terminal.protocol.kept == 6


def test_an_exit_is_reported_behind_the_last_byte_and_again_on_the_next_connection(feed):
    terminal, journal = Terminal(feed), Journal(feed)
    journal.number(0)
    terminal.print(b"bye")
    terminal.alive, terminal.exit_code = False, 3
    feed.exited(terminal)
    assert journal.texts[-1]["type"] == "open"
    journal.keep()
    assert (journal.texts[-1]["type"], journal.texts[-1]["code"]) == ("exited", 3)
    again = Journal(feed)
    again.number(3)
    assert (again.texts[-1]["type"], again.texts[-1]["code"]) == ("exited", 3)


def test_a_late_end_of_a_former_connection_does_not_stop_the_present_one(feed):
    terminal, first = Terminal(feed), Journal(feed)
    second = Journal(feed)
    feed.disconnect(first)
    second.number(0)
    terminal.print(b"x")
    assert [b.data for b in second.batches] == [b"x"]


async def test_input_goes_with_the_output_that_it_causes(feed):
    terminal, journal = Terminal(feed), Journal(feed)
    journal.number(0)
    terminal.protocol.attach(1, Request("c"))
    terminal.protocol.accept(1, b"ls")
    feed.typed(terminal)
    assert journal.batches == []
    terminal.print(b"ls")
    assert [(b.data, b.inputs) for b in journal.batches] == [(b"ls", {"c": 9})]


async def test_input_that_causes_no_output_goes_alone_a_moment_later(feed):
    terminal, journal = Terminal(feed), Journal(feed)
    journal.number(0)
    terminal.protocol.attach(1, Request("c"))
    terminal.protocol.accept(1, b"secret")
    feed.typed(terminal)
    found = await wait_until(lambda: asyncio.sleep(0, journal.batches))
    assert [(b.data, b.inputs) for b in found] == [(b"", {"c": 13})]


def test_the_journals_rule_for_the_size_is_taken_if_it_is_one(feed):
    terminal, journal = Terminal(feed), Journal(feed)
    journal.number(0)  # of an older journal
    journal.number(0, sizing="widest")
    assert terminal.recalled is None
    journal.number(0, sizing="smallest")
    assert terminal.recalled == "smallest"


def test_a_rule_that_is_chosen_is_reported_once_the_journal_knows_the_terminal(feed):
    terminal, journal = Terminal(feed), Journal(feed)
    terminal.chosen_sizing = "largest"
    feed.sized(terminal)
    assert journal.texts[-1]["type"] == "open"
    journal.number(0)
    feed.sized(terminal)
    assert journal.texts[-1] == {"type": "sized", "id": 1, "sizing": "largest"}
