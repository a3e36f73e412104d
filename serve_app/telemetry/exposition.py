"""All metrics of the server as one Prometheus exposition (text format 0.0.4). Pure.

Every actor's ``stats`` become samples labelled with the actor's name; the replicas' counts are added
up. The ADR's six names (12.2) stand among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from serve_app.telemetry.metric_help import help_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "coditect_"

# What actors report under names that no unit ends (Prometheus, "Metric and label naming").
_UNITS = {
    "checked_at": "checked_at_timestamp_seconds",
    "sweep_duration": "sweep_duration_seconds",
    "look_duration": "look_duration_seconds",
}


class Exposition:
    """Collects families in order and writes them; samples of one family stay together."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, list[str]]] = {}

    def number(self, name: str, kind: str, value: float, **labels: str) -> None:
        """Add a sample of a gauge or counter."""
        self._lines(name, kind).append(f"{name}{_labels(labels)} {_shown(value)}")

    def histogram(self, name: str, data: Mapping[str, Any], **labels: str) -> None:
        """Add a distribution (see ``actors.core.statistics.Histogram.snapshot``)."""
        lines, total = self._lines(name, "histogram"), 0
        for bound, count in zip([*data["bounds"], "+Inf"], data["counts"], strict=True):
            total += count
            le = bound if isinstance(bound, str) else _shown(bound)
            lines.append(f"{name}_bucket{_labels(labels | {'le': le})} {total}")
        lines.append(f"{name}_sum{_labels(labels)} {_shown(data['sum'])}")
        lines.append(f"{name}_count{_labels(labels)} {data['count']}")

    def text(self) -> str:
        """Return the exposition."""
        parts: list[str] = []
        for name, (kind, lines) in self._families.items():
            parts.append(f"# HELP {name} {help_of(name.removeprefix(PREFIX))}")
            parts.append(f"# TYPE {name} {kind}")
            parts += lines
        return "\n".join(parts) + "\n"

    def _lines(self, name: str, kind: str) -> list[str]:
        return self._families.setdefault(name, (kind, []))[1]


def expose(
    replicas: Mapping[str, Mapping[str, Any]],
    actors: Mapping[str, Mapping[str, Any]],
    supervisor: Mapping[str, Any],
    *,
    active_containers: int,
    disk: Mapping[str, int] | None = None,
) -> str:
    """Write everything: ``replicas`` by id, ``actors`` as ``collect_metrics`` returns them."""
    exposition = Exposition()
    _adr(exposition, replicas, actors, active_containers)
    for replica, data in sorted(replicas.items()):
        for name, value in data["gauges"].items():
            exposition.number(f"{PREFIX}ingress_{name}", "gauge", value, replica=replica)
        for result, count in data["logins"].items():
            exposition.number(
                f"{PREFIX}logins_total", "counter", count, replica=replica, result=result
            )
    for name, entry in sorted(actors.items()):
        kind = str(entry.get("kind", "actor"))
        _stats(exposition, kind, entry.get("stats", {}), {"actor": name})
    _stats(exposition, "supervisor", supervisor, {})
    for phase, count in supervisor.get("sessions", {}).items():
        exposition.number(f"{PREFIX}sessions", "gauge", count, phase=str(phase))
    for name, value in (disk or {}).items():
        exposition.number(f"{PREFIX}disk_{name}", "gauge", value)
    return exposition.text()


def _adr(
    exposition: Exposition,
    replicas: Mapping[str, Mapping[str, Any]],
    actors: Mapping[str, Mapping[str, Any]],
    active_containers: int,
) -> None:
    pools = {n: e["stats"] for n, e in actors.items() if e.get("kind") == "pool"}
    for name, stats in sorted(pools.items()):
        if "container_launch_seconds" in stats:
            exposition.histogram(
                "container_launch_time", stats["container_launch_seconds"], pool=name
            )
    for replica, data in sorted(replicas.items()):
        exposition.histogram("session_recovery_time", data["recovery"], replica=replica)
    exposition.number("active_containers", "gauge", active_containers)
    for name, stats in sorted(pools.items()):
        exposition.number(
            "pool_utilization", "gauge", stats.get("pool_utilization", 0.0), pool=name
        )
    for replica, data in sorted(replicas.items()):
        for entry in data["api"]:
            exposition.histogram(
                "api_response_time",
                entry["times"],
                method=entry["method"],
                route=entry["route"],
                replica=replica,
            )
    for replica, data in sorted(replicas.items()):
        for entry in data["answers"]:
            exposition.number(
                f"{PREFIX}api_requests_total",
                "counter",
                entry["count"],
                method=entry["method"],
                route=entry["route"],
                status=entry["status"],
                replica=replica,
            )
    requests, errors = (sum(data["recent"][i] for data in replicas.values()) for i in (0, 1))
    exposition.number("error_rate", "gauge", errors / requests if requests else 0.0)


def _stats(
    exposition: Exposition, kind: str, stats: Mapping[str, Any], labels: dict[str, str]
) -> None:
    """Write an actor's flat statistics; what is neither number nor distribution is left out."""
    for name, value in _numbers(stats):
        full = f"{PREFIX}{kind}_{_UNITS.get(name, name)}"
        if isinstance(value, Mapping):
            exposition.histogram(full, value, **labels)
        else:
            exposition.number(
                full, "counter" if name.endswith("_total") else "gauge", value, **labels
            )


def _numbers(stats: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in stats.items():
        distribution = isinstance(value, Mapping) and {"bounds", "counts", "sum"} <= value.keys()
        if distribution or isinstance(value, int | float):
            yield name, value


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(_pairs(labels.items())) + "}" if labels else ""


def _pairs(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in labels:
        escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        yield f'{name}="{escaped}"'


def _shown(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
