"""Virtual time: what happens when, numbers over time, and things of which only so many go on at once."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from typing import Any

HOUR = 3600.0
COUNTED = (8 * HOUR, 20 * HOUR)


class Timeline:
    """Everything that will happen, in the order of its time in seconds; all that is drawn comes from here."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._numbers, self._ids = count(), count()
        self._events: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []

    def run(self, until: float) -> None:
        """Let everything happen up to that time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, act, given = heapq.heappop(self._events)
            act(*given)
        self.now = until

    def at(self, when: float, act: Callable[..., Any], *given: Any) -> None:
        """Have something happen then, or at once if that is over."""
        heapq.heappush(self._events, (max(when, self.now), next(self._numbers), act, given))

    def after(self, mean: float, act: Callable[..., Any], *given: Any) -> None:
        """Have something happen after a time that is drawn: mostly near the mean, seldom thrice it."""
        self.at(self.now + mean * self.random.lognormvariate(-0.08, 0.4), act, *given)

    def new_id(self, kind: str) -> str:
        """Return another identifier."""
        return f"{kind}{next(self._ids)}"


class Gauge:
    """A number over time: how many seconds from ``COUNTED`` it had which value."""

    def __init__(self, timeline: Timeline) -> None:
        self.value = 0
        self._timeline = timeline
        self._seconds: Counter[int] = Counter()
        self._since = 0.0

    def set(self, value: int) -> None:
        """Take note of another value."""
        if value != self.value:
            begins, ends = COUNTED
            since, until = max(self._since, begins), min(self._timeline.now, ends)
            self._seconds[self.value] += max(0.0, until - since)
            self.value, self._since = value, self._timeline.now

    def quantile(self, q: float) -> int:
        """Return what it did not exceed for that part of the time; its maximum for 1."""
        left = q * sum(self._seconds.values())
        for value in sorted(self._seconds):
            left -= self._seconds[value]
            if left <= 1e-6 and q < 1:
                return value
        return max(self._seconds, default=self.value)


class Turns:
    """At most so many at once, first come first served."""

    def __init__(self, at_once: int) -> None:
        self.at_once, self.taken = at_once, 0
        self._queue: deque[Callable[[], None]] = deque()

    def take(self, begin: Callable[[], None]) -> None:
        """Begin as soon as there is a turn; ``give_back`` ends it."""
        self._queue.append(begin)
        self._next()

    def give_back(self) -> None:
        """Let the next one begin."""
        self.taken -= 1
        self._next()

    def _next(self) -> None:
        if self._queue and self.taken < self.at_once:
            self.taken += 1
            self._queue.popleft()()
