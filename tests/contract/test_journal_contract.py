"""The contract of journals: the fake that the actors are tested with, and the real one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.core.errors.base import DeadlineExceeded
from actors.core.errors.sessions import Fenced
from actors.core.ports.codi import TerminalOpened, TerminalPrinted
from actors.core.ports.journal import Journal, Output
from actors.core.ports.ledger import ClaimRequest
from actors.core.quotas import Quotas, Resource
from actors.core.records.containers import ContainerStatus
from actors.core.records.terminals import TerminalRecord
from cluster.store.engines.interface import Commit, Engine
from cluster.store.layers import usage
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions.journal import StoreJournal
from cluster.store.layers.sessions.terminals import (
    MAX_CWD,
    MAX_DELETED,
    MAX_INPUTS,
    MAX_TERMINALS,
    MERGE_BELOW,
    SEGMENT,
)
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.ledgers import ALL_LEDGERS, Stores, opened_stores
from tests.fakes.pool_fakes import ManualClock, container_record

NOW = 1000.0
CAPACITY = 100_000
NOISE = bytes((n * n + n // 251) % 256 for n in range(1 << 18))


@pytest.fixture(params=ALL_LEDGERS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Yield a store whose session ``s1`` has the container ``c1``."""
    async with opened_stores(
        request.param, tmp_path, ManualClock(NOW), capacity=CAPACITY
    ) as opened:
        await take_session(opened)
        yield opened


@pytest.fixture
def journal(stores: Stores) -> Journal:
    return stores.journal


async def take_session(stores: Stores) -> None:
    await stores.ledger.put_container(container_record("c1"))
    made = await stores.ledger.claim(
        ClaimRequest(
            user_id="u1",
            name="main",
            new_session_id="s1",
            new_workspace_id="w1",
            actor_id="a1",
            node_id="node-1",
            container_id="c1",
            now=NOW,
        )
    )
    assert made.session.container_id == "c1"


async def replace_container(stores: Stores, container_id: str) -> None:
    """Give the session another container, as its actor does."""
    record = await stores.ledger.session("s1")
    assert record is not None
    await stores.ledger.put_container(
        container_record(container_id, ContainerStatus.READY, session_id="s1", user_id="u1")
    )
    await stores.ledger.save_session(
        record.model_copy(update={"container_id": container_id, "revision": record.revision + 1})
    )


OPENED = TerminalOpened(1, "main", cols=100, rows=30, cwd="/workspace", kept=None)


def printed(
    offset: int,
    data: bytes,
    container_id: str = "c1",
    session_id="s1",
    name="main",
    inputs=None,
    states=None,
) -> Output:
    record = TerminalRecord(
        session_id=session_id, name=name, container_id=container_id, created_at=0.0, updated_at=0.0
    )
    return record, TerminalPrinted(1, offset, data, inputs or {}, states or {})


async def keep(journal: Journal, output: Output) -> TerminalRecord | None:
    (record,) = await journal.append([output], NOW)
    return record


async def read_all(journal: Journal, offset: int = 0, limit: int = 10_000) -> tuple[int, bytes]:
    """Read page by page; return where the output began, and all of it."""
    record = await journal.terminal("s1", "main")
    assert record is not None
    first = at = max(offset, record.start)
    data = b""
    while at < record.end:
        pieces = await journal.output("s1", "main", at, limit)
        assert pieces, f"nothing at {at} of {record.end}"
        for begin, piece in pieces:
            assert begin == at
            assert piece
            data += piece
            at += len(piece)
    assert at == record.end
    return first, data


async def keys_of(stores: Stores, directory: str) -> list[bytes]:
    """Return the session's keys of a directory; none for a store that has no keys."""
    if stores.engine is None:
        return []
    span = getattr(Keyspace("t"), directory).range("s1")

    async def read(tr: Transaction) -> list[bytes]:
        return [key for key, _ in await tr.get_range(span)]

    return await transact(stores.engine, read)


# ---- opening ------------------------------------------------------------------------------------


async def test_a_first_terminal_is_numbered_from_zero(journal):
    record = await journal.open_terminal("c1", OPENED, NOW)
    assert (record.start, record.end, record.container_id) == (0, 0, "c1")
    assert (record.cols, record.rows, record.cwd) == (100, 30, "/workspace")
    assert await journal.terminal("s1", "main") == record
    assert await journal.terminals("s1") == [record]


async def test_a_program_by_name_is_no_terminal_and_stays_ended_when_it_is_announced_anew(
    stores, journal
):
    job = replace(OPENED, name="processes/job", program='{"command": "true"}')
    await journal.open_terminal("c1", OPENED, NOW)
    await journal.open_terminal("c1", job, NOW)
    assert [each.name for each in await journal.terminals("s1")] == ["main"]
    (record,) = await journal.programs("s1")
    assert (record.program, record.exit_code) == (job.program, None)
    await journal.note("s1", job.name, "c1", now=NOW, exit_code=0)
    await journal.open_terminal("c1", replace(job, kept=0), NOW + 1)
    assert (await journal.terminal("s1", job.name)).exit_code == 0
    await replace_container(stores, "c2")
    await journal.open_terminal("c2", job, NOW + 2)
    assert (await journal.terminal("s1", job.name)).exit_code is None
    await journal.delete_terminal("s1", job.name, NOW + 3)
    assert await journal.programs("s1") == []


async def test_programs_of_containers_that_are_gone_make_room_and_terminals_stay(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    for number in range(MAX_TERMINALS):
        job = replace(OPENED, name=f"processes/{number}", program="{}")
        await journal.open_terminal("c1", job, NOW + number)
    await replace_container(stores, "c2")
    await journal.open_terminal(
        "c2", replace(OPENED, name="processes/new", program="{}"), NOW + 999
    )
    names = {each.name for each in await journal.programs("s1")}
    assert len(names) == MAX_TERMINALS
    assert "processes/0" not in names
    assert [each.name for each in await journal.terminals("s1")] == ["main"]


async def test_a_container_that_is_no_sessions_is_refused(stores, journal):
    await stores.ledger.put_container(container_record("warm"))
    for container_id in ("none", "warm"):
        with pytest.raises(Fenced):
            await journal.open_terminal(container_id, OPENED, NOW)
    assert await journal.terminals("s1") == []


async def test_the_numbers_go_on_in_a_new_container_and_the_old_one_is_refused(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"old", inputs={"client": 7}))
    await journal.note("s1", "main", "c1", now=NOW, exit_code=1)
    await replace_container(stores, "c2")
    with pytest.raises(Fenced):
        await journal.open_terminal("c1", OPENED, NOW)
    record = await journal.open_terminal("c2", replace(OPENED, cwd="/elsewhere"), NOW + 1)
    assert (record.start, record.end, record.inputs) == (0, 3, {"client": 7})
    assert (record.container_id, record.cwd, record.exit_code) == ("c2", "/elsewhere", None)
    assert await keep(journal, printed(3, b"late")) is None
    assert (await keep(journal, printed(3, b"new", "c2"))).end == 6
    assert await read_all(journal) == (0, b"oldnew")


async def test_a_new_container_prints_right_behind_the_old_one(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"old"))
    await replace_container(stores, "c2")
    await journal.open_terminal("c2", OPENED, NOW)
    assert (await keep(journal, printed(3, b"new", "c2"))).end == 6
    await journal.delete_terminal("s1", "main", NOW)
    await journal.open_terminal("c2", OPENED, NOW)
    assert (await keep(journal, printed(6, b"anew", "c2"))).end == 10
    assert await read_all(journal) == (6, b"anew")


async def test_until_the_new_one_is_opened_the_old_containers_output_is_still_taken(
    stores, journal
):
    await journal.open_terminal("c1", OPENED, NOW)
    await replace_container(stores, "c2")
    assert (await keep(journal, printed(0, b"its last words"))).end == 14
    assert (await journal.open_terminal("c2", OPENED, NOW)).end == 14


async def test_a_connection_made_anew_hears_what_was_kept_and_changes_nothing(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    kept = await keep(journal, printed(0, b"abc", inputs={"client": 3}))
    assert await journal.open_terminal("c1", replace(OPENED, kept=1), NOW + 9) == kept


async def test_a_connection_made_anew_reports_what_happened_meanwhile(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"abc"))
    again = replace(OPENED, kept=3, cwd="/workspace/src", cols=120)
    record = await journal.open_terminal("c1", again, NOW)
    assert (record.cwd, record.cols, record.end) == ("/workspace/src", 120, 3)
    record = await journal.open_terminal("c1", replace(again, cwd=None), NOW)
    assert record.cwd == "/workspace/src"


async def test_another_shell_of_an_exited_terminal_has_not_exited(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"bye"))
    await journal.note("s1", "main", "c1", now=NOW, exit_code=3)
    record = await journal.open_terminal("c1", replace(OPENED, kept=3), NOW)
    assert (record.exit_code, record.end) == (None, 3)
    assert await journal.terminal("s1", "main") == record


async def test_the_rule_for_a_size_stays_with_the_name_in_every_container(journal):
    assert (await journal.open_terminal("c1", OPENED, NOW)).sizing == "latest"
    await journal.note("s1", "main", "c2", now=NOW, sizing="largest")  # not its container
    await journal.note("s1", "main", "c1", now=NOW, sizing="smallest")
    await journal.note("s1", "main", "c1", now=NOW, cwd="/elsewhere")
    record = await journal.open_terminal("c1", replace(OPENED, kept=0), NOW)
    assert (record.sizing, record.cwd) == ("smallest", "/workspace")
    await journal.delete_terminal("s1", "main", NOW)
    assert (await journal.open_terminal("c1", OPENED, NOW)).sizing == "smallest"
    assert (await journal.open_terminal("c1", replace(OPENED, name="b"), NOW)).sizing == "latest"


# ---- appending ----------------------------------------------------------------------------------


async def test_appending_again_keeps_every_byte_once(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    for offset, data in (
        (0, b"hello"),
        (0, b"hello"),
        (0, b"hello, "),
        (3, b"lo, world"),
        (2, b"l"),
    ):
        assert await keep(journal, printed(offset, data)) is not None
    assert await read_all(journal) == (0, b"hello, world")


async def test_output_that_follows_nothing_kept_is_not_joined_to_it(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"x" * 40_000))
    record = await keep(journal, printed(50_000, b"later"))
    assert (record.start, record.end) == (50_000, 50_005)
    assert await read_all(journal) == (50_000, b"later")
    assert len(await keys_of(stores, "journal")) <= 1
    await keep(journal, printed(50_005, b" on"))
    assert await read_all(journal) == (50_000, b"later on")


async def test_many_terminals_are_kept_at_once_and_those_that_were_replaced_are_reported(journal):
    for number in range(5):
        await journal.open_terminal("c1", replace(OPENED, name=f"t{number}"), NOW)
    outputs = [printed(0, b"%d" % n, name=f"t{n}") for n in range(5)]
    outputs[2] = printed(0, b"2", "c9", name="t2")
    outputs.append(printed(0, b"x", name="never opened"))
    records = await journal.append(outputs, NOW)
    assert [record and record.end for record in records] == [1, 1, None, 1, 1, None]
    assert [record.end for record in await journal.terminals("s1")] == [1, 1, 0, 1, 1]
    assert await journal.append([], NOW) == []


async def test_journals_at_once_keep_every_byte_once(journal):
    """Two processes may believe that they are the node's journal: their batches overlap."""
    await journal.open_terminal("c1", OPENED, NOW)
    data = bytes(range(200))
    batches = [(0, 50), (0, 80), (50, 130), (80, 130), (130, 200), (130, 160)]
    for pair in zip(batches[::2], batches[1::2], strict=True):
        await asyncio.gather(*(keep(journal, printed(a, data[a:b])) for a, b in pair))
    assert await read_all(journal) == (0, data)


@pytest.mark.parametrize("stores", ["lmdb"], indirect=True)
async def test_journals_of_two_processes_at_once_keep_every_byte_once(stores, journal):
    rival = StoreJournal(stores.engine, "t", CAPACITY)
    await journal.open_terminal("c1", OPENED, NOW)
    data = NOISE[:3000]
    for begin in range(0, len(data), 100):
        longer, shorter = data[begin : begin + 100], data[begin : begin + 60]
        await asyncio.gather(
            keep(journal, printed(begin, longer)), keep(rival, printed(begin, shorter))
        )
    assert await read_all(journal) == (0, data)


@pytest.mark.parametrize("stores", ["lmdb"], indirect=True)
async def test_an_append_reads_nothing_of_a_terminal_that_it_knows_and_all_of_one_that_changed(
    stores,
):
    asked: list[str] = []

    class Counting(RivalledEngine):
        async def get_many(self, keys, read_version):
            asked.append("read")
            return await self._engine.get_many(keys, read_version)

    async def note(_: Commit) -> None:
        asked.append("commit")

    journal = StoreJournal(Counting(stores.engine, note), "t", CAPACITY)
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"a"))
    asked.clear()
    assert (await keep(journal, printed(1, b"b"))).end == 2
    assert asked == ["commit"]
    await stores.journal.note("s1", "main", "c1", now=NOW, cwd="/elsewhere")
    assert (await keep(journal, printed(2, b"c"))).cwd == "/elsewhere"
    asked.clear()
    (later,) = await journal.append([printed(3, b"d")], NOW + 60)
    assert later.end == 4
    assert "read" in asked
    assert await read_all(journal) == (0, b"abcd")


async def test_small_writes_become_few_keys(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    text = b"".join(b"line %d\r\n" % number for number in range(150))
    for offset in range(0, len(text), 10):
        await keep(journal, printed(offset, text[offset : offset + 10]))
    assert await read_all(journal) == (0, text)
    assert len(await keys_of(stores, "journal")) <= 1 + len(text) // MERGE_BELOW


async def test_the_oldest_output_is_forgotten_beyond_the_capacity(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    piece, at = b"0123456789abcdef" * 1500, 0
    for _ in range(12):
        record = await keep(journal, printed(at, piece))
        at += len(piece)
        assert record.start == max(0, at - CAPACITY)
    whole = piece * 12
    assert await read_all(journal) == (at - CAPACITY, whole[-CAPACITY:])
    assert await journal.output("s1", "main", 0, 10) != []
    # The store has the capacity, one segment that begins before it, and one that waits for its end.
    assert len(await keys_of(stores, "journal")) <= 2 * (CAPACITY // SEGMENT + 3)


async def test_a_batch_of_the_largest_size_is_cut_into_values_that_the_store_takes(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    data = bytes(range(256)) * 300
    await keep(journal, printed(0, b"$ "))
    await keep(journal, printed(2, data))
    assert await read_all(journal) == (0, b"$ " + data)


# ---- reading ------------------------------------------------------------------------------------


async def test_output_is_read_from_any_offset_with_any_limit(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    text = b"".join(b"%d," % number for number in range(9000))
    # Segments of the smallest size: more of them lie before an offset than a small limit asks for.
    for offset in range(0, len(text), MERGE_BELOW):
        await keep(journal, printed(offset, text[offset : offset + MERGE_BELOW]))
    for offset in (0, 1, 4095, 4096, 4097, 16_383, 16_484, 30_000, len(text) - 1):
        for limit in (1, 100, 5000, 40_000):
            pieces = await journal.output("s1", "main", offset, limit)
            assert pieces[0][0] == offset
            read = b"".join(piece for _, piece in pieces)
            assert text[offset:].startswith(read)
            rest = len(text) - offset
            assert min(limit, rest) <= len(read) <= limit + SEGMENT
    assert await journal.output("s1", "main", len(text), 10) == []
    assert await journal.output("s1", "main", len(text) + 5, 10) == []
    assert await journal.output("s1", "none", 0, 10) == []


# ---- input counts -------------------------------------------------------------------------------


async def test_input_counts_only_grow_and_need_no_output(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"", inputs={"a": 5, "b": 1}))
    record = await keep(journal, printed(0, b"x", inputs={"a": 4}))
    assert record.inputs == {"a": 5, "b": 1}
    assert record.end == 1


async def test_no_more_clients_are_remembered_than_may_be_and_the_latest_stay(journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"", inputs={f"c{n}": n for n in range(MAX_INPUTS)}))
    record = await keep(journal, printed(0, b"", inputs={"c0": 100, "new": 1}))
    assert len(record.inputs) == MAX_INPUTS
    assert "c1" not in record.inputs
    assert (record.inputs["c0"], record.inputs["new"]) == (100, 1)


# ---- notes --------------------------------------------------------------------------------------


async def test_directory_and_exit_are_noted_for_the_present_container_only(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await journal.note("s1", "main", "c1", now=NOW, cwd="/workspace/src")
    await journal.note("s1", "main", "c1", now=NOW, exit_code=0)
    await journal.note("s1", "main", "c1", now=NOW, cwd="x" * (MAX_CWD + 1))
    await journal.note("s1", "none", "c1", now=NOW, cwd="/")
    record = await journal.terminal("s1", "main")
    assert (record.cwd, record.exit_code) == ("/workspace/src", 0)
    await replace_container(stores, "c2")
    await journal.open_terminal("c2", OPENED, NOW)
    await journal.note("s1", "main", "c1", now=NOW, cwd="/late", exit_code=9)
    record = await journal.terminal("s1", "main")
    assert (record.cwd, record.exit_code) == ("/workspace", None)


# ---- the end ------------------------------------------------------------------------------------


async def test_deleting_forgets_the_output_and_not_the_numbers(stores, journal):
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"secret", inputs={"client": 4}))
    for _ in range(2):
        await journal.delete_terminal("s1", "main", NOW)
    await journal.delete_terminal("s1", "none", NOW)
    assert await journal.terminals("s1") == []
    assert (await journal.terminal("s1", "main")).deleted
    assert await journal.output("s1", "main", 0, 100) == []
    assert await keys_of(stores, "journal") == []
    # Printed before the end, committed behind it: the next terminal of that name does not show it.
    assert await keep(journal, printed(6, b"late")) is None
    record = await journal.open_terminal("c1", OPENED, NOW)
    assert (record.start, record.end, record.deleted) == (6, 6, False)
    await keep(journal, printed(6, b"anew"))
    assert await read_all(journal) == (6, b"anew")


async def test_a_session_with_very_many_names_forgets_what_ended_longest_ago(journal):
    names = [f"t{number:03}" for number in range(MAX_TERMINALS)]
    for number, name in enumerate(names):
        await journal.open_terminal("c1", replace(OPENED, name=name), NOW + number)
    await keep(journal, printed(0, b"x", name="t005"))
    await journal.note("s1", "t005", "c1", now=NOW + 500, exit_code=0)
    await journal.delete_terminal("s1", "t009", NOW + 400)
    for name in ("more", "still more", "even more"):
        await journal.open_terminal("c1", replace(OPENED, name=name), NOW + 600)
    assert await journal.terminal("s1", "t009") is None
    assert await journal.terminal("s1", "t005") is None
    assert await journal.output("s1", "t005", 0, 100) == []
    # Those with a shell stay, however many they are.
    assert len(await journal.terminals("s1")) == MAX_TERMINALS + 1


async def test_with_the_session_all_of_it_goes(stores, journal):
    for name in ("main", "other"):
        await journal.open_terminal("c1", replace(OPENED, name=name), NOW)
        await keep(journal, printed(0, b"x" * 40_000, name=name))
    record = await stores.ledger.session("s1")
    assert record is not None
    await stores.ledger.end_session(record)
    assert await journal.terminals("s1") == []
    assert await journal.terminal("s1", "main") is None
    assert await journal.output("s1", "main", 0, 100) == []
    assert await keep(journal, printed(40_000, b"late")) is None
    assert await keys_of(stores, "journal") + await keys_of(stores, "terminals") == []
    with pytest.raises(Fenced):
        await journal.open_terminal("c1", OPENED, NOW)


# ---- against a model ----------------------------------------------------------------------------

APPEND = st.tuples(
    st.just("append"),
    st.integers(-3000, 0) | st.just(0) | st.integers(1, 50),
    st.integers(0, 5000) | st.integers(0, 90_000),
)
STEPS = st.lists(
    APPEND
    | st.tuples(st.just("read"), st.integers(0, 120_000), st.integers(1, 50_000))
    | st.tuples(st.just("delete"), st.just(0), st.just(0))
    | st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    min_size=1,
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_output_is_what_a_row_of_bytes_gives(tmp_path_factory, steps):
    asyncio.run(_compare(tmp_path_factory.mktemp("journal"), steps))


async def _compare(directory: Path, steps) -> None:
    """Take every step on the embedded store; ``kept`` are all bytes, of which the newest are there.

    Two processes take the steps, each of which remembers what it appended.
    """
    capacity = 30_000
    stores = opened_stores("lmdb", directory, ManualClock(NOW), capacity=capacity)
    async with stores as opened:
        await take_session(opened)
        journals = (opened.journal, StoreJournal(opened.engine, "t", capacity))
        journal, start, end = opened.journal, 0, 0
        kept: dict[int, int] = {}
        await journal.open_terminal("c1", OPENED, NOW)
        for step, (kind, place, size) in enumerate(steps):
            journal = journals[size % 2]
            if kind == "append":
                offset = max(end + place, 0)
                fresh = NOISE[step * 997 :][:size]
                data = bytes(kept.get(offset + i, byte) for i, byte in enumerate(fresh))
                record = await keep(journal, printed(offset, data))
                if offset > end:
                    start = offset
                    kept.clear()
                kept |= {offset + i: byte for i, byte in enumerate(data)}
                end = max(end, offset + len(data)) if offset <= end else offset + len(data)
                start = max(start, end - capacity)
                kept = {n: byte for n, byte in kept.items() if n >= start}
                assert (record.start, record.end) == (start, end)
            elif kind == "read":
                pieces = await journal.output("s1", "main", place, size)
                read = b"".join(piece for _, piece in pieces)
                begin = max(place, start)
                assert read == bytes(kept[n] for n in range(begin, begin + len(read)))
                assert len(read) >= min(size, max(end - begin, 0))
            elif kind == "delete":
                await journal.delete_terminal("s1", "main", NOW)
                start, kept = end, {}
                await journal.open_terminal("c1", OPENED, NOW)
            else:
                record = await journal.open_terminal("c1", replace(OPENED, kept=end), NOW)
                assert (record.start, record.end) == (start, end)
        first, data = await read_all(journal)
        assert (first, data) == (start, bytes(kept[n] for n in range(start, end)))


# ---- quotas -------------------------------------------------------------------------------------


@pytest.fixture(params=ALL_LEDGERS)
async def limited(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Yield a store whose users may have 50,000 bytes of journal."""
    quotas = Quotas(journal_bytes=50_000)
    async with opened_stores(
        request.param, tmp_path, ManualClock(NOW), capacity=CAPACITY, quotas=quotas
    ) as opened:
        await take_session(opened)
        yield opened


async def test_within_the_quota_nothing_is_trimmed(limited):
    journal = limited.journal
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"a" * 50_000))
    assert await journal.trim() == 0
    record = await journal.terminal("s1", "main")
    assert (record.start, record.end) == (0, 50_000)


async def test_the_oldest_output_of_whoever_prints_most_goes_and_numbering_and_printing_go_on(
    limited,
):
    journal = limited.journal
    await journal.open_terminal("c1", OPENED, NOW)
    await journal.open_terminal("c1", replace(OPENED, terminal=2, name="quiet"), NOW)
    await keep(journal, printed(0, b"a" * 60_000))
    await keep(journal, printed(60_000, b"b" * 10_000))
    await keep(journal, printed(0, b"q" * 5_000, name="quiet"))
    assert await journal.trim() == 30_000
    assert await journal.trim() == 0
    record, quiet = await journal.terminals("s1")
    assert (record.start, record.end) == (30_000, 70_000)
    assert (quiet.start, quiet.end) == (0, 5_000)
    pieces = await journal.output("s1", "main", 0, 1 << 20)
    assert pieces[0][0] == 30_000
    assert b"".join(data for _, data in pieces) == b"a" * 30_000 + b"b" * 10_000
    record = await keep(journal, printed(70_000, b"c" * 100))
    assert record.end == 70_100


async def test_a_deleted_terminal_gives_its_share_back(limited):
    journal = limited.journal
    await journal.open_terminal("c1", OPENED, NOW)
    await journal.open_terminal("c1", replace(OPENED, terminal=2, name="other"), NOW)
    await keep(journal, printed(0, b"a" * 40_000))
    await keep(journal, printed(0, b"o" * 40_000, name="other"))
    await journal.delete_terminal("s1", "other", NOW)
    assert await journal.trim() == 0


async def test_of_deleted_terminals_few_numberings_are_kept(limited):
    if limited.engine is None:
        pytest.skip("what is kept is the store's")
    journal = limited.journal
    names = [f"t{number:02}" for number in range(MAX_DELETED + 3)]
    for number, name in enumerate(names):
        await journal.open_terminal("c1", replace(OPENED, name=name), NOW + number)
        await journal.delete_terminal("s1", name, NOW + number)
    assert await journal.terminals("s1") == []
    kept = [name for name in names if await journal.terminal("s1", name) is not None]
    assert kept == names[3:]


async def test_a_user_of_their_own_limit_is_trimmed_to_that(limited):
    if limited.engine is None:
        pytest.skip("limits of single users are the store's")
    journal, keys = limited.journal, Keyspace("t")
    await journal.open_terminal("c1", OPENED, NOW)
    await keep(journal, printed(0, b"a" * 90_000))

    async def override(tr: Transaction, limit: int | None) -> None:
        tr.set(keys.users.key("u1"), b"{}")
        await usage.override(tr, keys, "u1", {Resource.JOURNAL_BYTES: limit})

    await transact(limited.engine, override, 0)
    assert await journal.trim() == 0
    await transact(limited.engine, override, 1000)
    assert await journal.trim() == 90_000 - 900
    await transact(limited.engine, override, None)
    record = await keep(journal, printed(90_000, b"b" * 10))
    assert (record.start, record.end) == (89_100, 90_010)


class RivalledEngine:
    """Has something happen right before each commit."""

    def __init__(self, engine: Engine, before_commit: Callable[[Commit], Awaitable[None]]) -> None:
        self._engine = engine
        self._before_commit = before_commit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def commit(self, commit: Commit) -> int:
        await self._before_commit(commit)
        return await self._engine.commit(commit)


async def test_terminals_that_print_all_the_time_are_trimmed_nevertheless(limited):
    if limited.engine is None:
        pytest.skip("conflicts are the store's")
    journal, shells = limited.journal, [f"t{n}" for n in range(5)]
    ends = dict.fromkeys(shells, 20_000)
    for number, name in enumerate(shells):
        await journal.open_terminal("c1", replace(OPENED, terminal=number, name=name), NOW)
        await keep(journal, printed(0, b"a" * 20_000, name=name))
    turns = itertools.cycle(shells)

    async def one_prints(_: Commit) -> None:
        name = next(turns)
        await keep(journal, printed(ends[name], b"b", name=name))
        ends[name] += 1

    rivalled = RivalledEngine(limited.engine, one_prints)
    trimming = StoreJournal(rivalled, "t", CAPACITY, Quotas(journal_bytes=50_000))
    gone = await trimming.trim()
    assert sum(r.start for r in await journal.terminals("s1")) == gone
    assert sum(r.end - r.start for r in await journal.terminals("s1")) <= 50_000


async def test_a_user_who_cannot_be_trimmed_keeps_no_other_from_it(limited):
    if limited.engine is None:
        pytest.skip("transactions are the store's")
    journal = limited.journal
    await limited.ledger.put_container(container_record("c2"))
    await limited.ledger.claim(
        ClaimRequest(
            user_id="u2",
            name="main",
            new_session_id="s2",
            new_workspace_id="w2",
            actor_id="a2",
            node_id="node-1",
            container_id="c2",
            now=NOW,
        )
    )
    for session_id, container_id in (("s1", "c1"), ("s2", "c2")):
        await journal.open_terminal(container_id, OPENED, NOW)
        output = printed(0, b"a" * 60_000, container_id, session_id)
        await keep(journal, output)
    refused = Keyspace("t").terminals.key("s1", "main")

    async def refuse(commit: Commit) -> None:
        if any(mutation.key == refused for mutation in commit.mutations):
            raise DeadlineExceeded("cut", 20.0)

    rivalled = RivalledEngine(limited.engine, refuse)
    trimming = StoreJournal(rivalled, "t", CAPACITY, Quotas(journal_bytes=50_000))
    assert await trimming.trim() == 15_000
    assert (await journal.terminal("s1", "main")).start == 0
    assert (await journal.terminal("s2", "main")).start == 15_000


# ---- states -------------------------------------------------------------------------------------


def with_states(offset: int, count: int, every: int = 8192) -> Output:
    """Return output with a state at each multiple of ``every``, named by its offset."""
    end = offset + count
    known = range(offset - offset % every + every, end + 1, every)
    return printed(offset, b"z" * count, states={at: b"state-%d" % at for at in known})


async def print_much(
    journal: Journal, batches: int, size: int = 30_000
) -> AsyncIterator[TerminalRecord]:
    await journal.open_terminal("c1", OPENED, NOW)
    for at in range(batches):
        record = await keep(journal, with_states(at * size, size))
        assert record is not None
        yield record


async def test_a_state_is_kept_for_as_long_as_the_output_behind_it(stores, journal):
    async for record in print_much(journal, 3):
        assert record.start == 0
    assert await journal.state("s1", "main", 8192) == b"state-8192"
    assert await journal.state("s1", "main", 8193) == b""
    assert await journal.state("s1", "none", 8192) == b""
    await journal.delete_terminal("s1", "main", NOW)
    assert await keys_of(stores, "journal_states") == []


@pytest.mark.parametrize("stores", ["lmdb"], indirect=True)
async def test_output_that_lacks_its_beginning_begins_with_a_known_state(stores, journal):
    starts = set()
    async for record in print_much(journal, 20):
        assert record.end - record.start <= CAPACITY
        assert record.end - record.start >= min(record.end, CAPACITY * 15 // 16 - 8192)
        if record.start:
            starts.add(record.start)
            assert await journal.state("s1", "main", record.start) == b"state-%d" % record.start
    assert len(starts) > 5
    assert len(await keys_of(stores, "journal_states")) <= CAPACITY // 8192 + 1


@pytest.mark.parametrize("stores", ["lmdb"], indirect=True)
@pytest.mark.parametrize("capacity", [10_000, 20_000])
async def test_so_does_what_is_kept_of_a_terminal_of_which_little_may_be(stores, capacity):
    journal = StoreJournal(stores.engine, "t", capacity)
    async for record in print_much(journal, 12, 5000):
        assert record.end - record.start <= capacity + 16_384
        if record.start:
            assert await journal.state("s1", "main", record.start) != b""


@pytest.mark.parametrize("stores", ["lmdb"], indirect=True)
async def test_a_cut_by_quota_leaves_a_known_state_in_front(stores, journal):
    async for _ in print_much(journal, 3):
        pass
    limited = StoreJournal(stores.engine, "t", CAPACITY, Quotas(journal_bytes=50_000))
    assert await limited.trim() > 0
    start = (await journal.terminal("s1", "main")).start
    assert await journal.state("s1", "main", start) == b"state-%d" % start
