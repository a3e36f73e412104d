"""What is to serve a revision, or an instance: read from the resource. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.dev.cloud_run import quantities

_MANUAL = 2


@dataclass(frozen=True, slots=True)
class Timings:
    """How quick the emulated service is. Seconds.

    ``deploy`` and ``delete`` pass before such an operation is done, beside what it waits for. An instance
    without requests stops after ``idle``; a request waits for a place at most ``queue``; ``grace`` is
    between SIGTERM and SIGKILL. ``longest_request`` cuts requests sooner than their service's timeout.
    """

    deploy: float = 0.0
    delete: float = 0.0
    idle: float = 900.0
    queue: float = 10.0
    grace: float = 10.0
    longest_request: float = 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a workload runs. ``startup_probe`` is the message; ``env`` is what programs get."""

    name: str
    image: str
    cpu: float
    memory_bytes: int
    port: int
    env: Mapping[str, str]
    startup_probe: Any
    least: int
    most: int
    concurrency: int
    timeout_seconds: float
    throttles: bool
    checks_health: bool = True
    args: Sequence[str] = ()


def of_service(service: Any, revision: str, secrets: Mapping[str, str]) -> Plan:
    """Return the plan of a service's latest revision. ``secrets``: variables that refer to a secret."""
    template = service.template
    container = template.containers[0]
    scaling, whole = template.scaling, service.scaling
    least = max(scaling.min_instance_count, whole.min_instance_count)
    most = min(filter(None, (scaling.max_instance_count, whole.max_instance_count)), default=100)
    if whole.scaling_mode == _MANUAL:
        least = most = whole.manual_instance_count
    service_id = service.name.rpartition("/")[2]
    system = {"K_SERVICE": service_id, "K_CONFIGURATION": service_id, "K_REVISION": revision}
    return Plan(
        name=service_id,
        least=min(least, most),
        most=most,
        concurrency=template.max_instance_request_concurrency,
        timeout_seconds=template.timeout.seconds + template.timeout.nanos / 1e9,
        throttles=container.resources.cpu_idle,
        checks_health=not template.health_check_disabled and most > 0,
        **_of_container(container, system, secrets),
    )


def of_instance(instance: Any, secrets: Mapping[str, str]) -> Plan:
    """Return the plan of an instance: one container that runs until it is stopped."""
    return Plan(
        name=instance.name.rpartition("/")[2],
        least=1,
        most=1,
        concurrency=1000,
        timeout_seconds=3600.0,
        throttles=False,
        **_of_container(instance.containers[0], {}, secrets),
    )


def _of_container(
    container: Any, system: Mapping[str, str], secrets: Mapping[str, str]
) -> dict[str, Any]:
    port = container.ports[0].container_port
    values = {each.name: each.value for each in container.env}
    return {
        "image": container.image,
        "cpu": quantities.cpu(container.resources.limits["cpu"]),
        "memory_bytes": quantities.memory(container.resources.limits["memory"]),
        "port": port,
        "env": {**values, **secrets, **system, "PORT": str(port)},
        "startup_probe": container.startup_probe,
        "args": tuple(container.args),
    }
