"""Counts and distributions that actors keep of themselves: bounded, plain data when read.

``stats()`` of every actor answers a flat dict: names that end in ``_total`` are counters, names
that end in ``_seconds`` may be distributions (see ``Histogram.snapshot``), all others are gauges.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

LATENCY_BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds in seconds that fit everything from an actor call to a cold launch."""


class Histogram:
    """A distribution in fixed buckets; ``bounds`` are inclusive upper bounds, ascending."""

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS) -> None:
        if list(bounds) != sorted(set(bounds)) or not bounds:
            raise ValueError("bounds must ascend and not be empty")
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self._counts)

    @property
    def mean(self) -> float:
        """The mean of all values; 0 when there are none."""
        return self._sum / self.count if self.count else 0.0

    def snapshot(self) -> dict[str, Any]:
        """Return ``{"bounds", "counts", "sum", "count"}``; the last count is of values past all bounds."""
        return {
            "bounds": list(self._bounds),
            "counts": list(self._counts),
            "sum": self._sum,
            "count": self.count,
        }


def merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up snapshots of histograms that have the same bounds. Raises ValueError if they have not."""
    if not parts:
        raise ValueError("nothing to merge")
    bounds = list(parts[0]["bounds"])
    if any(list(part["bounds"]) != bounds for part in parts):
        raise ValueError("histograms with different bounds do not add up")
    counts = [sum(column) for column in zip(*(part["counts"] for part in parts), strict=True)]
    return {
        "bounds": bounds,
        "counts": counts,
        "sum": sum(part["sum"] for part in parts),
        "count": sum(counts),
    }
