"""A relay whose output comes from the journal, and a journal that fails amid it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from actors.core.errors.base import Unavailable
from actors.core.errors.sessions import LaunchFailed
from actors.core.records.sessions import Route
from actors.core.records.terminals import TerminalRecord
from cluster.codi.terminals.frames import CLOSE_SLOW, Request
from serve_app.terminals import relay as terminal_relay
from serve_app.terminals.relay import RelayTools, TerminalRelay
from serve_app.terminals.relay_state import RelayState
from tests.support.waiting import wait_until

KEPT = b"01234567"
ROUTE = Route(session_id="s1", container_id="c1", epoch=1, address="h:1", secret="s")
AWAY = Unavailable("store", "away")


class Connection:
    """CODI's side of a terminal's socket: its output begins where the journal's ends."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.sent: list[str | bytes] = []
        self.closed = False
        first = {"type": "attached", "output_offset": len(KEPT), "input_offset": 0}
        self.frames.put_nowait(json.dumps(first | {"shell_offset": 0, "cols": 80, "rows": 24}))

    async def recv(self) -> str | bytes:
        frame = await self.frames.get()
        if frame is None:
            raise ConnectionClosed(None, None)
        return frame

    async def send(self, message: str | bytes) -> None:
        self.sent.append(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = True
        self.frames.put_nowait(None)


class Journal:
    """Keeps ``KEPT``. ``fails`` has what the next reads raise, None for one that does not."""

    def __init__(self) -> None:
        self.start = 0
        self.fails: deque[Exception | None] = deque()
        self.reading = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def terminal(self, session_id: str, name: str) -> TerminalRecord:
        self._fail()
        return TerminalRecord(
            session_id=session_id,
            name=name,
            container_id="c1",
            start=self.start,
            end=len(KEPT),
            created_at=0.0,
            updated_at=0.0,
        )

    async def output(
        self, session_id: str, name: str, offset: int, limit: int
    ) -> list[tuple[int, bytes]]:
        self.reading.set()
        await self.go_on.wait()
        self._fail()
        begin = max(offset, self.start)
        return [(begin, KEPT[begin:][:limit])]

    def _fail(self) -> None:
        error = self.fails.popleft() if self.fails else None
        if error is not None:
            raise error


class Rig:
    """A relay with everything round it; the gateway, the dialer, the hub and the clock at once."""

    def __init__(self, request: Request) -> None:
        self.journal = Journal()
        self.connections: list[Connection] = []
        self.queries: list[Mapping[str, str]] = []
        self.frames: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self.shown: list[bytes | str] = []
        self.closed: tuple[int, str] | None = None
        self.time = 0.0
        self.routes_asked: list[int] = []
        self.used: list[str] = []
        self.resumed: list[str] = []
        self.failed = self.stays_failed = False
        tools = RelayTools(
            gateway=self, dialer=self, journal=self.journal, hub=self, clock=self,
            new_id=lambda prefix: prefix, recovered=lambda _: None,
        )  # fmt: skip
        self.relay = TerminalRelay(tools, self, RelayState(request), "s1", "main")

    @property
    def output(self) -> bytes:
        return b"".join(frame for frame in self.shown if isinstance(frame, bytes))

    def reported(self) -> list[str]:
        return [json.loads(frame)["type"] for frame in self.shown if isinstance(frame, str)]

    async def route(self, session_id: str, *, newer_than_epoch: int, **_: Any) -> Route:
        self.routes_asked.append(newer_than_epoch)
        if self.failed:
            raise LaunchFailed("c1", "no turn in time")
        return ROUTE

    async def resume(self, session_id: str, key: str) -> None:
        self.resumed.append(session_id)
        if not self.stays_failed:
            self.failed = False

    async def start(self, route: Route, work: Any) -> Any:
        return await work(route)

    async def connect_terminal(
        self, route: Route, name: str, query: Mapping[str, str], *, timeout_seconds: float
    ) -> Connection:
        if self.failed:
            raise Unavailable("container", "gone")
        self.queries.append(query)
        self.connections.append(Connection())
        return self.connections[-1]

    def note_use(self, session_id: str) -> None:
        self.used.append(session_id)

    def listen(self, session_id: str, listener: Any) -> None:
        return None

    def unlisten(self, session_id: str, listener: Any) -> None:
        return None

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)

    async def receive(self) -> bytes | str | None:
        return await self.frames.get()

    async def send(self, frame: bytes | str) -> None:
        self.shown.append(frame)

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A relay for a browser that wants everything; pages of the journal have four bytes."""
    monkeypatch.setattr(terminal_relay, "REPLAY_PAGE", 4)
    made = Rig(Request(client="me"))
    yield made
    made.frames.put_nowait(None)


async def run(rig: Rig) -> asyncio.Task[None]:
    return asyncio.create_task(rig.relay.run())


async def eventually(condition) -> None:
    await wait_until(lambda: asyncio.sleep(0, condition()), pause_seconds=0)


async def test_a_known_route_is_taken_once_and_a_newer_one_asked_for_when_it_leads_nowhere(rig):
    running = asyncio.create_task(rig.relay.run(ROUTE))
    await eventually(lambda: rig.output == KEPT)
    assert rig.routes_asked == []
    for connection in rig.connections:
        await connection.close()
    await eventually(lambda: rig.routes_asked or len(rig.connections) > 1)
    rig.frames.put_nowait(None)
    await running


async def test_a_replay_that_breaks_off_goes_on_where_it_was_over_another_connection(rig):
    rig.journal.fails.extend([None, None, AWAY])  # the record, a page, and no other page
    running = await run(rig)
    await eventually(lambda: rig.output == KEPT)
    assert [query.get("offset") for query in rig.queries] == [None, "4"]
    assert rig.connections[0].closed
    assert rig.reported().count("attached") == 1
    rig.connections[1].frames.put_nowait(b"and on")
    await eventually(lambda: rig.output == KEPT + b"and on")
    rig.frames.put_nowait(None)
    await running


async def test_what_is_typed_during_a_replay_that_breaks_off_arrives_once_and_behind_it(rig):
    rig.journal.go_on.clear()
    rig.journal.fails.extend([None, AWAY])
    running = await run(rig)
    await rig.journal.reading.wait()
    rig.frames.put_nowait(b"ls\r")
    await asyncio.sleep(0)
    rig.journal.go_on.set()
    await eventually(lambda: len(rig.connections) == 2 and bool(rig.connections[1].sent))
    assert rig.output == KEPT
    assert rig.connections[0].sent == []
    assert rig.connections[1].sent == [b"ls\r"]
    assert rig.used == ["s1"]
    rig.frames.put_nowait(None)
    await running


async def loses_its_container(rig: Rig, typed: bytes) -> asyncio.Task[None]:
    """Attach, let the container die, and type while nobody knows yet that its session has failed."""
    running = await run(rig)
    await eventually(lambda: rig.output == KEPT)
    rig.failed = True
    rig.frames.put_nowait(typed)
    await eventually(lambda: rig.connections[0].sent == [typed])
    rig.connections[0].frames.put_nowait(None)
    return running


async def test_what_was_typed_before_a_session_failed_brings_it_back(rig):
    running = await loses_its_container(rig, b"ls\r")
    await eventually(lambda: len(rig.connections) == 2 and bool(rig.connections[1].sent))
    assert rig.resumed == ["s1"]
    assert rig.connections[1].sent == [b"ls\r"]
    rig.frames.put_nowait(None)
    await running


async def test_a_session_that_fails_again_is_brought_back_once_for_what_was_typed(rig):
    rig.stays_failed = True
    running = await loses_its_container(rig, b"ls\r")
    await eventually(lambda: len(rig.routes_asked) == 3)
    for _ in range(20):
        await asyncio.sleep(0)
    assert rig.resumed == ["s1"]
    rig.frames.put_nowait(b"again\r")
    await eventually(lambda: len(rig.resumed) == 2)
    rig.frames.put_nowait(None)
    await running


async def test_a_journal_that_does_not_answer_at_first_costs_nothing_that_is_shown(rig):
    rig.journal.fails.extend([AWAY, AWAY])
    running = await run(rig)
    await eventually(lambda: rig.output == KEPT)
    assert len(rig.connections) == 3
    assert all(connection.closed for connection in rig.connections[:2])
    assert rig.reported().count("attached") == 1
    rig.frames.put_nowait(None)
    await running


async def test_output_that_was_cut_off_meanwhile_is_reported_and_not_passed_over(rig):
    rig.journal.go_on.clear()
    running = await run(rig)
    await rig.journal.reading.wait()
    rig.journal.start = 6  # others printed so much
    rig.journal.go_on.set()
    await running
    assert rig.closed is not None
    assert rig.closed[0] == CLOSE_SLOW
    assert rig.output == b""


async def test_a_journal_that_stays_away_ends_the_socket_in_bounded_time(rig):
    rig.journal.fails.extend([AWAY] * 100_000)
    await asyncio.wait_for(rig.relay.run(), 60)
    assert rig.closed is not None
    assert rig.closed[0] == terminal_relay.CLOSE_TRY_AGAIN
    assert rig.time >= terminal_relay.RECOVERY_SECONDS
    assert len(rig.connections) < 300


async def test_a_connection_is_made_anew_before_its_end_and_the_former_closed_after(rig):
    running = await renewing(rig)
    rig.time = 3600.0
    first = rig.connections[0]
    first.frames.put_nowait(b"a")
    await eventually(lambda: first.closed)
    assert rig.queries[1]["offset"] == str(len(KEPT) + 1)
    second = rig.connections[1]
    second.frames.put_nowait(b"amore")  # it begins where the journal ends
    await eventually(lambda: rig.output == KEPT + b"amore")
    assert not second.closed
    assert "recovering" not in str(rig.shown)
    rig.frames.put_nowait(None)
    await running


async def test_a_connection_that_cannot_be_made_anew_goes_on_as_it_is(rig):
    running = await renewing(rig)
    rig.time, rig.failed = 3600.0, True
    (only,) = rig.connections
    only.frames.put_nowait(b"a")
    only.frames.put_nowait(b"more")
    await eventually(lambda: rig.output == KEPT + b"amore")
    assert not only.closed
    assert "recovering" not in str(rig.shown)
    rig.frames.put_nowait(None)
    await running


async def renewing(rig: Rig) -> asyncio.Task[None]:
    """Start a relay whose connections are to be made anew after an hour; return when it is attached."""
    rig.relay._tools = dataclasses.replace(rig.relay._tools, renew_after=3600.0)
    running = await run(rig)
    await eventually(lambda: rig.output == KEPT)
    await eventually(lambda: rig.relay._renew_at is not None)
    return running
