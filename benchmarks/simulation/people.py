"""The people of a simulated day: when they come, type, pause, have lunch, and go home."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.simulation.timeline import HOUR


@dataclass(frozen=True, slots=True)
class Plan:
    """A day. The share ``new`` of people has no session; all others left one asleep the day before.

    ``at_nine`` of them come within one minute. ``die_at_noon`` containers end at once, others now and then.
    Whoever stops typing closes the page with chance ``closing``, and ends the session in the evening with
    chance ``ending``.
    ``warm`` actors and as many containers are kept ready.
    """

    people: int = 10_000
    at_nine: int = 1_000
    die_at_noon: int = 1_000
    deaths_an_hour: float = 0.002
    new: float = 0.1
    ending: float = 0.05
    closing: float = 0.2
    cores: int = 8
    warm: int = 64
    seed: int = 1


def arrival(plan: Plan, number: int, draw: random.Random) -> float:
    """Return when somebody comes: at nine, or in the two hours from eight on, log-normally."""
    if number < plan.at_nine:
        return 9 * HOUR + draw.uniform(0, 60)
    while (after := draw.lognormvariate(8.0, 0.6)) > 2 * HOUR:
        pass
    return 8 * HOUR + after


def spells(begins: float, draw: random.Random) -> Iterator[tuple[float, float]]:
    """Yield from when until when somebody types: quarters of hours, pauses, lunch, until the evening."""
    lunch = draw.gauss(12.25 * HOUR, 0.25 * HOUR)
    evening = max(begins + 4 * HOUR, draw.gauss(17.25 * HOUR, 0.75 * HOUR))
    while begins < evening:
        ends = min(evening, begins + draw.lognormvariate(7.0, 0.7))
        pause = draw.lognormvariate(6.2, 1.0)
        if lunch < ends + pause:
            ends = max(begins + 60, min(ends, lunch))
            pause, lunch = draw.uniform(0.5, 1.25) * HOUR, 24 * HOUR
        yield begins, ends
        begins = ends + pause
