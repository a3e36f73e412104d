"""Checks of a container in a request: what the service would refuse, it refuses. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cluster.dev.cloud_run import quantities

Violation = tuple[str, str]
"""A field and what is wrong with it."""

MISSING = "required field not present."
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_RESERVED = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})
_SET_BY_SYSTEM = "These values are automatically set by the system."
_SECRET = re.compile(r"(?:projects/[^/]+/secrets/)?[A-Za-z0-9_-]{1,255}")
_MOST_VARIABLES = 1000
_LONGEST_VARIABLE = 32768
_GI = 1 << 30
_WHOLE_PROCESSORS = (1, 2, 4, 6, 8)
_LEAST_MEMORY = {4: 2 * _GI, 6: 4 * _GI, 8: 4 * _GI}
_MOST_MEMORY = {1: 4 * _GI, 2: 8 * _GI, 4: 16 * _GI, 6: 24 * _GI, 8: 32 * _GI}
_LEAST_OF_ALL = 512 << 20
_STARTUP_SECONDS = 240
_LIVENESS_SECONDS = 3600


def container(at: str, message: Any, concurrency: int) -> Iterator[Violation]:
    """Yield what is wrong with a container; ``at`` is its place in the request."""
    if not message.image:
        yield f"{at}.image", MISSING
    elif _IMAGE.fullmatch(message.image) is None:
        yield f"{at}.image", "must be the name of a container image."
    if message.name and _DNS_LABEL.fullmatch(message.name) is None:
        yield f"{at}.name", "must be a DNS label (RFC 1123)."
    if len(message.ports) > 1:
        yield f"{at}.ports", "ports should contain 0 or 1 port."
    for index, port in enumerate(message.ports):
        if not 0 < port.container_port < 65536:
            yield f"{at}.ports[{index}].container_port", "must be between 1 and 65535."
        if port.name not in {"", "http1", "h2c"}:
            yield f"{at}.ports[{index}].name", "must be http1 or h2c."
    yield from _variables(at, message.env)
    yield from _resources(at, message.resources, concurrency)
    if message.HasField("startup_probe"):
        yield from _probe(f"{at}.startup_probe", message.startup_probe, _STARTUP_SECONDS)
    if message.HasField("liveness_probe"):
        yield from _probe(f"{at}.liveness_probe", message.liveness_probe, _LIVENESS_SECONDS)


def _variables(at: str, variables: Any) -> Iterator[Violation]:
    if len(variables) > _MOST_VARIABLES:
        yield f"{at}.env", f"must not have more than {_MOST_VARIABLES} entries."
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        here = f"{at}.env[{index}]"
        name = variable.name
        if not name:
            yield f"{here}.name", MISSING
        elif "=" in name or "\0" in name or len(name) > _LONGEST_VARIABLE:
            yield f"{here}.name", "is not the name of an environment variable."
        elif name in _RESERVED or name.startswith("X_GOOGLE_"):
            yield (
                f"{here}.name",
                f"The following reserved env names were provided: {name}. {_SET_BY_SYSTEM}",
            )
        if name in seen:
            yield f"{here}.name", f"{name} is there twice."
        seen.add(name)
        if len(variable.value.encode()) > _LONGEST_VARIABLE:
            yield f"{here}.value", f"must not exceed {_LONGEST_VARIABLE} bytes."
        if variable.WhichOneof("values") == "value_source":
            chosen = variable.value_source.secret_key_ref
            if _SECRET.fullmatch(chosen.secret) is None:
                yield f"{here}.value_source.secret_key_ref.secret", "must be the name of a secret."
            if not chosen.version:
                yield f"{here}.value_source.secret_key_ref.version", MISSING


def _resources(at: str, resources: Any, concurrency: int) -> Iterator[Violation]:
    here = f"{at}.resources.limits"
    for key in resources.limits:
        if key not in {"cpu", "memory", "nvidia.com/gpu"}:
            yield here, f"{key!r} is not one of cpu, memory, nvidia.com/gpu."
    processors = quantities.cpu(resources.limits.get("cpu", "1"))
    memory = quantities.memory(resources.limits.get("memory", "512Mi"))
    if processors is None or not (0.08 <= processors < 1 or processors in _WHOLE_PROCESSORS):
        yield (
            here,
            "Invalid value specified for cpu. Valid values are 1, 2, 4, 6, 8 or less than 1.",
        )
        return
    if memory is None:
        yield here, "Invalid value specified for memory: a number with Ki, Mi or Gi."
        return
    if processors < 1:
        if concurrency > 1:
            yield here, "With less than 1 cpu, max_instance_request_concurrency must be 1."
        most, least = _GI, 128 << 20
    else:
        most = _MOST_MEMORY[int(processors)]
        least = _LEAST_MEMORY.get(int(processors), _LEAST_OF_ALL)
    if not least <= memory <= most:
        yield (
            here,
            f"Invalid value for memory: with {processors:g} cpu, {least >> 20}Mi to {most >> 20}Mi.",
        )


def _probe(at: str, probe: Any, most: int) -> Iterator[Violation]:
    if probe.WhichOneof("probe_type") is None:
        yield at, "Exactly one of http_get, tcp_socket or grpc must be specified."
    period = probe.period_seconds or 10
    if not 0 <= probe.initial_delay_seconds <= most:
        yield f"{at}.initial_delay_seconds", f"must be between 0 and {most}."
    if not 0 <= probe.period_seconds <= most:
        yield f"{at}.period_seconds", f"must be between 1 and {most}."
    if not 0 <= probe.timeout_seconds <= 3600:
        yield f"{at}.timeout_seconds", "must be between 1 and 3600."
    elif (probe.timeout_seconds or 1) > period:
        yield f"{at}.timeout_seconds", "must not be greater than period_seconds."
    if probe.failure_threshold < 0:
        yield f"{at}.failure_threshold", "must be 1 or more."
    if most == _STARTUP_SECONDS and period * (probe.failure_threshold or 3) > _STARTUP_SECONDS:
        yield f"{at}", "failure_threshold * period_seconds must not exceed 240 seconds."
    kind = probe.WhichOneof("probe_type")
    if kind is not None and not 0 <= getattr(probe, kind).port <= 65535:
        yield f"{at}.{kind}.port", "must be between 1 and 65535."
    if kind == "http_get" and probe.http_get.path and not probe.http_get.path.startswith("/"):
        yield f"{at}.http_get.path", "must begin with '/'."
