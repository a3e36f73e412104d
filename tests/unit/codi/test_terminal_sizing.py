"""The size of a terminal among several windows, by rule."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.codi.terminals.sizing import DEFAULT, RULES, Sizing, decide, is_rule


@dataclass
class Window:
    size: tuple[int, int] | None
    arrived: int = 0
    used: int = 0


DESK, PHONE, TALL = (140, 40), (40, 20), (60, 90)


@pytest.mark.parametrize(
    ("windows", "latest", "smallest", "largest"),
    [
        ([], None, None, None),
        # Nobody shows it: hidden, or not measured yet.
        ([Window(None, 1, 9), Window(None, 2, 8)], None, None, None),
        ([Window(DESK)], (DESK, {0}), (DESK, {0}), (DESK, {0})),
        # Nobody used it yet: whoever came first.
        ([Window(DESK, 1), Window(PHONE, 2)], (DESK, {0}), (PHONE, {1}), (DESK, {0})),
        ([Window(DESK, 1, 3), Window(PHONE, 2, 4)], (PHONE, {1}), (PHONE, {1}), (DESK, {0})),
        # A hidden one does not count though it was used last.
        ([Window(DESK, 1, 3), Window(None, 2, 4)], (DESK, {0}), (DESK, {0}), (DESK, {0})),
        # Columns of one and rows of another: all of it is seen by both, or by neither.
        (
            [Window(DESK, 1, 1), Window(TALL, 2, 2)],
            (TALL, {1}),
            ((60, 40), {0, 1}),
            ((140, 90), {0, 1}),
        ),
        (
            [Window(DESK, 1, 1), Window(PHONE, 2, 3), Window(TALL, 3, 2)],
            (PHONE, {1}),
            (PHONE, {1}),
            ((140, 90), {0, 2}),
        ),
        ([Window(DESK, 1), Window(DESK, 2)], (DESK, {0}), (DESK, {0, 1}), (DESK, {0, 1})),
    ],
)
def test_the_rule_decides_between_the_windows_that_show_it(windows, latest, smallest, largest):
    for rule, expected in (("latest", latest), ("smallest", smallest), ("largest", largest)):
        sizing = None if expected is None else Sizing(expected[0], frozenset(expected[1]))
        assert decide(rule, dict(enumerate(windows))) == sizing, rule


@pytest.mark.parametrize("value", ["Latest", "manual", "", None, 1, [], {}])
def test_what_is_no_rule_is_none(value):
    assert not is_rule(value)
    assert all(map(is_rule, RULES))
    assert DEFAULT in RULES


SIZES = st.tuples(st.integers(1, 1000), st.integers(1, 1000))


@given(st.lists(SIZES | st.none(), min_size=1, max_size=8))
def test_smallest_fits_into_every_window_and_every_window_into_largest(sizes):
    windows = {key: Window(size, key, key) for key, size in enumerate(sizes)}
    shown = [size for size in sizes if size is not None]
    for rule, fits in (("smallest", min), ("largest", max)):
        sizing = decide(rule, windows)
        if not shown:
            assert sizing is None
            continue
        assert sizing.size == (fits(c for c, _ in shown), fits(r for _, r in shown))
        assert sizing.setters
        assert all(windows[key].size is not None for key in sizing.setters)
