"""Sums over actors that come and go. Pure.

A counter of one process starts again at zero with the process; the sum over all of them must not fall
for that. So what an actor last said is kept, and moved to a lasting share when it is gone or has
started again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from actors.core.statistics import merge


class Totals:
    """The sum of many actors' ``stats()``: counters (``_total``) and distributions never fall.

    Gauges are summed over the actors that were heard of last. Keeps one answer per living actor.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Mapping[str, Any]] = {}
        self._past: dict[str, Any] = {}

    def update(self, source: str, stats: Mapping[str, Any]) -> None:
        """Take what an actor says now."""
        before = self._latest.get(source)
        if before is not None and _has_restarted(before, stats):
            self._past = _sum(self._past, _lasting(before))
        self._latest[source] = stats

    def keep_only(self, living: Collection[str]) -> None:
        """Let go of the actors that are not among the living; their counts stay."""
        for source in [source for source in self._latest if source not in living]:
            self._past = _sum(self._past, _lasting(self._latest.pop(source)))

    def snapshot(self) -> dict[str, Any]:
        """Return the sums, as ``stats()`` of one actor would be."""
        total = dict(self._past)
        for stats in self._latest.values():
            total = _sum(total, stats)
        return total


def _has_restarted(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return any(_size(now.get(key)) < _size(value) for key, value in _lasting(before).items())


def _size(value: Any) -> float:
    return float(value["count"] if isinstance(value, Mapping) else value or 0)


def _lasting(stats: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in stats.items() if k.endswith("_total") or isinstance(v, Mapping)}


def _sum(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    total = dict(left)
    for key, value in right.items():
        if isinstance(value, Mapping):
            total[key] = merge([total[key], value]) if key in total else dict(value)
        elif isinstance(value, int | float):
            total[key] = total.get(key, 0) + value
    return total
