"""The refill plan: how much starts now, and which actors are too many."""

import pytest

from actors.pool.plan import (
    Demand,
    LaunchContainer,
    PoolRules,
    RetireActor,
    RetireReason,
    StartActor,
    plan_refill,
    quiet_in,
    strays,
)
from actors.pool.slots import SlotTable

RULES = PoolRules(orphan_lease=30.0, launch_timeout=20.0)
NOW = 100.0


def tables(actors=4, containers=4, max_starting=2):
    return SlotTable(actors, max_starting), SlotTable(containers, max_starting)


def fill(slots, count, prefix="x"):
    for number in range(count):
        slots.adopt(f"{prefix}{number}", float(number))


def kinds(actions, kind):
    return sum(isinstance(action, kind) for action in actions)


def test_an_empty_pool_starts_as_many_at_once_as_allowed():
    actors, containers = tables()
    actions = plan_refill(actors, containers, Demand(), RULES, NOW)
    assert kinds(actions, StartActor) == 2
    assert kinds(actions, LaunchContainer) == 2


def test_a_full_pool_starts_nothing():
    actors, containers = tables()
    fill(actors, 4)
    fill(containers, 4)
    assert plan_refill(actors, containers, Demand(), RULES, NOW) == []


def test_the_pools_are_sized_apart():
    actors, containers = tables(actors=0, containers=1)
    actions = plan_refill(actors, containers, Demand(), RULES, NOW)
    assert actions == [LaunchContainer()]


def test_starts_under_way_count():
    actors, containers = tables(actors=2, containers=0)
    fill(actors, 1)
    actors.start("s", NOW)
    assert plan_refill(actors, containers, Demand(), RULES, NOW) == []


def test_a_failed_launch_holds_back_its_own_pool_only():
    actors, containers = tables()
    containers.start("c", NOW)
    containers.failed("c", NOW)
    actions = plan_refill(actors, containers, Demand(), RULES, NOW)
    assert kinds(actions, LaunchContainer) == 0
    assert kinds(actions, StartActor) == 2
    later = plan_refill(actors, containers, Demand(), RULES, NOW + 1.0)
    assert kinds(later, LaunchContainer) == 2


def test_a_refill_waits_while_claims_come():
    actors, containers = tables()
    fill(actors, 2)
    demand = Demand(last_claim_at=NOW - 0.1, short_since=NOW - 1.0)
    assert plan_refill(actors, containers, demand, RULES, NOW) == []
    assert quiet_in(demand, RULES, NOW) == pytest.approx(RULES.claim_quiet - 0.1)


def test_a_refill_does_not_wait_for_ever():
    actors, containers = tables()
    demand = Demand(last_claim_at=NOW, short_since=NOW - RULES.refill_patience)
    assert kinds(plan_refill(actors, containers, demand, RULES, NOW), StartActor) == 2


def test_a_waiting_claim_gets_an_actor_at_once_even_without_a_pool():
    actors, containers = tables(actors=0, containers=0)
    demand = Demand(waiting=1, last_claim_at=NOW, short_since=NOW)
    assert plan_refill(actors, containers, demand, RULES, NOW) == [StartActor()]


def test_surplus_actors_are_kept_up_to_half_the_target():
    actors, containers = tables(actors=4, containers=0)
    fill(actors, 6)
    assert plan_refill(actors, containers, Demand(), RULES, NOW) == []
    actors.adopt("newest", 99.0)
    assert plan_refill(actors, containers, Demand(), RULES, NOW) == [
        RetireActor("newest", RetireReason.SURPLUS)
    ]


def test_nothing_is_retired_while_claims_wait():
    actors, containers = tables(actors=0, containers=0)
    fill(actors, 3)
    actions = plan_refill(actors, containers, Demand(waiting=1), RULES, NOW)
    assert kinds(actions, RetireActor) == 0


def test_strays_are_actors_without_session_slot_or_other_pool():
    actors, _ = tables()
    actors.adopt("warm", 0.0)
    listed = ["warm", "owner", "foreign", "stray"]
    assert strays(listed, {"owner"}, actors, {"foreign"}) == ["stray"]


@pytest.mark.parametrize(
    ("target", "starting", "started"), [(6, 0, 3), (6, 2, 1), (6, 3, 0), (3, 2, 1), (2, 2, 0)]
)
def test_no_more_starts_than_are_missing_and_than_there_is_room_for(target, starting, started):
    actors, containers = tables(actors=target, containers=0, max_starting=3)
    for number in range(starting):
        actors.start(f"s{number}", NOW)
    actions = plan_refill(actors, containers, Demand(), RULES, NOW)
    assert actions == [StartActor()] * started


def test_a_refill_waits_for_quiet_and_no_longer():
    actors, containers = tables(actors=1, containers=0)
    demand = Demand(last_claim_at=NOW - RULES.claim_quiet, short_since=NOW)
    assert plan_refill(actors, containers, demand, RULES, NOW) == [StartActor()]
    assert plan_refill(actors, containers, demand, RULES, NOW - 0.01) == []
    assert quiet_in(demand, RULES, NOW - 0.25) == pytest.approx(0.25)
    assert quiet_in(demand, RULES, NOW + 5) == 0.0
    assert quiet_in(Demand(), RULES, NOW) == 0.0
