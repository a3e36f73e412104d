"""Events are sent in batches and in order; what cannot be sent is counted, and followers learn of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.core import event_sender
from actors.core.errors.base import Unavailable
from actors.core.event_sender import GIVE_UP_SECONDS, EventSender
from actors.core.names import health_checker_actor
from actors.core.records.events import Place
from actors.health.service import HealthService
from tests.fakes.pool_fakes import ManualClock, settle


class Broker:
    """An actor that may be away, or whose answers may be lost."""

    def __init__(self, clock: ManualClock) -> None:
        self.service = HealthService(clock, attach_ttl=20.0)
        self.away = self.mute = False
        self.calls = 0

    async def call(self, name: str, called: Any, seconds: float, /, *args: Any) -> None:
        assert (name, called.__name__) == ("health-node-1", "publish")
        self.calls += 1
        if self.away:
            raise Unavailable(name, "away")
        await self.service.publish(*args)
        if self.mute:
            raise Unavailable(name, "its answer was lost")

    async def heard(self) -> tuple[list[int], bool]:
        """Return the events that a follower of all has got, and whether it was said that others are lost."""
        page = await self.service.follow(Place((await self.service.follow(None, 0))[0][0], 0), 0)
        return [event.data["n"] for _, event in page.events], page.gap


class Desk:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.broker = Broker(self.clock)
        self.sender = EventSender(
            self.broker, health_checker_actor("node-1"), self.clock, "process-1"
        )

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            self.sender.publish("s1", "saved", {"n": number})

    async def passes(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            await settle()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    await made.sender.close()


async def test_events_of_one_moment_go_in_one_call(desk):
    desk.publish(1, 2, 3)
    await settle()
    assert (await desk.broker.heard(), desk.broker.calls) == (([1, 2, 3], False), 1)


async def test_an_answer_that_is_lost_repeats_no_event(desk):
    desk.broker.mute = True
    desk.publish(1)
    await settle()
    desk.broker.mute = False
    desk.publish(2)
    await desk.passes(2)
    assert (await desk.broker.heard(), desk.broker.calls) == (([1, 2], False), 3)


async def test_a_broker_that_comes_back_soon_has_missed_nothing(desk):
    desk.broker.away = True
    desk.publish(1)
    await desk.passes(GIVE_UP_SECONDS - 2)
    desk.broker.away = False
    desk.publish(2)
    await desk.passes(2)
    assert await desk.broker.heard() == ([1, 2], False)


async def test_what_is_given_up_is_said_with_the_next_event(desk):
    desk.broker.away = True
    desk.publish(1, 2)
    await desk.passes(GIVE_UP_SECONDS + 2)
    calls = desk.broker.calls
    await desk.passes(5)
    assert desk.broker.calls == calls, "nothing is sent when nothing waits"
    desk.broker.away = False
    desk.publish(3)
    await settle()
    desk.publish(4)
    await settle()
    assert await desk.broker.heard() == ([3, 4], True)
    assert desk.broker.service.stats()["events_lost_total"] == 2, "it is said once"


async def test_of_too_many_the_oldest_are_dropped_and_that_is_said(desk, monkeypatch):
    monkeypatch.setattr(event_sender, "MAX_WAITING", 2)
    desk.publish(1, 2, 3, 4)
    await settle()
    assert await desk.broker.heard() == ([3, 4], True)
    assert desk.broker.service.stats()["events_lost_total"] == 2


async def test_nothing_is_sent_behind_the_end(desk):
    await desk.sender.close()
    desk.publish(1)
    await settle()
    assert desk.broker.calls == 0
