"""Decides the size of a terminal while several windows show it, each in its own. Pure; no I/O.

A window's size is a claim. One that does not show the terminal (hidden, or not measured yet) makes none,
and a terminal that nobody shows keeps the size it has. The rule is tmux's ``window-size``: ``latest``, the
window that a person used last; ``smallest``, so that all of them show the whole; ``largest``. The latter two
look at columns and rows apart, so the size may be no single window's.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard, get_args

Size = tuple[int, int]
Rule = Literal["latest", "smallest", "largest"]
RULES: tuple[Rule, ...] = get_args(Rule)
DEFAULT: Rule = "latest"


class Claim(Protocol):
    """A window that may show the terminal. ``used``: when it was used last, larger is later."""

    size: Size | None
    arrived: int
    used: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """The size that a terminal is to have, and whose claims it follows."""

    size: Size
    setters: frozenset[int]


def is_rule(value: object) -> TypeGuard[Rule]:
    """Return whether this names a rule."""
    return value in RULES


def decide(rule: Rule, windows: Mapping[int, Claim]) -> Sizing | None:
    """Return the size by the windows' keys; None: nobody shows the terminal."""
    shown = {key: (window.size, window) for key, window in windows.items() if window.size}
    if not shown:
        return None
    if rule == "latest":
        latest = max(shown, key=lambda key: (shown[key][1].used, -shown[key][1].arrived))
        return Sizing(shown[latest][0], frozenset({latest}))
    extreme = min if rule == "smallest" else max
    cols = extreme(size[0] for size, _ in shown.values())
    rows = extreme(size[1] for size, _ in shown.values())
    setters = (key for key, (size, _) in shown.items() if size[0] == cols or size[1] == rows)
    return Sizing((cols, rows), frozenset(setters))
