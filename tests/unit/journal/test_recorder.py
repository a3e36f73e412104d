"""The journal of a node, over containers in memory: keeping, reporting, trying again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from actors.core.errors.base import Unavailable
from actors.core.ports.codi import PortsChanged, TerminalPrinted
from actors.core.records.containers import ContainerStatus
from actors.core.records.ports import Listening
from actors.journal.backlog import JournalRules
from actors.journal.recorder import JournalRecorder
from tests.fakes import pool_fakes
from tests.fakes.journal import MemoryJournal
from tests.fakes.journal_containers import (
    MemoryConnection,
    MemoryContainers,
    exited,
    moved,
    opened,
    sized,
)
from tests.fakes.ledger import MemoryLedger
from tests.fakes.pool_fakes import ManualClock, container_record, session_record, settle
from tests.fakes.session_fakes import eventually

RULES = JournalRules(commit_bytes=1000, commit_terminals=8, rate=100.0, burst=200.0)


class Node:
    """A node's journal, its store and its containers; ``main`` sessions are named after containers."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = MemoryLedger(self.clock)
        self.journal = MemoryJournal(self.ledger)
        self.containers = MemoryContainers()
        self.runner: JournalRecorder
        self._run: asyncio.Task[None]

    def start(self, rules: JournalRules = RULES) -> None:
        services = pool_fakes.services(
            self.ledger, None, self.clock, journal=self.journal, codi=self.containers
        )
        self.events = services.events
        self.runner = JournalRecorder(services, rules)
        self._run = asyncio.create_task(self.runner.run())

    async def stop(self) -> None:
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        await self.runner.close()

    def add_container(self, container_id: str, session_id: str | None = None) -> None:
        """Record a warm container, or one of a session."""
        status = ContainerStatus.WARM if session_id is None else ContainerStatus.READY
        record = container_record(container_id, status, session_id=session_id)
        self.ledger.records[container_id] = record
        if session_id is not None:
            self.ledger.stored[session_id] = session_record(session_id, container_id=container_id)

    async def connect(self, container_id: str, session_id: str | None) -> MemoryConnection:
        """Return the journal's connection to a new container."""
        self.add_container(container_id, session_id)
        before = self.containers.connected(container_id)
        self.runner.watch(pool_fakes.handle(container_id))
        await settle()
        assert self.containers.connected(container_id) == before + 1
        return self.containers.newest(container_id)

    async def open(self, container_id: str, session_id: str, name: str = "main"):
        """Return the connection of a new container with a numbered terminal 1."""
        connection = await self.connect(container_id, session_id)
        connection.says(opened(1, name))
        await settle()
        assert connection.numbered[1] == (0, {})
        return connection

    async def pass_time(self, seconds: float, step: float = 0.05) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await settle()

    async def output(self, session_id: str, name: str = "main") -> bytes:
        pieces = await self.journal.output(session_id, name, 0, 1 << 20)
        return b"".join(piece for _, piece in pieces)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    made.start()
    yield made
    await made.stop()


async def test_states_are_kept_with_the_output_that_leads_to_them(node):
    connection = await node.open("c-1", "s-1")
    connection.says(TerminalPrinted(1, 0, b"abc", {}, {3: b"state"}))
    await settle()
    await node.pass_time(1.0)
    assert node.journal.states == {("s-1", "main", 3): b"state"}


class GatedJournal(MemoryJournal):
    """``append`` waits until ``gate`` is set."""

    def __init__(self, ledger: MemoryLedger) -> None:
        super().__init__(ledger)
        self.gate = asyncio.Event()

    async def append(self, outputs, now):
        await self.gate.wait()
        return await super().append(outputs, now)


@contextlib.asynccontextmanager
async def gated() -> AsyncIterator[Node]:
    node = Node()
    node.journal = GatedJournal(node.ledger)
    node.start()
    try:
        yield node
    finally:
        await node.stop()


# ---- keeping ------------------------------------------------------------------------------------


async def test_what_is_printed_is_kept_and_then_acknowledged(node):
    connection = await node.open("c1", "s1")
    connection.says(TerminalPrinted(1, 0, b"hello", {"client": 3}))
    await settle()
    assert await node.output("s1") == b"hello"
    assert connection.kept == {1: 5}
    record = await node.journal.terminal("s1", "main")
    assert record.inputs == {"client": 3}


async def test_nothing_is_reported_before_it_is_kept():
    async with gated() as node:
        connection = await node.open("c1", "s1")
        connection.says(TerminalPrinted(1, 0, b"hello", {}))
        await settle()
        assert connection.kept == {}
        node.journal.gate.set()
        await settle()
        assert connection.kept == {1: 5}


async def test_what_waits_during_a_commit_shares_the_next_one():
    async with gated() as node:
        connections = [await node.open(f"c{n}", f"s{n}") for n in range(4)]
        connections[0].says(TerminalPrinted(1, 0, b"first", {}))
        await settle()
        for connection in connections[1:]:
            connection.says(TerminalPrinted(1, 0, b"later", {}))
        await settle()
        node.journal.gate.set()
        await settle()
        committed = [sorted(record.session_id for record, _ in c) for c in node.journal.commits]
        assert committed == [["s0"], ["s1", "s2", "s3"]]
        assert all(connection.kept == {1: 5} for connection in connections)


async def test_terminals_of_one_container_are_reported_in_one_frame():
    async with gated() as node:
        connection = await node.connect("c1", "s1")
        connection.says(opened(1, "a"), opened(2, "b"), opened(3, "c"))
        await settle()
        connection.says(TerminalPrinted(3, 0, b"x", {}))
        await settle()
        connection.says(TerminalPrinted(1, 0, b"a", {}), TerminalPrinted(2, 0, b"bb", {}))
        await settle()
        node.journal.gate.set()
        await settle()
        assert connection.kept == {1: 1, 2: 2, 3: 1}
        assert connection.reported == 2


async def test_a_terminal_that_prints_without_end_is_slowed_and_others_are_not(node):
    loud, quiet = await node.open("c1", "s1"), await node.open("c2", "s2")
    loud.says(TerminalPrinted(1, 0, b"x" * 300, {}))
    await settle()
    loud.says(TerminalPrinted(1, 300, b"x" * 100, {}))
    await settle()
    quiet.says(TerminalPrinted(1, 0, b"prompt", {}))
    await settle()
    assert (loud.kept, quiet.kept) == ({1: 300}, {1: 6})
    await node.pass_time(1.1)
    assert loud.kept == {1: 400}


async def test_a_store_that_is_away_delays_and_loses_nothing(node):
    connection = await node.open("c1", "s1")
    node.journal.refuse.extend([Unavailable("store", "away"), OSError("disk")])
    connection.says(TerminalPrinted(1, 0, b"hello", {}))
    await settle()
    assert connection.kept == {}
    await node.pass_time(0.5)
    assert connection.kept == {1: 5}
    assert await node.output("s1") == b"hello"
    assert node.runner.stats()["journal_failures_total"] == 2


async def test_a_commit_whose_answer_was_lost_is_not_kept_twice(node):
    connection = await node.open("c1", "s1")
    node.journal.lose.append(Unavailable("store", "away"))
    connection.says(TerminalPrinted(1, 0, b"hello", {}))
    await node.pass_time(0.5)
    assert connection.kept == {1: 5}
    assert await node.output("s1") == b"hello"


# ---- numbers ------------------------------------------------------------------------------------


async def test_a_terminal_of_a_warm_container_is_numbered_once_a_session_has_it(node):
    connection = await node.connect("c1", None)
    connection.says(opened(1, "main"))
    await settle()
    assert connection.numbered == {}
    node.add_container("c1", "s1")
    await node.pass_time(2.0)
    assert connection.numbered == {1: (0, {})}


async def test_a_store_that_is_away_delays_the_numbers(node):
    connection = await node.connect("c1", "s1")
    node.journal.refuse.append(Unavailable("store", "away"))
    connection.says(opened(1, "main"))
    await settle()
    assert connection.numbered == {}
    await node.pass_time(0.2)
    assert connection.numbered == {1: (0, {})}


async def test_a_new_container_goes_on_where_the_old_one_was_kept(node):
    old = await node.open("c1", "s1")
    old.says(TerminalPrinted(1, 0, b"old", {"client": 2}))
    await settle()
    new = await node.connect("c2", "s1")
    new.says(opened(1, "main"))
    await settle()
    assert new.numbered == {1: (3, {"client": 2})}
    old.says(TerminalPrinted(1, 3, b"late", {}))
    new.says(TerminalPrinted(1, 3, b"new", {}))
    await settle()
    assert await node.output("s1") == b"oldnew"
    assert (old.kept, new.kept) == ({1: 3}, {1: 6})
    old.says(TerminalPrinted(1, 3, b"later", {}))
    await settle()
    assert await node.output("s1") == b"oldnew"
    assert node.runner.stats()["journal_refused_total"] == 1


async def test_what_a_terminal_prints_before_it_is_numbered_is_not_taken(node):
    connection = await node.connect("c1", None)
    connection.says(opened(1, "main"), TerminalPrinted(1, 0, b"x", {}), moved(1, "/"))
    await settle()
    connection.says(TerminalPrinted(9, 0, b"x", {}))
    await settle()
    assert node.journal.commits == []
    assert node.runner.stats()["journal_waiting"] == 0


async def test_a_terminal_deleted_and_made_anew_shares_no_number_with_what_was_under_way():
    async with gated() as node:
        connection = await node.open("c1", "s1")
        connection.says(TerminalPrinted(1, 0, b"deleted", {}))
        await settle()  # its commit has begun
        connection.says(opened(2, "main"))
        await settle()
        node.journal.gate.set()
        await settle()
        begin, _ = connection.numbered[2]
        connection.says(TerminalPrinted(2, begin, b"anew", {}))
        await settle()
        assert connection.kept[2] == begin + 4
        assert (await node.output("s1"))[begin:] == b"anew"


# ---- connections --------------------------------------------------------------------------------


async def test_containers_are_found_by_the_store(node):
    node.add_container("warm")
    node.add_container("mine", "s1")
    stopping = container_record("gone", ContainerStatus.STOPPING)
    node.ledger.records["gone"] = stopping
    await node.pass_time(1.2)
    assert {c for c in ("warm", "mine", "gone") if node.containers.connected(c)} == {"warm", "mine"}
    assert node.runner.stats()["journal_containers"] == 2
    await node.pass_time(3.0)
    assert node.containers.attempts == 2


async def test_a_store_that_cannot_list_is_asked_again(node):
    async def away():
        raise Unavailable("store", "away")

    await settle()
    informer = node.runner._containers
    refresh, informer.refresh = informer.refresh, away
    node.add_container("c1")
    await node.pass_time(1.2)
    assert node.containers.connected("c1") == 0
    informer.refresh = refresh
    await node.pass_time(1.2)
    assert node.containers.connected("c1") == 1


async def test_a_connection_that_broke_is_made_again_and_takes_what_was_not_kept(node):
    first = await node.open("c1", "s1")
    first.says(TerminalPrinted(1, 0, b"kept", {}))
    await settle()
    first.breaks()
    await node.pass_time(0.2)
    assert first.closed
    second = node.containers.newest("c1")
    assert second is not first
    second.says(opened(1, "main", kept=2))
    await settle()
    assert second.numbered == {1: (4, {})}
    second.says(TerminalPrinted(1, 2, b"pt and more", {}))
    await settle()
    assert second.kept == {1: 13}
    assert await node.output("s1") == b"kept and more"


async def test_a_container_that_does_not_answer_is_tried_again_more_and_more_seldom(node):
    node.containers.refuse.add("c1")
    node.add_container("c1")
    node.runner.watch(pool_fakes.handle("c1"))
    await node.pass_time(10.0)
    assert 8 <= node.containers.attempts <= 20
    node.containers.refuse.clear()
    await node.pass_time(1.2)
    assert node.containers.connected("c1") == 1


async def test_a_container_that_is_gone_is_let_go(node):
    connection = await node.open("c1", "s1")
    node.containers.refuse.add("c1")
    del node.ledger.records["c1"]
    connection.breaks()
    await node.pass_time(3.0)
    attempts = node.containers.attempts
    await node.pass_time(5.0)
    assert node.containers.attempts == attempts
    assert node.runner.stats()["journal_terminals"] == 0


async def test_a_container_that_does_not_listen_holds_up_nobody_and_is_cut(node):
    deaf, other = await node.open("c1", "s1"), await node.open("c2", "s2")
    deaf.deaf = True
    deaf.says(TerminalPrinted(1, 0, b"x", {}))
    await settle()
    other.says(TerminalPrinted(1, 0, b"y", {}))
    await settle()
    assert other.kept == {1: 1}
    assert await node.output("s1") == b"x"
    await eventually(lambda: deaf.closed)


async def test_what_waits_of_a_lost_connection_is_dropped_and_comes_again_on_the_next():
    async with gated() as node:
        busy, lost = await node.open("c1", "s1"), await node.open("c2", "s2")
        busy.says(TerminalPrinted(1, 0, b"x", {}))
        await settle()
        lost.says(TerminalPrinted(1, 0, b"waits", {}))
        await settle()
        assert node.runner.stats()["journal_waiting"] == 1
        lost.breaks()
        await node.pass_time(0.1)
        assert node.runner.stats()["journal_waiting"] == 0


# ---- notes --------------------------------------------------------------------------------------


async def test_directory_and_exit_are_noted(node):
    connection = await node.open("c1", "s1")
    connection.says(moved(1, "/workspace/src"))
    await settle()
    record = await node.journal.terminal("s1", "main")
    assert (record.cwd, record.exit_code) == ("/workspace/src", None)
    connection.says(exited(1, 3))
    await settle()
    record = await node.journal.terminal("s1", "main")
    assert (record.cwd, record.exit_code) == ("/workspace/src", 3)


async def test_a_rule_for_the_size_is_noted_and_recalled_on_the_next_connection(node):
    connection = await node.open("c1", "s1")
    assert connection.sizings == {1: "latest"}
    connection.says(sized(1, "smallest"))
    await settle()
    assert (await node.journal.terminal("s1", "main")).sizing == "smallest"
    connection.breaks()
    await node.pass_time(0.2)
    newer = node.containers.newest("c1")
    newer.says(opened(1, "main", kept=0))
    await settle()
    assert newer.sizings == {1: "smallest"}


async def test_an_exit_without_a_code_is_an_exit(node):
    connection = await node.open("c1", "s1")
    connection.says(exited(1, None))
    await settle()
    assert (await node.journal.terminal("s1", "main")).exit_code == -1


async def test_a_note_that_cannot_be_written_waits_for_the_store_and_the_newest_counts(node):
    connection = await node.open("c1", "s1")
    node.journal.refuse.extend([Unavailable("store", "away")] * 2)
    connection.says(moved(1, "/former"))
    await settle()
    connection.says(moved(1, "/newest"), exited(1, 7))
    await settle()
    assert (await node.journal.terminal("s1", "main")).cwd == "/workspace"
    await node.pass_time(0.5)
    record = await node.journal.terminal("s1", "main")
    assert (record.cwd, record.exit_code) == ("/newest", 7)


async def test_a_note_that_waits_outlives_its_container(node):
    connection = await node.open("c1", "s1")
    node.journal.refuse.append(Unavailable("store", "away"))
    connection.says(moved(1, "/deep"))
    await settle()
    node.containers.refuse.add("c1")
    connection.breaks()
    await node.pass_time(0.5)
    assert (await node.journal.terminal("s1", "main")).cwd == "/deep"


async def test_a_note_that_waits_is_given_up_for_what_a_newer_connection_sends(node):
    connection = await node.open("c1", "s1")
    node.journal.refuse.append(Unavailable("store", "away"))
    connection.says(moved(1, "/former"))
    await settle()
    connection.breaks()
    node.journal.refuse.extend([Unavailable("store", "away")] * 3)
    await node.pass_time(0.2)
    newer = node.containers.newest("c1")
    assert newer is not connection
    newer.says(replace(opened(1, "main", kept=0), cwd="/newer"))
    await node.pass_time(3.0)
    assert (await node.journal.terminal("s1", "main")).cwd == "/newer"


async def test_the_exit_of_a_shell_is_not_noted_of_the_next_one_of_its_name(node):
    connection = await node.open("c1", "s1")
    node.journal.refuse.append(Unavailable("store", "away"))
    connection.says(exited(1, 1))
    await settle()
    connection.says(opened(2, "main"))
    await settle()
    await node.pass_time(0.5)
    assert (await node.journal.terminal("s1", "main")).exit_code is None


# ---- the end ------------------------------------------------------------------------------------


async def test_closing_leaves_no_task_behind():
    before = len(asyncio.all_tasks())
    node = Node()
    node.start()
    connection = await node.open("c1", "s1")
    connection.says(TerminalPrinted(1, 0, b"x" * 300, {}), opened(2, "never"))
    await settle()
    await node.stop()
    assert len(asyncio.all_tasks()) == before


async def test_statistics_count_what_happened(node):
    connection = await node.open("c1", "s1")
    connection.says(TerminalPrinted(1, 0, b"hello", {}))
    await settle()
    counted = node.runner.stats()
    assert counted["journal_commits_total"] == 1
    assert counted["journal_batches_total"] == 1
    assert counted["journal_bytes_total"] == 5
    assert counted["journal_terminals"] == 1
    assert counted["journal_commit_seconds"]["count"] == 1


# ---- ports --------------------------------------------------------------------------------------


def ports(*numbers: int) -> PortsChanged:
    return PortsChanged(tuple(Listening(port=each, address="::") for each in numbers))


def told(node: Node) -> list[list[int]]:
    return [[each["port"] for each in data["ports"]] for data in node.events.of("ports")]


async def test_what_listens_is_published_to_the_session_of_the_terminals(node):
    connection = await node.open("c1", "s1")
    connection.says(ports(80, 443))
    await settle()
    assert told(node) == [[80, 443]]
    assert node.events.published[-1][0] == "s1"


async def test_a_container_that_reports_all_the_time_is_published_seldom_and_its_last_word_counts(
    node,
):
    connection = await node.open("c1", "s1")
    for number in range(1, 100):
        connection.says(ports(number))
    await settle()
    assert len(told(node)) <= 2
    await node.pass_time(0.5)
    await settle()
    assert told(node)[-1] == [99]
    assert len(told(node)) <= 3


async def test_ports_of_a_container_without_a_session_wait_for_one(node):
    connection = await node.connect("c1", "s1")
    connection.says(ports(80))
    await settle()
    assert told(node) == []
    connection.says(opened(1, "main"))
    await settle()
    assert told(node) == [[80]]
