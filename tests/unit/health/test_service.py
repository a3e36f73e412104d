"""Following a node, and what operators see of it."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.base import Busy
from actors.core.records.attendance import AttendanceReport
from actors.core.records.events import Place, Published
from actors.health import service
from actors.health.service import HealthService
from tests.fakes.pool_fakes import ManualClock, settle

EVENT = Published("s1", "saved", {}, 1.0)


@pytest.fixture
def health() -> HealthService:
    return HealthService(ManualClock(), attach_ttl=20.0)


async def begun(health: HealthService) -> Place:
    return (await health.follow(None, 0.0)).place


async def test_a_follower_waits_for_the_next_event(health):
    following = asyncio.create_task(health.follow(await begun(health), 30.0))
    await settle()
    assert health.stats()["event_followers"] == 1
    await health.publish("a", 1, [EVENT])
    page = await asyncio.wait_for(following, 60)
    assert [session_id for session_id, _ in page.events] == ["s1"]
    assert health.stats()["event_followers"] == 0


async def test_nothing_comes_when_nothing_happens(health):
    place = await begun(health)
    assert await health.follow(place, 0.0) == (place, [], False)


async def test_followers_are_bounded(health, monkeypatch):
    monkeypatch.setattr(service, "MAX_FOLLOWERS", 1)
    place = await begun(health)
    first = asyncio.create_task(health.follow(place, 30.0))
    await settle()
    with pytest.raises(Busy):
        await health.follow(place, 30.0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await health.follow(place, 0.0) == (place, [], False)


async def test_operators_see_what_was_published_lost_and_missed(health):
    await begun(health)
    await health.publish("a", 1, [EVENT, EVENT], lost=4)
    await health.publish("a", 1, [EVENT, EVENT], lost=4)
    await health.attend(AttendanceReport("r1", 1, {"s1": 2}, whole=True))
    stats = health.stats()
    assert stats["events_published_total"] == 2
    assert stats["events_lost_total"] == 4
    assert stats["event_gaps_total"] == 1
    assert stats["attached_sockets"] == 2
    assert stats["attendance_reports_total"] == 1
    assert health.attached("s1") == 2
