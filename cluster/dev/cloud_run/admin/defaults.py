"""What the API fills in, and what it takes from nobody. No I/O."""

from __future__ import annotations

from typing import Any

CPU = "1000m"
MEMORY = "512Mi"
PORT = 8080
_GENERAL_AVAILABILITY = 4
_ALL_TRAFFIC = 1
_LATEST = 1
_OUTPUT_ONLY = (
    *("uid", "generation", "create_time", "update_time", "delete_time", "expire_time", "creator"),
    *("last_modifier", "observed_generation", "terminal_condition", "conditions", "reconciling"),
    *("latest_ready_revision", "latest_created_revision", "traffic_statuses", "uri", "urls"),
    *("satisfies_pzs", "threat_detection_enabled", "log_uri", "container_statuses"),
)


def clear_output_only(message: Any) -> None:
    """Take out of a request what only the system says: it is ignored there (AIP-203)."""
    names = message.DESCRIPTOR.fields_by_name
    for name in _OUTPUT_ONLY:
        if name in names:
            message.ClearField(name)


def fill_service(service: Any, account: str) -> None:
    """Fill in what a service does not say; ``account`` is the project's own."""
    service.launch_stage = service.launch_stage or _GENERAL_AVAILABILITY
    service.ingress = service.ingress or _ALL_TRAFFIC
    if not service.traffic:
        service.traffic.add(type_=_LATEST, percent=100)
    template = service.template
    if not template.HasField("timeout"):
        template.timeout.seconds = 300
    if not template.scaling.max_instance_count:
        template.scaling.max_instance_count = 100
    if not template.max_instance_request_concurrency:
        template.max_instance_request_concurrency = 80
    template.service_account = template.service_account or account
    _fill_container(template.containers[0])


def fill_instance(instance: Any, account: str) -> None:
    """Fill in what an instance does not say."""
    instance.launch_stage = instance.launch_stage or _GENERAL_AVAILABILITY
    instance.ingress = instance.ingress or _ALL_TRAFFIC
    instance.service_account = instance.service_account or account
    _fill_container(instance.containers[0])


def _fill_container(container: Any) -> None:
    if not container.HasField("resources"):
        container.resources.cpu_idle = True  # who sets resources has to say so
    limits = container.resources.limits
    if "cpu" not in limits:
        limits["cpu"] = CPU
    if "memory" not in limits:
        limits["memory"] = MEMORY
    if not container.ports:
        container.ports.add(name="http1", container_port=PORT)
    elif not container.ports[0].name:
        container.ports[0].name = "http1"
    if not container.HasField("startup_probe"):
        probe = container.startup_probe
        probe.timeout_seconds = probe.period_seconds = 240
        probe.failure_threshold = 1
        probe.tcp_socket.port = container.ports[0].container_port
        return
    probe = container.startup_probe
    probe.timeout_seconds = probe.timeout_seconds or 1
    probe.period_seconds = probe.period_seconds or 10
    probe.failure_threshold = probe.failure_threshold or 3
    action = getattr(probe, probe.WhichOneof("probe_type"))
    action.port = action.port or container.ports[0].container_port
