"""The checker accepts what can be explained and rejects what cannot."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.support.linearizability import (
    UNKNOWN,
    Call,
    Model,
    NotLinearizable,
    Recorder,
    Undecided,
    fenced_register,
    linearize,
    transactions,
)


def done(began: int, ended: int, writes: dict, read: dict) -> Call:
    return Call(began, writes, ended, read)


def lost(began: int, writes: dict) -> Call:
    return Call(began, writes)


GOOD = {
    "one after the other": [done(1, 2, {"a": 1}, {}), done(3, 4, {}, {"a": 1})],
    "a read beside a write sees the old": [done(1, 4, {"a": 1}, {}), done(2, 3, {}, {"a": None})],
    "or the new": [done(1, 4, {"a": 1}, {}), done(2, 3, {}, {"a": 1})],
    "an unknown write that happened": [lost(1, {"a": 1}), done(2, 3, {}, {"a": 1})],
    "one that did not": [lost(1, {"a": 1}), done(2, 3, {}, {"a": None})],
    "and one that happened late": [
        lost(1, {"a": 1}),
        done(2, 3, {}, {"a": None}),
        done(4, 5, {}, {"a": 1}),
    ],
    "nothing": [],
}
BAD = {
    "a stale read": [done(1, 2, {"a": 1}, {}), done(3, 4, {}, {"a": None})],
    "a read of what is written later": [done(1, 2, {}, {"a": 1}), done(3, 4, {"a": 1}, {})],
    "a lost update": [
        done(1, 5, {"n": 1}, {"n": None}),
        done(2, 6, {"n": 2}, {"n": None}),
    ],
    "half of a transaction": [
        done(1, 6, {"a": 1, "b": 1}, {}),
        done(2, 3, {}, {"a": 1, "b": None}),
    ],
    "write skew": [
        done(1, 5, {"a": 1}, {"a": None, "b": None}),
        done(2, 6, {"b": 1}, {"a": None, "b": None}),
    ],
    "two readers that disagree on the order": [
        done(1, 20, {"a": 1}, {}),
        done(2, 21, {"b": 1}, {}),
        done(3, 4, {}, {"a": 1, "b": None}),
        done(5, 6, {}, {"a": None, "b": 1}),
    ],
    "a read that goes back": [
        done(1, 20, {"a": 1}, {}),
        done(2, 3, {}, {"a": 1}),
        done(4, 5, {}, {"a": None}),
    ],
    "an unknown write seen before it began": [done(1, 2, {}, {"a": 1}), lost(3, {"a": 1})],
    "an unknown write that happened twice": [
        lost(1, {"a": 1}),
        done(2, 3, {}, {"a": 1}),
        done(4, 5, {"a": 2}, {}),
        done(6, 7, {}, {"a": 1}),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_accepts(name):
    order = linearize(transactions(), GOOD[name])
    assert [call for call in GOOD[name] if call.ended is not None and call not in order] == []


@pytest.mark.parametrize("name", BAD)
def test_rejects(name):
    with pytest.raises(NotLinearizable):
        linearize(transactions(), BAD[name])


def test_a_fenced_writer_is_refused_from_the_next_activation_on():
    good = [
        Call(1, ("activate",), 2, 1),
        Call(3, ("save", 1, "x"), 8, True),
        Call(4, ("activate",), 7, 2),
        Call(9, ("save", 1, "y"), 10, False),
        Call(11, ("read",), 12, (2, "x")),
    ]
    linearize(fenced_register(), good)
    zombie = [*good[:3], Call(9, ("save", 1, "y"), 10, True)]
    with pytest.raises(NotLinearizable, match="save"):
        linearize(fenced_register(), zombie)
    twice = [Call(1, ("activate",), 5, 1), Call(2, ("activate",), 6, 1)]
    with pytest.raises(NotLinearizable):
        linearize(fenced_register(), twice)


def test_a_search_that_takes_too_long_is_given_up():
    calls = [done(n, 100 + n, {"a": n}, {}) for n in range(1, 12)]
    calls.append(done(300, 301, {}, {"a": "never"}))
    with pytest.raises(Undecided):
        linearize(transactions(), calls, limit=100)


async def test_a_recorder_notes_the_order_of_events_and_what_stays_unknown():
    recorder = Recorder()
    async with recorder.call({"a": 1}) as outer:
        async with recorder.call({}) as inner:
            inner.answered = {"a": None}
        outer.answered = {}
    with pytest.raises(RuntimeError):
        async with recorder.call({"a": 2}):
            raise RuntimeError
    first, second, third = recorder.calls
    assert first.began < second.began < second.ended < first.ended < third.began
    assert third.answered is UNKNOWN
    assert third.ended is None
    linearize(transactions(), recorder.calls)


@st.composite
def histories(draw: st.DrawFn) -> list[Call]:
    count = draw(st.integers(1, 5))
    times = iter(draw(st.permutations(range(2 * count))))
    calls = []
    for _ in range(count):
        began, ended = sorted((next(times), next(times)))
        writes = draw(st.dictionaries(st.sampled_from("ab"), st.integers(1, 2), max_size=2))
        read = draw(
            st.dictionaries(st.sampled_from("ab"), st.sampled_from([None, 1, 2]), max_size=1)
        )
        calls.append(
            lost(began, writes)
            if draw(st.integers(0, 4)) == 0
            else done(began, ended, writes, read)
        )
    return calls


def explained(model: Model, calls: list[Call]) -> bool:
    """Try every order of every subset that holds all the answered ones."""
    answered = [call for call in calls if call.answered is not UNKNOWN]
    unknown = [call for call in calls if call.answered is UNKNOWN]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            for order in itertools.permutations([*answered, *some]):
                if _respects_time(order) and _replays(model, order):
                    return True
    return False


def _respects_time(order: tuple[Call, ...]) -> bool:
    return not any(
        later.ended is not None and later.ended < earlier.began
        for earlier, later in itertools.combinations(order, 2)
    )


def _replays(model: Model, order: tuple[Call, ...]) -> bool:
    state = model.initial
    for call in order:
        state = model.step(state, call.asked, call.answered)
        if state is None:
            return False
    return True


@settings(max_examples=300)
@given(histories())
def test_agrees_with_trying_every_order(calls):
    try:
        linearize(transactions(), calls)
    except NotLinearizable:
        assert not explained(transactions(), calls)
    else:
        assert explained(transactions(), calls)
