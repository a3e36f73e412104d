"""Signals that keep a session awake, those that do not, and the time of its sleep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.records.idleness import Activity, Idleness
from actors.idleness.rules import (
    ENOUGH,
    IdleRules,
    Sample,
    Signal,
    Watch,
    begun,
    is_due,
    news,
    observe,
    quiet,
    sleeps_at,
)

AFTER = 600.0
UNIX = 1_000_000.0
WEIGHTS = {
    Signal.INPUT: 1.0,
    Signal.CPU: 1.0,
    Signal.OUTPUT: 0.5,
    Signal.LISTENERS: 0.5,
    Signal.CLIENTS: 0.5,
}
RULES = IdleRules(AFTER, WEIGHTS, cpu_share=0.05)
KNOWN = Idleness(session_id="s1")


def sample(at: float, clients: int = 0, **activity) -> Sample:
    return Sample(UNIX + at, at, Activity(at=at, **activity), clients)


def seen(*samples: Sample, rules: IdleRules = RULES) -> Watch:
    watch = begun("c1", samples[0])
    for one in samples[1:]:
        watch = observe(watch, one, rules)
    return watch


def test_a_container_that_nobody_has_looked_at_before_counts_as_awake():
    watch = seen(sample(100, input_age=9000.0))
    assert sleeps_at(watch, RULES) is None
    assert not is_due(watch, RULES, None)


def test_a_quiet_session_sleeps_when_its_time_has_passed():
    watch = seen(sample(0), sample(10))
    assert sleeps_at(watch, RULES) == UNIX + AFTER
    assert not is_due(seen(sample(0), sample(AFTER - 1)), RULES, None)
    assert is_due(seen(sample(0), sample(10), sample(AFTER)), RULES, None)


@pytest.mark.parametrize(
    ("activity", "clients"),
    [
        ({"input_age": 3.0}, 0),
        ({"unread": 1}, 0),
        ({"busy": 1}, 0),
        ({"cpu_seconds": 0.6}, 0),
        ({"output_age": 1.0}, 1),
        ({"output_age": 1.0, "listeners": 1}, 0),
        ({"listeners": 2}, 3),
    ],
)
def test_what_keeps_a_session_awake(activity, clients):
    watch = seen(sample(0), sample(10, clients, **activity))
    assert watch.awake
    assert watch.awake_at == 10
    assert sleeps_at(watch, RULES) is None


@pytest.mark.parametrize(
    ("activity", "clients"),
    [
        ({}, 0),
        ({"output_age": 1.0}, 0),
        ({"listeners": 5}, 0),
        ({}, 5),
        ({"cpu_seconds": 0.4}, 1),
        ({"input_age": 11.0}, 0),
    ],
)
def test_what_does_not(activity, clients):
    watch = seen(sample(0), sample(10, clients, **activity))
    assert not watch.awake
    assert sleeps_at(watch, RULES) == UNIX + AFTER


def test_life_between_two_samples_is_seen_by_the_later_one():
    assert seen(sample(0), sample(100, input_age=99.0)).awake
    assert not seen(sample(0), sample(50), sample(100, input_age=99.0)).awake


def test_sleep_comes_a_whole_time_after_the_last_sign_of_life():
    watch = seen(sample(0), sample(400, input_age=1.0), sample(500))
    assert sleeps_at(watch, RULES) == UNIX + 400 + AFTER
    assert not is_due(observe(watch, sample(999), RULES), RULES, None)
    assert is_due(observe(watch, sample(1000), RULES), RULES, None)


def test_a_veto_holds_until_it_ends():
    watch = seen(sample(0), sample(AFTER + 1))
    until = UNIX + 5000
    known = Idleness(session_id="s1", sleeps_at=sleeps_at(watch, RULES), keep_awake_until=until)
    assert known.due_at == until
    assert not is_due(watch, RULES, until)
    assert is_due(observe(watch, sample(5000), RULES), RULES, until)
    assert is_due(watch, RULES, UNIX), "one that has ended counts no more"


def test_sessions_never_sleep_when_so_configured():
    rules = IdleRules(0.0, WEIGHTS)
    watch = seen(sample(0), sample(1e9), rules=rules)
    assert sleeps_at(watch, rules) is None


def test_what_is_reported_changes_with_the_reasons_and_not_with_every_sample():
    typing = seen(sample(0), sample(10, input_age=1.0))
    first = news(typing, RULES, KNOWN)
    assert first is not None
    assert (first.awake_because, first.sleeps_at) == (("input",), None)
    assert news(observe(typing, sample(20, input_age=1.0), RULES), RULES, first) is None
    still = observe(typing, sample(30, clients=1), RULES)
    second = news(still, RULES, first)
    assert second is not None
    assert (second.awake_because, second.signals) == ((), ("clients",))
    assert second.sleeps_at == UNIX + 10 + AFTER
    assert news(observe(still, sample(40, clients=1), RULES), RULES, second) is None


def test_closing_asks_for_what_has_happened_since_the_sample():
    watch = seen(sample(0), sample(10), sample(700, cpu_seconds=2.0))
    assert quiet(watch, RULES).model_dump() == {
        "since": 700,
        "cpu_seconds": 2.0,
        "cpu_share": 0.05,
    }


activities = st.builds(
    Activity,
    input_age=st.none() | st.floats(0, 100),
    output_age=st.none() | st.floats(0, 100),
    cpu_seconds=st.floats(0, 100),
    busy=st.integers(0, 2),
    unread=st.integers(0, 2),
    listeners=st.integers(0, 2),
)


@given(
    st.lists(st.tuples(st.floats(0.1, 300), activities, st.integers(0, 2)), max_size=40),
    st.none() | st.floats(UNIX, UNIX + 10_000),
)
def test_nothing_sleeps_within_its_time_after_a_sign_of_life_or_under_a_veto(steps, veto):
    watch, at, last = begun("c1", sample(0)), 0.0, 0.0
    for pause, activity, clients in steps:
        at += pause
        before = watch
        watch = observe(watch, Sample(UNIX + at, at, activity, clients), RULES)
        typed = activity.input_age is not None and activity.input_age <= pause
        if typed or activity.busy or activity.unread:
            last = at
        weight = sum(WEIGHTS[signal] for signal in watch.signals)
        assert watch.awake is (weight >= ENOUGH)
        assert watch.awake_at >= before.awake_at
        if is_due(watch, RULES, veto):
            assert at - last >= AFTER * (1 - 1e-9)
            assert veto is None or UNIX + at >= veto


def test_a_moment_to_sleep_that_moved_by_more_than_a_second_is_reported():
    quiet = seen(sample(0), sample(10))
    known = news(quiet, RULES, KNOWN)
    assert known is not None
    assert (known.sleeps_at, known.updated_at) == (UNIX + AFTER, UNIX + 10)
    near = known.model_copy(update={"sleeps_at": UNIX + AFTER + 1.0})
    assert news(quiet, RULES, near) is None
    for other in (UNIX + AFTER + 1.1, UNIX + AFTER - 1.1, None):
        moved = news(quiet, RULES, known.model_copy(update={"sleeps_at": other}))
        assert moved is not None
        assert moved.sleeps_at == UNIX + AFTER


@pytest.mark.parametrize(
    ("before", "after", "signals"),
    [
        # Of the processor what was used in between counts, not what was ever used.
        ({"cpu_seconds": 9000.0}, {"cpu_seconds": 9001.0}, set()),
        ({"cpu_seconds": 9000.0}, {"cpu_seconds": 9005.0}, {Signal.CPU}),
        # Whatever was as long ago as the last sample came after it.
        ({}, {"input_age": 100.0}, {Signal.INPUT}),
        ({}, {"input_age": 100.1}, set()),
        ({}, {"output_age": 100.0}, {Signal.OUTPUT}),
    ],
)
def test_what_happened_between_two_samples_is_a_sign_of_life(before, after, signals):
    assert seen(sample(0, **before), sample(100, **after)).signals == signals


def test_samples_that_are_close_together_count_as_they_are():
    assert seen(sample(0), sample(0.5, cpu_seconds=0.4)).signals == {Signal.CPU}
    assert seen(sample(0), sample(0.5, input_age=0.8)).signals == set()
    assert seen(sample(5), sample(5, cpu_seconds=0.0)).signals == set()


def test_a_signal_without_a_weight_keeps_nothing_awake():
    rules = IdleRules(AFTER, {Signal.INPUT: 1.0}, cpu_share=0.05)
    watch = seen(sample(0), sample(100, listeners=3), rules=rules)
    assert (watch.signals, watch.awake) == ({Signal.LISTENERS}, False)
    assert watch.container_id == "c1"


def test_the_shortest_time_until_sleep_is_one():
    rules = IdleRules(0.5, WEIGHTS, cpu_share=0.05)
    assert sleeps_at(seen(sample(0), sample(100), rules=rules), rules) == UNIX + 0.5
