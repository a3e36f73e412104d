"""Events of a session reach all who listen, over one poll, whatever its owner does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import SessionEnded
from actors.core.records.sessions import SessionEvent
from actors.core.tasks import Tasks
from serve_app.sessions.event_hub import EventHub
from tests.fakes.pool_fakes import ManualClock, settle


def event(
    seq: int, *, activation: int = 1, at: float = 2000.0, kind: str = "saved"
) -> SessionEvent:
    return SessionEvent(activation=activation, seq=seq, at=at, type=kind)


class Gateway:
    """Answers polls with what a test puts, in its order."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.polls: list[tuple[int | None, int]] = []

    async def call(self, _session, _called, _timeout, activation, seq, _wait) -> list[SessionEvent]:
        self.polls.append((activation, seq))
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Hall:
    """A hub, and what its listeners have heard."""

    def __init__(self) -> None:
        self.gateway, self.clock, self.tasks = Gateway(), ManualClock(), Tasks(limit=10)
        self.hub = EventHub(self.gateway, self.clock, self.tasks)
        self.heard: list[tuple[str, int]] = []
        self.types: list[str] = []

    def listener(self, name: str):
        def hear(heard: SessionEvent) -> None:
            self.heard.append((name, heard.seq))
            self.types.append(heard.type)

        return hear

    async def answer(self, *answers: Any) -> None:
        for answer in answers:
            self.gateway.answers.put_nowait(answer)
        await settle()


@pytest.fixture
async def hall():
    made = Hall()
    yield made
    await made.tasks.close()


async def test_two_listeners_share_one_poll_and_hear_in_order(hall):
    hall.hub.listen("s1", hall.listener("a"))
    hall.hub.listen("s1", hall.listener("b"))
    await hall.answer([event(1), event(2)], [event(3)])
    assert [seq for name, seq in hall.heard if name == "a"] == [1, 2, 3]
    assert [seq for name, seq in hall.heard if name == "b"] == [1, 2, 3]
    assert hall.gateway.polls == [(None, 0), (1, 2), (1, 3)]


async def test_what_happened_before_anybody_listened_is_not_heard(hall):
    hall.hub.listen("s1", hall.listener("a"))
    await hall.answer([event(1, at=hall.clock.now() - 1), event(2, at=hall.clock.now())])
    assert hall.heard == [("a", 2)]
    await hall.answer([event(1, activation=2, at=hall.clock.now() - 1)])
    assert hall.heard == [("a", 2), ("a", 1)], "another activation's events are news"


async def test_an_owner_that_is_away_is_asked_again_later(hall):
    hall.hub.listen("s1", hall.listener("a"))
    await hall.answer(Unavailable("session", "away"), [event(1)])
    assert hall.heard == []
    hall.clock.advance(10.0)
    await settle()
    assert hall.heard == [("a", 1)]


@pytest.mark.parametrize("gone", [NotFound("session", "s1"), SessionEnded("s1")])
async def test_a_session_that_is_gone_has_ended_for_all_and_is_followed_no_more(hall, gone):
    hall.hub.listen("s1", hall.listener("a"))
    await hall.answer([event(4)], gone)
    assert (hall.heard[-1], hall.types[-1]) == (("a", 5), "ended")
    assert hall.hub.sessions == 0
    hall.hub.listen("s1", hall.listener("b"))
    await settle()
    assert hall.gateway.polls[-1] == (None, 0), "whoever listens anew begins anew"


async def test_nothing_is_polled_for_nobody(hall):
    one, two = hall.listener("a"), hall.listener("b")
    hall.hub.listen("s1", one)
    hall.hub.listen("s1", two)
    hall.hub.unlisten("s1", one)
    await hall.answer([event(1)])
    assert hall.heard == [("b", 1)]
    hall.hub.unlisten("s1", two)
    hall.hub.unlisten("s1", two)
    await settle()
    assert hall.hub.sessions == 0
    assert len(hall.tasks) == 0
