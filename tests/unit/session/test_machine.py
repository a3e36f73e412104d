"""The session's machine, one decision a test."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.errors.base import IllegalTransition
from actors.core.errors.limits import ContainersExceeded
from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import SessionPhase
from actors.session.machine import SessionMachine
from actors.session.messages import (
    Abandon,
    Adopt,
    AdoptFailed,
    Bound,
    Called,
    Command,
    ContainerLost,
    ContainerReady,
    Discard,
    DiscardReason,
    Emit,
    Ended,
    EndRequested,
    EndSession,
    Event,
    FencedOff,
    HibernateRequested,
    Launch,
    LaunchFailed,
    Passivate,
    Passivated,
    Release,
    ReleaseReason,
    ResumeRequested,
    Save,
    Stop,
    Stopped,
    Tick,
    Watch,
    WorkFailed,
)
from actors.session.state import MOVES, WORKS, SessionRules, Work
from tests.fakes.pool_fakes import handle

P = SessionPhase
RULES = SessionRules(
    adopt_timeout=10.0,
    launch_timeout=20.0,
    stop_timeout=10.0,
    end_timeout=30.0,
    passivate_timeout=5.0,
    rest_after=60.0,
    backoff_base=1.0,
    backoff_limit=8.0,
    max_launches=3,
    max_short_lives=3,
)


class Drive:
    """A machine with a clock in hand; each step is validated."""

    def __init__(
        self, phase: SessionPhase = P.STARTING, container_id: str | None = None, **bound: Any
    ) -> None:
        self.machine = SessionMachine(RULES, lambda: 0.999999)
        self.now = 100.0
        self.commands = self.do(Bound(phase=phase, epoch=5, container_id=container_id, **bound))

    def do(self, event: Event, after: float = 0.0) -> tuple[Command, ...]:
        self.now += after
        before = self.machine.persistent()
        self.commands = self.machine.step(event, self.now)
        self.machine.validate()
        if self.machine.persistent() != before and not isinstance(event, Bound):
            assert Save() in self.commands, "what the record says has changed, and is not saved"
        return self.commands

    def tick(self) -> tuple[Command, ...]:
        """Go to the deadline."""
        assert self.machine.deadline is not None
        self.now = self.machine.deadline
        return self.do(Tick())

    def ready(self, container_id: str = "c1") -> tuple[Command, ...]:
        machine = self.machine
        return self.do(ContainerReady(machine.work_number, handle(container_id), machine.epoch + 1))

    def acts(self) -> list[Command]:
        """The last commands without saves and events."""
        return [c for c in self.commands if not isinstance(c, Save | Emit)]


def running() -> Drive:
    drive = Drive()
    drive.ready()
    return drive


def test_a_new_session_launches_a_container_and_then_watches_it():
    drive = Drive()
    assert drive.acts() == [Launch(1)]
    drive.ready("c1")
    assert drive.acts() == [Watch(handle("c1"))]
    assert drive.machine.phase is P.READY
    assert drive.machine.epoch == 6
    assert drive.machine.persistent()["container_status"] is ContainerStatus.READY


def test_a_session_whose_record_names_a_container_adopts_it():
    drive = Drive(P.READY, "c1")
    assert drive.acts() == [Adopt(1, "c1", None)]
    assert not drive.machine.ready
    drive.do(ContainerReady(1, handle("c1"), 5))
    assert drive.machine.ready
    assert drive.machine.restarts == 0


def test_nothing_is_saved_before_something_was_decided():
    assert Save() not in Drive(P.READY, "c1").commands


def test_a_dead_container_is_replaced_when_it_should_be_adopted():
    drive = Drive(P.READY, "c1")
    drive.do(AdoptFailed(1, "gone", dead=True))
    assert drive.acts() == [Discard("c1", None, DiscardReason.LOST), Launch(2)]


def test_a_container_that_ends_while_it_is_adopted_is_replaced_and_its_adoption_given_up():
    drive = Drive(P.READY, "c1")
    drive.do(ContainerLost("c1", "killed"))
    assert drive.acts() == [Abandon(1), Discard("c1", None, DiscardReason.LOST), Launch(2)]
    assert Save() in drive.commands
    assert drive.machine.persistent()["restarts"] == 1


def test_a_container_that_only_does_not_answer_gets_more_chances_before_it_is_replaced():
    drive = Drive(P.READY, "c1")
    for attempt in range(1, RULES.max_adopts):
        drive.do(AdoptFailed(attempt, "no answer", dead=False))
        assert drive.machine.work is Work.BACKOFF
        drive.tick()
        assert drive.acts() == [Adopt(attempt + 1, "c1", None)]
    drive.do(AdoptFailed(RULES.max_adopts, "no answer", dead=False))
    assert drive.acts()[0] == Discard("c1", None, DiscardReason.UNREACHABLE)
    assert isinstance(drive.acts()[1], Launch)


def test_a_lost_container_is_replaced_at_once():
    drive = running()
    drive.do(ContainerLost("c1", "killed"), after=100.0)
    assert drive.acts() == [Discard("c1", handle("c1"), DiscardReason.LOST), Launch(2)]
    assert drive.machine.phase is P.RECOVERING
    assert drive.machine.persistent()["container_id"] is None
    drive.ready("c2")
    assert drive.machine.restarts == 1


def test_the_end_of_another_container_is_no_news():
    drive = running()
    assert drive.do(ContainerLost("c0", "killed")) == ()
    assert drive.machine.phase is P.READY


def test_launch_failures_are_tried_again_with_growing_pauses_and_then_fail():
    drive = Drive()
    pauses = []
    for attempt in range(1, RULES.max_launches):
        drive.do(LaunchFailed(attempt, "no disk"))
        assert drive.machine.deadline is not None
        pauses.append(drive.machine.deadline - drive.now)
        drive.tick()
        assert drive.acts() == [Launch(attempt + 1)]
    assert pauses == pytest.approx([1.0, 2.0], rel=1e-3)
    drive.do(LaunchFailed(RULES.max_launches, "no disk"))
    assert drive.machine.phase is P.FAILED
    assert drive.machine.failure == "launch_failed: no disk"


def test_a_failed_session_starts_again_when_somebody_wants_it():
    drive = Drive(P.FAILED)
    assert drive.acts() == []
    drive.do(ResumeRequested())
    assert drive.acts() == [Launch(1)]
    drive.ready()
    assert drive.machine.failure is None


def test_a_launch_that_takes_too_long_is_abandoned_and_its_container_is_discarded_when_it_comes():
    drive = Drive()
    drive.tick()
    assert drive.acts() == [Abandon(1)]
    drive.tick()
    assert drive.acts() == [Launch(2)]
    drive.do(ContainerReady(1, handle("late"), 6))
    assert drive.acts() == [Discard("late", handle("late"), DiscardReason.LATE)]
    drive.do(ContainerReady(2, handle("c2"), 7))
    assert drive.machine.container_id == "c2"


@pytest.mark.parametrize("fenced", [False, True])
def test_a_container_that_comes_after_the_release_is_discarded_by_whoever_may(fenced):
    drive = Drive()
    if fenced:
        drive.do(FencedOff(9))
    else:
        drive.do(EndRequested())
        drive.do(Ended(drive.machine.work_number))
    drive.do(ContainerReady(1, handle("late"), 6))
    late = Discard("late", handle("late"), DiscardReason.LATE)
    assert drive.acts() == ([] if fenced else [late])


def test_containers_that_die_young_are_replaced_more_and_more_slowly_and_then_not_any_more():
    drive = running()
    pauses = []
    for life in range(RULES.max_short_lives):
        drive.do(ContainerLost(f"c{life + 1}", "exit 1"), after=0.5)
        if drive.machine.work is Work.BACKOFF:
            assert drive.machine.deadline is not None
            pauses.append(drive.machine.deadline - drive.now)
            drive.tick()
        drive.ready(f"c{life + 2}")
    assert pauses == pytest.approx([1.0, 2.0], rel=1e-3)
    drive.do(ContainerLost(f"c{RULES.max_short_lives + 1}", "exit 1"), after=0.5)
    assert drive.machine.phase is P.FAILED
    assert drive.machine.failure is not None
    assert drive.machine.failure.startswith("crash_loop")


def test_a_container_that_lived_long_enough_ends_a_row_of_short_lives():
    drive = running()
    for life in range(20):
        drive.do(ContainerLost(f"c{life + 1}", "killed"), after=RULES.stable_after)
        drive.ready(f"c{life + 2}")
    assert drive.machine.phase is P.READY


def test_hibernating_stops_the_container_and_resuming_launches_another():
    drive = running()
    drive.do(HibernateRequested())
    assert drive.acts() == [Stop(2, "c1", handle("c1"), forced=False)]
    drive.do(ContainerLost("c1", "stopped"))
    assert drive.machine.phase is P.HIBERNATING
    drive.do(Stopped(2))
    assert drive.machine.phase is P.HIBERNATED
    drive.do(ResumeRequested())
    assert drive.acts() == [Launch(3)]


def test_resuming_while_hibernating_starts_again_as_soon_as_the_container_is_stopped():
    drive = running()
    drive.do(HibernateRequested())
    drive.do(ResumeRequested())
    assert drive.machine.phase is P.HIBERNATING
    drive.do(Stopped(2))
    assert drive.machine.phase is P.STARTING
    assert drive.acts() == [Launch(3)]


def test_hibernating_again_takes_the_wish_to_resume_back():
    drive = running()
    drive.do(HibernateRequested())
    drive.do(ResumeRequested())
    drive.do(HibernateRequested())
    drive.do(Stopped(2))
    assert drive.machine.phase is P.HIBERNATED


def test_a_stop_that_fails_again_and_again_is_done_by_force():
    drive = running()
    drive.do(HibernateRequested())
    for _ in range(RULES.max_stops):
        drive.do(WorkFailed(drive.machine.work_number, "runtime down"))
        drive.tick()
    (stop,) = drive.acts()
    assert isinstance(stop, Stop)
    assert stop.forced


def test_hibernating_during_a_launch_abandons_it():
    drive = Drive()
    drive.do(HibernateRequested())
    assert drive.acts() == [Abandon(1)]
    assert drive.machine.phase is P.HIBERNATED


@pytest.mark.parametrize("phase", [p for p in P if p not in {P.ENDED, P.ENDING}])
def test_ending_is_possible_from_everywhere(phase):
    drive = Drive(phase, "c1" if phase is P.READY else None)
    drive.do(EndRequested())
    end = drive.acts()[-1]
    assert isinstance(end, EndSession)
    drive.do(Ended(end.work))
    assert drive.acts() == [Release(ReleaseReason.ENDED)]
    assert drive.machine.phase is P.ENDED


def test_an_actor_that_takes_over_goes_on_with_what_was_under_way():
    assert isinstance(Drive(P.HIBERNATING, "c1").acts()[0], Stop)
    assert isinstance(Drive(P.ENDING, "c1").acts()[0], EndSession)
    assert Drive(P.ENDED).acts() == [Release(ReleaseReason.ENDED)]


def test_a_session_with_nothing_to_decide_is_let_go_of():
    drive = running()
    drive.do(Tick(), after=RULES.rest_after - 1)
    assert drive.acts() == []
    drive.do(Tick(), after=1)
    assert drive.acts() == [Passivate(2)]
    drive.do(Passivated(2))
    assert drive.acts() == [Release(ReleaseReason.PASSIVATED)]


@pytest.mark.parametrize("event", [Called(), ResumeRequested()])
def test_a_session_that_is_asked_for_something_stays_for_a_while(event):
    drive = running()
    drive.do(event, after=RULES.rest_after - 1)
    assert drive.machine.deadline == drive.now + RULES.rest_after


def test_a_session_that_was_only_to_be_revived_is_let_go_of_as_soon_as_it_is_ready():
    drive = Drive(P.READY, "c1", rest_after=0.0)
    drive.do(AdoptFailed(1, "gone", dead=True))
    drive.ready("c2")
    assert drive.machine.deadline == drive.now
    drive.tick()
    assert drive.acts() == [Passivate(drive.machine.work_number)]


def test_whoever_asks_a_revived_session_for_something_keeps_it():
    drive = Drive(P.READY, "c1", rest_after=0.0)
    drive.do(Called())
    drive.do(ContainerReady(1, handle("c1"), 5), after=1.0)
    assert drive.machine.deadline == drive.now + RULES.rest_after


def statuses(drive: Drive) -> list[str]:
    return [c.data["phase"] for c in drive.commands if isinstance(c, Emit) and c.type == "status"]


def test_a_container_that_is_taken_over_counts_as_ready_until_it_is_known_not_to_be():
    drive = Drive(P.READY, "c1")
    assert statuses(drive) == []
    assert drive.machine.persistent()["phase"] is P.READY
    assert "container_url" not in drive.machine.persistent()
    drive.do(AdoptFailed(1, "no answer", dead=False))
    assert statuses(drive) == ["starting"]
    assert drive.machine.persistent()["phase"] is P.STARTING


def test_short_lives_are_counted_over_activations():
    for lives in range(1, RULES.max_short_lives + 1):
        drive = Drive(P.READY, "c1", ready_for=RULES.stable_after - 1, short_lives=lives - 1)
        drive.do(AdoptFailed(1, "gone", dead=True))
        assert drive.machine.short_lives == lives
        assert (drive.machine.work is Work.BACKOFF) == (lives > 1)
    drive = Drive(P.READY, "c1", ready_for=1.0, short_lives=RULES.max_short_lives)
    drive.do(AdoptFailed(1, "gone", dead=True))
    assert drive.machine.phase is P.FAILED
    assert str(drive.machine.failure).startswith("crash_loop")


def test_a_container_that_lived_for_long_ends_a_row_of_short_lives():
    drive = Drive(P.READY, "c1", ready_for=RULES.stable_after, short_lives=2)
    drive.do(AdoptFailed(1, "gone", dead=True))
    assert (drive.machine.short_lives, drive.machine.work) == (0, Work.LAUNCH)


def test_a_container_that_was_taken_over_is_as_old_as_it_was():
    drive = Drive(P.READY, "c1", ready_for=RULES.stable_after - 2)
    drive.do(ContainerReady(1, handle("c1"), 5), after=1.0)
    drive.do(ContainerLost("c1", "killed"), after=1.0)
    assert drive.machine.short_lives == 0


def test_a_passivation_that_fails_leaves_the_session_as_it_was():
    drive = running()
    drive.tick()
    drive.do(WorkFailed(2, "store away"))
    assert drive.machine.phase is P.READY
    drive.tick()
    assert drive.acts() == [Passivate(3)]


def test_a_container_lost_during_passivation_is_replaced():
    drive = running()
    drive.tick()
    drive.do(ContainerLost("c1", "killed"))
    assert drive.acts()[0] == Abandon(2)
    assert isinstance(drive.acts()[-1], Launch)


def test_whoever_is_fenced_lets_go_without_touching_the_container():
    drive = running()
    drive.do(FencedOff(9))
    assert drive.acts() == [Release(ReleaseReason.FENCED)]
    for event in (Tick(), ContainerLost("c1", "x"), EndRequested(), ResumeRequested()):
        assert drive.do(event) == ()


def test_answers_to_older_work_are_ignored():
    drive = running()
    drive.do(HibernateRequested())
    for late in (LaunchFailed(1, "x"), AdoptFailed(1, "x", dead=True), Passivated(1), Ended(1)):
        assert drive.do(late) == ()
    assert drive.machine.phase is P.HIBERNATING


def test_an_answer_of_the_wrong_kind_is_a_bug_reported_with_its_history():
    drive = Drive()
    with pytest.raises(IllegalTransition) as caught:
        drive.machine.step(Stopped(1), drive.now)
    assert "Bound" in caught.value.history
    assert "starting/launch" in str(caught.value)


def test_an_epoch_never_goes_back():
    drive = Drive()
    with pytest.raises(IllegalTransition):
        drive.machine.step(ContainerReady(1, handle("c1"), 4), drive.now)


def test_a_machine_is_bound_once_and_first():
    machine = SessionMachine(RULES, lambda: 0.0)
    with pytest.raises(IllegalTransition):
        machine.step(Tick(), 0.0)
    drive = Drive()
    with pytest.raises(IllegalTransition):
        drive.machine.step(Bound(P.READY, 1), 0.0)


def test_the_tables_name_every_phase_and_leave_every_phase_but_the_end():
    assert set(MOVES) == set(WORKS) == set(P)
    assert [phase for phase in P if not MOVES[phase]] == [P.ENDED]


def test_a_session_whose_user_may_have_no_more_containers_fails_with_the_reason():
    drive = Drive()
    refused = ContainersExceeded(3, 3, ("s1", "s2", "s3"))
    drive.do(LaunchFailed(1, "three of three", refused))
    assert drive.machine.phase is P.FAILED
    assert drive.machine.refused is refused
    assert drive.machine.failure == "quota_exceeded: three of three"
    drive.do(ResumeRequested())
    assert (drive.machine.refused, drive.machine.failure) == (None, None)
    assert isinstance(drive.acts()[0], Launch)


def test_a_start_that_somebody_asked_for_has_all_its_tries():
    drive = Drive()
    for _ in range(RULES.max_launches):
        drive.do(LaunchFailed(drive.machine.work_number, "no"))
        if drive.machine.work is Work.BACKOFF:
            drive.tick()
    assert drive.machine.phase is P.FAILED
    drive.do(ResumeRequested())
    for _ in range(RULES.max_launches - 1):
        drive.do(LaunchFailed(drive.machine.work_number, "no"))
        assert drive.machine.phase is P.STARTING
        drive.tick()
    drive.ready()
    assert drive.machine.phase is P.READY


def test_failed_stops_of_one_hibernation_do_not_force_the_next():
    drive = running()
    drive.do(HibernateRequested())
    drive.do(WorkFailed(drive.machine.work_number, "no"))
    drive.tick()
    drive.do(Stopped(drive.machine.work_number))
    drive.do(ResumeRequested())
    drive.ready("c2")
    drive.do(HibernateRequested())
    for _ in range(RULES.max_stops):
        assert drive.acts()[-1].forced is False
        drive.do(WorkFailed(drive.machine.work_number, "no"))
        drive.tick()
    assert drive.acts()[-1].forced is True


def test_every_replacement_is_counted_and_a_long_life_ends_the_row_of_short_ones():
    drive = running()
    for life in range(3):
        drive.do(ContainerLost(f"c{life + 1}", "killed"), after=RULES.stable_after)
        assert drive.machine.restarts == life + 1
        drive.ready(f"c{life + 2}")
    # The first short life after that is nothing that anybody has to wait for.
    drive.do(ContainerLost("c4", "exit 1"), after=0.5)
    assert isinstance(drive.acts()[-1], Launch)
    assert drive.machine.restarts == 4


def pause(drive: Drive) -> float:
    assert drive.machine.work is Work.BACKOFF
    assert drive.machine.deadline is not None
    return drive.machine.deadline - drive.now


def test_whatever_failed_before_makes_nobody_wait_longer_for_something_else():
    drive = Drive(P.READY, "c1")
    drive.do(AdoptFailed(1, "no answer", dead=False))
    drive.tick()
    drive.do(AdoptFailed(2, "gone", dead=True))
    drive.do(LaunchFailed(drive.machine.work_number, "no disk"))
    assert pause(drive) == pytest.approx(1.0, rel=1e-3)
    drive.do(EndRequested())
    drive.do(WorkFailed(drive.machine.work_number, "store away"))
    assert pause(drive) == pytest.approx(1.0, rel=1e-3)


def test_a_passivation_that_fails_is_tried_again_after_the_whole_time():
    drive = running()
    drive.tick()
    drive.do(WorkFailed(2, "store away"), after=1.0)
    assert drive.machine.deadline == drive.now + RULES.rest_after


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [(1, 0.0, 0.5), (1, 1.0, 1.0), (2, 0.5, 1.5), (3, 0.0, 2.0), (9, 1.0, 8.0), (10**6, 1.0, 8.0)],
)
def test_pauses_grow_up_to_a_limit_and_are_spread_downwards(failures, jitter, seconds):
    assert RULES.backoff(failures, jitter) == pytest.approx(seconds)


def test_a_session_that_failed_and_sleeps_has_not_failed_any_more():
    drive = Drive()
    for _ in range(RULES.max_launches):
        drive.do(LaunchFailed(drive.machine.work_number, "no disk"))
        if drive.machine.work is Work.BACKOFF:
            drive.tick()
    assert drive.machine.failure is not None
    drive.do(HibernateRequested())
    assert (drive.machine.phase, drive.machine.failure) == (P.HIBERNATED, None)


def test_a_container_that_does_not_answer_in_time_gets_another_chance():
    drive = Drive(P.READY, "c1")
    drive.tick()
    assert drive.acts() == [Abandon(1)]
    assert pause(drive) == pytest.approx(1.0, rel=1e-3)
    drive.tick()
    assert drive.acts() == [Adopt(2, "c1", None)]


def test_launches_that_take_too_long_are_reported_so():
    drive = Drive()
    for _ in range(2 * RULES.max_launches - 1):
        drive.tick()
    assert (drive.machine.phase, drive.machine.failure) == (
        P.FAILED,
        "launch_failed: not ready in time",
    )


def test_a_container_that_came_ends_a_row_of_failures():
    drive = Drive()
    drive.do(LaunchFailed(1, "no disk"))
    drive.tick()
    drive.ready("c1")
    drive.do(ContainerLost("c1", "killed"), after=RULES.stable_after)
    drive.do(LaunchFailed(drive.machine.work_number, "no disk"))
    assert pause(drive) == pytest.approx(1.0, rel=1e-3)


def test_replacements_are_counted_on_from_the_record():
    machine = SessionMachine(RULES, lambda: 0.0)
    machine.step(Bound(phase=P.READY, epoch=5, container_id="c1", restarts=3), 100.0)
    machine.step(AdoptFailed(1, "gone", dead=True), 101.0)
    assert machine.restarts == 4


def test_followers_hear_of_a_session_s_end_and_not_of_its_owner_s():
    for event, kinds in ((FencedOff(9), []), (EndRequested(), ["ended"])):
        drive = running()
        drive.do(event)
        if kinds:
            drive.do(Ended(drive.machine.work_number))
        assert drive.machine.released is not None
        said = [each.type for each in drive.commands if isinstance(each, Emit)]
        assert [kind for kind in said if kind != "status"] == kinds
