"""The day that `benchmarks day` simulates, with few people: what must hold whatever is drawn."""

from __future__ import annotations

import pytest

from benchmarks.simulation.people import Plan
from benchmarks.simulation.timeline import HOUR
from benchmarks.simulation.working_day import WorkingDay

PLAN = Plan(people=200, at_nine=150, die_at_noon=150, deaths_an_hour=0.05, warm=2, cores=1)


@pytest.fixture(scope="module")
def day() -> WorkingDay:
    made = WorkingDay(PLAN)
    made.run(24 * HOUR)
    return made


def test_at_night_every_session_sleeps_or_has_ended_and_no_actor_is_held(day):
    day.validate_night()
    assert 0 < len(day.sessions) < PLAN.people
    assert day.server.bound.quantile(1) > 0


def test_the_queue_for_an_actor_is_bounded_and_whoever_is_sent_away_is_served_later(day):
    pool = day.server.pool
    assert pool.busy > 0
    assert pool.waiting.quantile(1) == day.settings.max_pending_launches
    assert all(seat.came_at is None for seat in day.seats)


def test_every_lost_container_of_somebody_attached_is_replaced(day):
    assert len(day.server.back_after) > PLAN.die_at_noon / 2
    assert all(seat.lost_at is None for seat in day.seats)


def test_an_activation_ends_soon_after_its_last_decision(day):
    activated = sum(day.server.activations.values())
    renewals = sum(day.server.commits.values())
    assert renewals < 10 * activated


def test_equal_seeds_make_equal_days(day):
    again = WorkingDay(PLAN)
    again.run(10 * HOUR)
    morning = {each: n for each, n in day.server.activations.items() if each[1] < 10 * 60}
    assert again.server.activations == morning
    assert again.server.waits == day.server.waits[: len(again.server.waits)]
