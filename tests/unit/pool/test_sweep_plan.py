"""The sweep: every container has its place or gets an action."""

import pytest

from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import SessionPhase
from actors.pool.plan import (
    AdoptContainer,
    DropSlot,
    ForgetContainer,
    PoolRules,
    StopContainer,
    StopReason,
)
from actors.pool.slots import SlotTable
from actors.pool.sweep_plan import Facts, plan_removals, plan_sweep, validate_sweep
from tests.fakes.pool_fakes import container_record, handle, session_record

RULES = PoolRules(orphan_lease=30.0, launch_timeout=40.0)
NOW = 1000.0
S = ContainerStatus


def sweep(records=(), running=(), sessions=(), *, slots=None, suspects=(), busy=(), rules=RULES):
    slots = slots if slots is not None else SlotTable(10, 2)
    facts = Facts(NOW, records, running, {s.session_id: s for s in sessions}, busy, dict(suspects))
    result = plan_sweep(facts, slots, rules)
    validate_sweep(result, slots)
    return result


def ready(*container_ids, target=10):
    slots = SlotTable(target, 2)
    for number, container_id in enumerate(container_ids):
        slots.adopt(container_id, float(number), handle(container_id))
    return slots


def only_stop(result):
    (stop,) = [a for a in result.actions if isinstance(a, StopContainer | ForgetContainer)]
    return stop


def test_a_warm_container_with_a_slot_is_left_alone():
    result = sweep([container_record("c1")], [handle("c1")], slots=ready("c1"))
    assert result.actions == []
    assert result.orphans == 0


def test_a_warm_container_without_a_slot_is_adopted():
    result = sweep([container_record("c1")], [handle("c1")])
    assert result.actions == [AdoptContainer(handle("c1"))]


def test_a_container_that_is_being_claimed_is_not_adopted():
    assert sweep([container_record("c1")], [handle("c1")], busy={"c1"}).actions == []


@pytest.mark.parametrize("status", [S.LOST, S.FAILED])
def test_an_unhealthy_warm_container_is_ended_with_its_unused_workspace(status):
    result = sweep([container_record("c1", status)], [handle("c1")], slots=ready("c1"))
    assert DropSlot("c1") in result.actions
    stop = only_stop(result)
    assert (stop.reason, stop.expected, stop.delete_workspace) == (
        StopReason.UNHEALTHY,
        (status,),
        True,
    )


def test_a_warm_container_that_does_not_run_is_ended():
    assert only_stop(sweep([container_record("c1")], [])).reason is StopReason.VANISHED


def test_a_launch_that_nobody_carries_on_is_ended_after_a_lease_that_covers_the_launch():
    record = container_record("c1", S.STARTING)
    first = sweep([record], [])
    assert first.actions == []
    assert sweep([record], [], suspects={"c1": NOW - 59.0}).actions == []
    late = only_stop(sweep([record], [], suspects={"c1": NOW - 60.0}))
    assert isinstance(late, ForgetContainer)
    assert late.reason is StopReason.ABANDONED_LAUNCH


def test_a_stop_that_was_cut_off_is_finished():
    stop = only_stop(sweep([container_record("c1", S.STOPPING)], [handle("c1")]))
    assert stop.reason is StopReason.UNFINISHED_STOP


def test_a_running_container_that_no_record_knows_is_stopped_after_the_lease():
    first = sweep([], [handle("ghost")])
    assert first.actions == []
    assert first.suspects == {"ghost": NOW}
    assert first.orphans == 1
    stop = only_stop(sweep([], [handle("ghost")], suspects={"ghost": NOW - 30.0}))
    assert (stop.reason, stop.expected, stop.delete_workspace) == (StopReason.NO_RECORD, (), False)


def test_a_container_of_a_session_is_left_to_its_actor():
    record = container_record("c1", S.READY, session_id="s1", user_id="u1")
    result = sweep([record], [handle("c1")], [session_record("s1", container_id="c1")])
    assert result.actions == []


@pytest.mark.parametrize(
    ("sessions", "reason"),
    [
        ([], StopReason.NO_SESSION),
        ([session_record("s1", container_id="c2")], StopReason.SUPERSEDED),
        (
            [session_record("s1", container_id="c1", phase=SessionPhase.HIBERNATED)],
            StopReason.SUPERSEDED,
        ),
    ],
)
def test_a_container_that_its_session_does_not_have_is_ended_but_its_workspace_stays(
    sessions, reason
):
    record = container_record("c1", S.READY, session_id="s1", user_id="u1")
    assert sweep([record], [handle("c1")], sessions).actions == []
    stop = only_stop(sweep([record], [handle("c1")], sessions, suspects={"c1": NOW - 30.0}))
    assert (stop.reason, stop.delete_workspace) == (reason, False)


def test_a_suspect_that_is_explained_again_starts_a_new_lease():
    record = container_record("c1", S.READY, session_id="s1", user_id="u1")
    sessions = [session_record("s1", container_id="c1")]
    assert sweep([record], [handle("c1")], sessions, suspects={"c1": 0.0}).suspects == {}


def test_a_slot_whose_container_has_a_user_is_dropped():
    record = container_record("c1", S.READY, session_id="s1", user_id="u1")
    sessions = [session_record("s1", container_id="c1")]
    result = sweep([record], [handle("c1")], sessions, slots=ready("c1"))
    assert result.actions == [DropSlot("c1")]


def test_a_slot_without_a_record_is_dropped():
    assert sweep(slots=ready("c1")).actions == [DropSlot("c1")]


def test_a_reserved_slot_is_never_ended():
    slots = ready("c1")
    slots.reserve()
    assert sweep([container_record("c1", S.LOST)], [handle("c1")], slots=slots).actions == []


def test_the_newest_surplus_containers_are_stopped():
    names = ["c1", "c2", "c3"]
    result = sweep(
        [container_record(n) for n in names],
        [handle(n) for n in names],
        slots=ready(*names, target=2),
    )
    stop = only_stop(result)
    assert (stop.container_id, stop.reason, stop.expected) == ("c3", StopReason.SURPLUS, (S.WARM,))


def test_endings_at_once_are_bounded():
    rules = PoolRules(30.0, 20.0, max_stops=2)
    records = [container_record(f"c{n}", S.LOST) for n in range(5)]
    result = sweep(records, rules=rules)
    assert sum(isinstance(a, StopContainer | ForgetContainer) for a in result.actions) == 2


LONG_AGO = NOW - 1000.0


def removals(left, *, records=(), running=(), sessions=()):
    facts = Facts(NOW, records, running, {s.session_id: s for s in sessions})
    return plan_removals(left, facts, RULES, NOW)


def test_a_workspace_that_an_ended_session_left_is_removed_after_the_lease():
    lease = 1.5 * RULES.launch_timeout
    assert removals({"w1": NOW - lease + 1, "w2": NOW - lease}) == ["w2"]


def test_a_workspace_that_anything_uses_stays():
    left = {"w-c1": LONG_AGO}
    assert removals(left, records=[container_record("c1", S.STOPPING)]) == []
    assert removals(left, running=[handle("c1")]) == []
    assert removals(left, sessions=[session_record(workspace_id="w-c1")]) == []
    assert removals(left) == ["w-c1"]


def test_only_some_workspaces_are_removed_at_once():
    left = {f"w{number}": LONG_AGO for number in range(100)}
    assert len(removals(left)) == RULES.max_stops


def test_one_that_is_busy_keeps_no_other_from_being_judged():
    records = [container_record("c1", S.LOST), container_record("c2", S.LOST)]
    result = sweep(records, [handle("c1"), handle("c2")], busy={"c1"})
    assert only_stop(result).container_id == "c2"
    unknown = [handle("c1"), handle("c2"), handle("c3")]
    result = sweep(
        [container_record("c1")],
        unknown,
        slots=ready("c1"),
        busy={"c2"},
        suspects={"c3": NOW - 30},
    )
    assert result.actions == [StopContainer(handle("c3"), StopReason.NO_RECORD, ())]


def test_what_is_adopted_counts_towards_the_surplus():
    records = [container_record(name) for name in ("c1", "c2", "c3")]
    running = [handle(name) for name in ("c1", "c2", "c3")]
    result = sweep(records, running, slots=ready("c1", "c2", target=2))
    assert AdoptContainer(handle("c3")) in result.actions
    assert (only_stop(result).container_id, only_stop(result).reason) == ("c2", StopReason.SURPLUS)


def test_what_runs_is_reached_where_it_runs_and_else_where_its_record_points():
    moved = handle("c1").model_copy(update={"address": "127.0.0.1:9"})
    assert only_stop(sweep([container_record("c1", S.LOST)], [moved])).handle == moved
    surplus = sweep([container_record("c1")], [moved], slots=ready("c1", target=0))
    assert only_stop(surplus).handle == moved
    assert only_stop(sweep([container_record("c1", S.LOST)])).handle == handle("c1")
    without = container_record("c1", handle=None)
    assert sweep([without], [handle("c1")]).actions == [AdoptContainer(handle("c1"))]


@pytest.mark.parametrize(("user_id", "unused"), [(None, True), ("u1", False)])
def test_the_record_of_what_never_ran_goes_with_its_workspace_unless_that_has_a_user(
    user_id, unused
):
    record = container_record("c1", S.STARTING, user_id=user_id)
    result = sweep([record], suspects={"c1": NOW - 60})
    assert result.actions == [
        ForgetContainer("c1", "w-c1", StopReason.ABANDONED_LAUNCH, (S.STARTING,), unused)
    ]


def test_endings_are_bounded_and_all_else_is_done():
    records = [container_record(name, S.LOST) for name in ("c1", "c2", "c3")]
    running = [handle(name) for name in ("c1", "c2", "c3")]
    slots = ready("c1", "c2", "c3", "gone")
    rules = PoolRules(orphan_lease=30.0, launch_timeout=40.0, max_stops=1)
    result = sweep(records, running, slots=slots, rules=rules)
    assert only_stop(result).container_id == "c1"
    assert result.actions[-1] == DropSlot("gone")
