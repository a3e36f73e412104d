"""All metrics of the server as one Prometheus exposition (text format 0.0.4). Pure.

Every actor's ``stats`` become samples labelled with the actor's name; the replicas' counts are added
up. The ADR's six names (12.2) stand among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from serve_app.telemetry.metric_help import help_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "coditect_"

# What actors report under names that no unit ends (Prometheus, "Metric and label naming").
_UNITS = {
    "checked_at": "checked_at_timestamp_seconds",
    "sweep_duration": "sweep_duration_seconds",
    "look_duration": "look_duration_seconds",
}


class Exposition(Collector):
    """Collects families in order; samples of one family stay together and have the same labels."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {}

    def collect(self) -> Iterable[Metric]:
        """Return the families, for prometheus-client to write."""
        return self._families.values()

    def number(self, name: str, value: float, **labels: str) -> None:
        """Add a sample of a counter, whose name ends in ``_total``, or of a gauge."""
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        self._family(kind, name, labels).add_metric(labels.values(), value)

    def histogram(self, name: str, data: Mapping[str, Any], **labels: str) -> None:
        """Add a distribution (see ``actors.core.statistics.Histogram.snapshot``)."""
        bounds = [*(f"{bound:g}" for bound in data["bounds"]), "+Inf"]
        buckets = list(zip(bounds, accumulate(data["counts"]), strict=True))
        self._family(HistogramMetricFamily, name, labels).add_metric(
            labels.values(), buckets, data["sum"]
        )

    def _family(self, kind: Callable[..., Metric], name: str, labels: Mapping[str, str]) -> Any:
        if name not in self._families:
            explained = help_of(name.removeprefix(PREFIX))
            self._families[name] = kind(name, explained, labels=labels)
        return self._families[name]


def expose(
    replicas: Mapping[str, Mapping[str, Any]],
    actors: Mapping[str, Mapping[str, Any]],
    supervisor: Mapping[str, Any],
    *,
    active_containers: int,
    disk: Mapping[str, int] | None = None,
    cloud_run: Mapping[str, int] | None = None,
) -> str:
    """Write everything: ``replicas`` by id, ``actors`` as ``collect_metrics`` returns them.

    ``cloud_run`` has the room that each place has left.
    """
    exposition = Exposition()
    _adr(exposition, replicas, actors, active_containers)
    for replica, data in sorted(replicas.items()):
        for name, value in data["gauges"].items():
            exposition.number(f"{PREFIX}ingress_{name}", value, replica=replica)
        for result, count in data["logins"].items():
            exposition.number(f"{PREFIX}logins_total", count, replica=replica, result=result)
    for name, entry in sorted(actors.items()):
        kind = str(entry.get("kind", "actor"))
        _stats(exposition, kind, entry.get("stats", {}), {"actor": name})
    _stats(exposition, "supervisor", supervisor, {})
    for phase, count in supervisor.get("sessions", {}).items():
        exposition.number(f"{PREFIX}sessions", count, phase=str(phase))
    for name, value in (disk or {}).items():
        exposition.number(f"{PREFIX}disk_{name}", value)
    for place, left in (cloud_run or {}).items():
        exposition.number(f"{PREFIX}cloud_run_room", left, place=place)
    return generate_latest(exposition).decode()


def _adr(
    exposition: Exposition,
    replicas: Mapping[str, Mapping[str, Any]],
    actors: Mapping[str, Mapping[str, Any]],
    active_containers: int,
) -> None:
    for name, entry in sorted(actors.items()):
        if entry.get("kind") == "pool":
            stats = entry["stats"]
            exposition.number("pool_utilization", stats.get("pool_utilization", 0.0), pool=name)
            if "container_launch_seconds" in stats:
                times = stats["container_launch_seconds"]
                exposition.histogram("container_launch_time", times, pool=name)
    exposition.number("active_containers", active_containers)
    for replica, data in sorted(replicas.items()):
        exposition.histogram("session_recovery_time", data["recovery"], replica=replica)
        for entry in data["api"]:
            labels = {name: entry[name] for name in ("method", "route")} | {"replica": replica}
            exposition.histogram("api_response_time", entry["times"], **labels)
        for entry in data["answers"]:
            labels = {name: entry[name] for name in ("method", "route", "status")}
            exposition.number(
                f"{PREFIX}api_requests_total", entry["count"], **labels, replica=replica
            )
    requests, errors = (sum(data["recent"][i] for data in replicas.values()) for i in (0, 1))
    exposition.number("error_rate", errors / requests if requests else 0.0)


def _stats(
    exposition: Exposition, kind: str, stats: Mapping[str, Any], labels: dict[str, str]
) -> None:
    """Write an actor's flat statistics; what is neither number nor distribution is left out."""
    for name, value in stats.items():
        full = f"{PREFIX}{kind}_{_UNITS.get(name, name)}"
        if isinstance(value, int | float):
            exposition.number(full, value, **labels)
        elif isinstance(value, Mapping) and {"bounds", "counts", "sum"} <= value.keys():
            exposition.histogram(full, value, **labels)
