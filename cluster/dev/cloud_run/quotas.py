"""Quotas of a project and region: how many resources there are, and how often they are called for. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cluster.dev.cloud_run.errors import exhausted
from cluster.dev.cloud_run.names import Location

_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a project and region; requests are those of a minute."""

    services: int = 1000
    instances: int = 1000
    write_requests: int = 180
    read_requests: int = 3000


class Quotas:
    """Counts calls by project and region, and refuses what is beyond the limits."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._default = limits or Limits()
        self._limits: dict[Location, Limits] = {}
        self._calls: dict[tuple[Location, str], deque[float]] = {}

    def limits(self, location: Location) -> Limits:
        """Return the limits of a project and region."""
        return self._limits.get(location, self._default)

    def limit(self, location: Location, limits: Limits) -> None:
        """Set the limits of a project and region."""
        self._limits[location] = limits

    def count_call(self, location: Location, now: float, *, writes: bool) -> None:
        """Note a call. Raises ApiError when there were too many within the last minute."""
        metric = "write_requests" if writes else "read_requests"
        limits = self.limits(location)
        most = limits.write_requests if writes else limits.read_requests
        calls = self._calls.setdefault((location, metric), deque())
        while calls and calls[0] <= now - _WINDOW_SECONDS:
            calls.popleft()
        if len(calls) >= most:
            word = "Write" if writes else "Read"
            limit = f"{word} requests per minute per region"
            raise exhausted(location.project, location.region, metric, limit, most)
        calls.append(now)

    def check_room(self, location: Location, collection: str, present: int) -> None:
        """Raise ApiError when there may be no more resources of a collection."""
        limits = self.limits(location)
        most = limits.services if collection == "services" else limits.instances
        if present >= most:
            limit = f"{collection.capitalize()} per region"
            raise exhausted(location.project, location.region, collection, limit, most)
