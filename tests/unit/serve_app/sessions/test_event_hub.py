"""Events reach all who listen, over one poll a node; what a poll misses is read from the records."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.core.errors.base import Unavailable
from actors.core.records.events import MOVED, EventPage, Place
from actors.core.records.sessions import SessionEvent, SessionPhase, SessionRecord
from actors.core.tasks import Tasks
from serve_app.sessions import event_hub
from serve_app.sessions.event_hub import REREAD_SECONDS, SETTLE_SECONDS, EventHub, status_of
from tests.fakes.pool_fakes import ManualClock, session_record, settle


def event(seq: int, kind: str = "saved", at: float = 2000.0, **data: Any) -> SessionEvent:
    return SessionEvent(activation=1, seq=seq, at=at, type=kind, data=data)


class Nodes:
    """Brokers that answer polls with what a test puts, in its order."""

    def __init__(self) -> None:
        self.answers: dict[str, asyncio.Queue[Any]] = {}
        self.polls: list[tuple[str, Place | None]] = []

    def of(self, node_id: str) -> asyncio.Queue[Any]:
        return self.answers.setdefault(f"health-{node_id}", asyncio.Queue())

    async def call(self, name, called, _limit, place, _wait) -> EventPage:
        assert called.__name__ == "follow"
        self.polls.append((name.removeprefix("health-"), place))
        answer = await self.answers.setdefault(name, asyncio.Queue()).get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Records:
    """A store that may be away."""

    def __init__(self) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.away = False
        self.pages: list[int] = []

    async def sessions_by_id(self, session_ids) -> dict[str, SessionRecord]:
        self.pages.append(len(session_ids))
        if self.away:
            raise Unavailable("store", "away")
        return {each: self.records[each] for each in session_ids if each in self.records}


class Homes:
    """A gateway: where sessions were at last."""

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}

    def home(self, session_id: str) -> str | None:
        return self.homes.get(session_id)

    def see(self, record: SessionRecord) -> None:
        self.homes[record.session_id] = str(record.home)


class Hall:
    """A hub, and what its listeners have heard."""

    def __init__(self) -> None:
        self.nodes, self.ledger, self.gateway = Nodes(), Records(), Homes()
        self.clock, self.tasks = ManualClock(), Tasks(limit=10)
        self.hub = EventHub(self.gateway, self.ledger, self.nodes, self.clock, self.tasks, "node-1")
        self.heard: list[tuple[str, SessionEvent]] = []
        self.seq = 0

    def listener(self, name: str):
        return lambda event: self.heard.append((name, event))

    def listen(self, session_id: str = "s1", name: str = "a") -> None:
        self.hub.listen(session_id, self.listener(name))

    def keep(self, session_id: str = "s1", **changes: Any) -> SessionRecord:
        record = session_record(
            session_id=session_id, **{"owner_node_id": "node-1", "updated_at": 3000.0} | changes
        )
        self.ledger.records[session_id] = record
        return record

    async def begin(self) -> None:
        self.tasks.spawn("run", self.hub.run())
        self.gateway.homes["s1"] = "node-1"
        self.keep()
        await settle()

    async def answer(self, *events: tuple[str, SessionEvent], gap: bool = False, node="node-1"):
        self.seq += 1
        self.nodes.of(node).put_nowait(EventPage(Place(1, self.seq), list(events), gap))
        await settle()

    async def passes(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            await settle()

    def types(self, name: str = "a") -> list[str]:
        return [event.type for who, event in self.heard if who == name]


@pytest.fixture
async def hall():
    made = Hall()
    await made.begin()
    yield made
    await made.tasks.close()


async def test_all_listeners_of_a_node_share_one_poll_and_hear_their_sessions_in_order(hall):
    hall.gateway.homes["s2"] = "node-1"
    hall.listen("s1", "a")
    hall.listen("s1", "b")
    hall.listen("s2", "c")
    await hall.answer(("s1", event(1)), ("s2", event(2)), ("s9", event(3)), ("s1", event(4)))
    await hall.answer(("s1", event(5)))
    seqs = {who: [e.seq for w, e in hall.heard if w == who] for who in "abc"}
    assert seqs == {"a": [1, 4, 5], "b": [1, 4, 5], "c": [2]}
    assert hall.nodes.polls == [
        ("node-1", None), ("node-1", Place(1, 1)), ("node-1", Place(1, 2)),
    ]  # fmt: skip


async def test_the_own_node_is_followed_before_anybody_listens(hall):
    await hall.answer(gap=True)
    await hall.answer(("s1", event(1)))
    hall.listen()
    await hall.answer(("s1", event(2)))
    assert [event.seq for _, event in hall.heard] == [2]


async def test_a_gap_has_the_state_read_again_at_once_and_once_more_when_it_is_written(hall):
    hall.listen()
    hall.keep(phase=SessionPhase.RECOVERING)
    await hall.answer(gap=True)
    await hall.passes(0.5)
    hall.keep(phase=SessionPhase.READY, updated_at=3001.0)
    await hall.passes(SETTLE_SECONDS + 0.5)
    assert [e.data["phase"] for _, e in hall.heard] == ["recovering", "ready"]
    assert [e.type for _, e in hall.heard] == ["status", "status"]
    await hall.passes(2 * REREAD_SECONDS)
    assert len(hall.heard) == 2, "what has not changed is not published again"


async def test_a_record_older_than_the_last_event_says_nothing(hall):
    hall.listen()
    ready = status_of(hall.keep(phase=SessionPhase.READY)).data
    hall.keep(phase=SessionPhase.RECOVERING, updated_at=2999.0)
    await hall.answer(("s1", event(1, "status", at=3000.0, **ready)), gap=True)
    await hall.passes(1)
    assert [e.data["phase"] for _, e in hall.heard] == ["ready"]


async def test_a_session_that_is_gone_has_ended_and_nothing_comes_behind_it(hall):
    hall.listen()
    hall.ledger.records.clear()
    await hall.answer(("s1", event(1)), gap=True)
    await hall.passes(1)
    await hall.answer(("s1", event(2)))
    assert hall.types() == ["saved", "ended"]
    assert hall.hub.sessions == 0


async def test_the_end_of_a_session_is_the_last_that_is_heard_of_it(hall):
    hall.listen()
    await hall.answer(("s1", event(1, "ended")), ("s1", event(2)))
    assert hall.types() == ["ended"]
    assert hall.hub.sessions == 0


async def test_a_store_that_is_away_is_asked_again(hall):
    hall.listen()
    hall.ledger.away = True
    await hall.answer(gap=True)
    await hall.passes(2)
    assert hall.heard == []
    hall.ledger.away = False
    await hall.passes(0.5)
    assert hall.types() == ["status"]


async def test_a_node_that_is_away_for_long_has_its_sessions_read_again(hall):
    hall.listen()
    await hall.answer(("s1", event(1)))
    for _ in range(20):
        hall.nodes.of("node-1").put_nowait(Unavailable("health", "away"))
    await hall.passes(SETTLE_SECONDS - 1)
    assert hall.types() == ["saved"]
    await hall.passes(5)
    assert hall.types() == ["saved", "status"]
    assert hall.nodes.polls[-1] == ("node-1", Place(1, 1)), "it is asked for what came since"


async def test_a_session_that_moved_is_followed_where_it_is_now(hall):
    hall.listen()
    hall.keep(owner_node_id="node-2")
    await hall.passes(REREAD_SECONDS + 1)
    assert ("node-2", None) in hall.nodes.polls
    await hall.answer(("s1", event(9)), node="node-2")
    assert hall.heard[-1][1].seq == 9


async def test_a_node_that_is_emptied_says_of_a_session_that_it_moved_and_listeners_hear_what_follows(
    hall,
):
    hall.listen()
    hall.keep(owner_node_id="node-2")
    await hall.answer(("s1", event(1, MOVED)))
    await hall.passes(1)
    assert hall.types() == ["status"]
    await hall.answer(("s1", event(9)), node="node-2")
    assert hall.types() == ["status", "saved"]


async def test_a_node_that_nobody_needs_any_more_is_not_polled(hall):
    hall.gateway.homes["s2"] = "node-2"
    listener = hall.listener("a")
    hall.hub.listen("s2", listener)
    await hall.answer(gap=True, node="node-2")
    hall.hub.unlisten("s2", listener)
    hall.hub.unlisten("s2", listener)
    before = len(hall.nodes.polls)
    await hall.answer(node="node-2")
    assert len(hall.nodes.polls) == before
    hall.hub.listen("s2", listener)
    await settle()
    assert hall.nodes.polls[-1] == ("node-2", None)


async def test_where_an_unknown_session_is_its_record_says(hall):
    hall.keep("s3", owner_node_id=None, workspace_node_id="node-3")
    hall.listen("s3")
    await hall.passes(0.5)
    assert ("node-3", None) in hall.nodes.polls


async def test_records_are_read_in_pages(hall, monkeypatch):
    monkeypatch.setattr(event_hub, "READ_AT_ONCE", 2)
    for number in range(5):
        hall.keep(f"t{number}")
        hall.listen(f"t{number}")
    await hall.passes(0.5)
    assert hall.ledger.pages == [2, 2, 1]
