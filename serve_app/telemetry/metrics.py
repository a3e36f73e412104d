"""Counts this replica's requests, as plain data that replicas and actors can exchange.

Names are the ADR's (12.2): ``api_response_time``, ``error_rate``, ``session_recovery_time``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from actors.core.statistics import Histogram

API_BOUNDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RATE_SECONDS = 300.0
_SLICE_SECONDS = 10.0
MAX_ROUTES = 200


class IngressMetrics:
    """The counters of one replica. Routes are templates (``/api/v1/sessions/{id}``), so bounded."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], Histogram] = {}
        self._answers: dict[tuple[str, str, str], int] = {}
        self._slices: deque[list[float]] = deque()
        self.recovery = Histogram()
        self.sockets = 0
        self.logins: dict[str, int] = {}

    def observe(self, method: str, route: str, status: int, seconds: float, now: float) -> None:
        """Count an answered request; ``now`` is monotonic."""
        if (method, route) not in self._times and len(self._times) >= MAX_ROUTES:
            method, route = "-", "other"
        self._times.setdefault((method, route), Histogram(API_BOUNDS)).observe(seconds)
        kind = (method, route, f"{status // 100}xx")
        self._answers[kind] = self._answers.get(kind, 0) + 1
        if not self._slices or now - self._slices[-1][0] >= _SLICE_SECONDS:
            self._slices.append([now, 0.0, 0.0])
        self._slices[-1][1] += 1
        self._slices[-1][2] += status >= 500
        while self._slices[0][0] < now - RATE_SECONDS:
            self._slices.popleft()

    def signed_in(self, result: str) -> None:
        """Count a sign-in by how it went."""
        self.logins[result] = self.logins.get(result, 0) + 1

    def snapshot(self, extra: Mapping[str, float]) -> dict[str, Any]:
        """Return everything as JSON values; ``extra`` are gauges of other parts of the replica."""
        return {
            "api": [
                {"method": method, "route": route, "times": times.snapshot()}
                for (method, route), times in self._times.items()
            ],
            "answers": [
                {"method": method, "route": route, "status": status, "count": count}
                for (method, route, status), count in self._answers.items()
            ],
            "recent": [
                sum(part[1] for part in self._slices),
                sum(part[2] for part in self._slices),
            ],
            "recovery": self.recovery.snapshot(),
            "logins": dict(self.logins),
            "gauges": {"sockets": self.sockets, **extra},
        }
