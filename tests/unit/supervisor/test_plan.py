"""The supervisor's plan: making, restarting, giving back and opening again."""

import pytest

from actors.core.records.sessions import SessionPhase
from actors.supervisor.plan import (
    Component,
    Make,
    Release,
    Reopen,
    Restart,
    SupervisorRules,
    World,
    judge,
    phase_limits,
    remake_pause,
)
from tests.fakes.pool_fakes import session_record

RULES = SupervisorRules(phase_limits(launch_timeout=20.0, stop_grace=3.0))
STORE = Component("store-n", "store", True, listed=True)
POOL = Component("pool-n", "pool", True, listed=True)


def look(sessions=(), *, components=(), listed=(), missing_before=(), reopened=(), now=1000.0):
    world = World(now, now, components, listed, sessions, missing_before, dict(reopened))
    return judge(world, RULES)


def owned(owner="a1", phase=SessionPhase.READY, **changes):
    return session_record("s1", owner_actor_id=owner, phase=phase, updated_at=999.0, **changes)


def test_living_components_need_nothing():
    assert look(components=[STORE, POOL]).actions == []


def test_a_missing_component_is_made():
    missing = Component("pool-n", "pool", True)
    assert look(components=[STORE, missing]).actions == [Make("pool-n")]


def test_all_components_are_made_at_once():
    parts = [Component("store-n", "store", True), Component("pool-n", "pool", True)]
    assert look(components=parts).actions == [Make("store-n"), Make("pool-n")]


def test_the_others_wait_for_a_vital_component_that_could_not_be_made():
    failed = Component("store-n", "store", True, attempts=1)
    parts = [failed, Component("pool-n", "pool", True)]
    assert look(components=parts).actions == [Make("store-n")]


def test_a_missing_component_that_is_not_vital_holds_up_nothing():
    parts = [Component("health-n", "health", False), Component("pool-n", "pool", True)]
    assert look(components=parts).actions == [Make("health-n"), Make("pool-n")]


def test_a_component_that_could_not_be_made_waits():
    waiting = Component("store-n", "store", True, attempts=1, not_before=1001.0)
    assert look(components=[waiting]).actions == []
    assert [remake_pause(n, RULES) for n in (1, 2, 3, 9)] == [1.0, 2.0, 4.0, 30.0]


def test_a_component_that_stays_silent_is_restarted():
    silent = Component("pool-n", "pool", True, listed=True, silent_since=971.0)
    assert look(components=[silent]).actions == []
    assert look(components=[silent], now=1001.0).actions == [Restart("pool-n")]


def test_a_session_with_a_live_owner_is_left_alone():
    assert look([owned()], listed={"session-a1"}).actions == []


def test_an_owner_must_be_missing_twice():
    first = look([owned()])
    assert (first.actions, first.missing) == ([], {"a1"})


def test_a_settled_session_whose_owner_is_gone_becomes_passive():
    session = owned()
    assert look([session], missing_before={"a1"}).actions == [Release(session)]


@pytest.mark.parametrize("phase", list(RULES.phase_limits))
def test_a_session_in_a_passing_phase_whose_owner_is_gone_gets_another(phase):
    (action,) = look([owned(phase=phase)], missing_before={"a1"}).actions
    assert isinstance(action, Reopen)
    assert (action.session_id, action.dead_actor_id) == ("s1", "a1")


def test_the_same_loss_is_asked_for_with_the_same_key_and_not_at_every_look():
    session = owned(phase=SessionPhase.RECOVERING)
    first = look([session], missing_before={"a1"})
    again = look([session], missing_before={"a1"}, reopened=first.reopened, now=1009.0)
    later = look([session], missing_before={"a1"}, reopened=first.reopened, now=1010.0)
    assert again.actions == []
    assert later.actions == first.actions


def test_a_session_past_its_phases_limit_is_stuck():
    stuck = session_record("s1", phase=SessionPhase.STARTING, owner_actor_id="a1", updated_at=0.0)
    judgement = look([stuck], listed={"session-a1"})
    assert (judgement.stuck, judgement.actions) == (["s1"], [])


def test_a_stuck_session_that_nobody_owns_is_opened():
    stuck = session_record("s1", phase=SessionPhase.ENDING, updated_at=0.0)
    (action,) = look([stuck]).actions
    assert isinstance(action, Reopen)
    assert action.dead_actor_id is None


@pytest.mark.parametrize("phase", [p for p in SessionPhase if p not in RULES.phase_limits])
def test_settled_phases_last_as_long_as_they_like(phase):
    assert look([session_record("s1", phase=phase, updated_at=0.0)]).stuck == []


def test_reopens_of_one_look_are_bounded():
    sessions = [
        session_record(f"s{n:03}", phase=SessionPhase.STARTING, updated_at=0.0) for n in range(50)
    ]
    assert len(look(sessions).actions) == RULES.max_reopens


def test_sessions_are_counted_by_phase():
    sessions = [owned(), session_record("s2", phase=SessionPhase.HIBERNATED)]
    phases = look(sessions).phases
    assert (phases["ready"], phases["hibernated"], phases["starting"]) == (1, 1, 0)


def test_a_session_is_opened_where_it_was_and_once_for_one_loss():
    session = owned(phase=SessionPhase.STARTING, epoch=7, owner_node_id="n2")
    [action] = look([session], missing_before={"a1"}).actions
    assert action == Reopen(
        session_id="s1",
        user_id=session.user_id,
        name=session.name,
        node_id="n2",
        dead_actor_id="a1",
        key="supervisor/s1/7/a1",
    )


def test_a_passing_phase_may_last_twice_as_long_as_its_machine_allows():
    limits = phase_limits(launch_timeout=20.0, stop_grace=3.0)
    assert limits == {
        SessionPhase.STARTING: 50.0,
        SessionPhase.RECOVERING: 50.0,
        SessionPhase.HIBERNATING: 36.0,
        SessionPhase.ENDING: 36.0,
    }


@pytest.mark.parametrize(("age", "stuck"), [(0.0, []), (1e4, ["s1"]), (-5.0, [])])
def test_a_session_is_stuck_when_its_phase_lasts_longer_than_it_may(age, stuck):
    session = session_record("s1", phase=SessionPhase.RECOVERING, updated_at=50_000.0 - age)
    assert look([session], now=50_000.0).stuck == stuck


def test_a_session_is_stuck_only_after_the_limit_and_never_in_a_phase_without_one():
    limit = RULES.phase_limits[SessionPhase.RECOVERING]
    session = session_record("s1", phase=SessionPhase.RECOVERING, updated_at=0.0)
    assert look([session], now=limit).stuck == []
    assert look([session], now=limit + 0.1).stuck == ["s1"]
    assert look([owned()], now=1e9).stuck == []


def test_operators_see_how_many_sessions_are_in_each_phase():
    sessions = [
        session_record("s1", phase=SessionPhase.READY),
        session_record("s2", phase=SessionPhase.READY),
        session_record("s3", phase=SessionPhase.HIBERNATED),
        session_record("s4", phase=SessionPhase.ENDED),
    ]
    phases = look(sessions).phases
    assert {name: count for name, count in phases.items() if count} == {
        "ready": 2,
        "hibernated": 1,
        "ended": 1,
    }
    assert set(phases) == {phase.value for phase in SessionPhase}
