"""Checks of services and instances in requests: what the API would refuse, they refuse. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from cluster.dev.cloud_run.admin.container_checks import MISSING, Violation, container
from cluster.dev.cloud_run.errors import ApiError, violations

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MOST_LABELS = 64
_ANNOTATION_KEY = re.compile(
    r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_MOST_ANNOTATION_BYTES = 256 << 10
_RESERVED = (
    "run.googleapis.com",
    "cloud.googleapis.com",
    "serving.knative.dev",
    "autoscaling.knative.dev",
)
_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}@[a-z0-9.-]+\.gserviceaccount\.com")
_LONGEST_DESCRIPTION = 512
_LONGEST_REVISION = 63
_LONGEST_TIMEOUT = 3600
_MOST_CONCURRENCY = 1000
_STAGES = frozenset({0, 2, 3, 4})
"""Unspecified, alpha, beta, general availability (``google.api.LaunchStage``)."""

_NOT_EMULATED = {
    "Service": ("binary_authorization", "build_config", "iap_enabled", "multi_region_settings"),
    "RevisionTemplate": ("volumes", "encryption_key", "node_selector", "service_mesh"),
    "Instance": (
        *("binary_authorization", "encryption_key", "iap_enabled", "node_selector", "volumes"),
    ),
    "Container": (
        "command",
        "source_code",
        "base_image_uri",
        "volume_mounts",
        "depends_on",
        "working_dir",
    ),
}


def check_service(request: str, service: Any, service_id: str) -> None:
    """Check a service to be created or updated. Raises ApiError, for all that is wrong at once."""
    at = f"{request}.service"
    _refuse_not_emulated(at, service)
    _refuse(_service(at, service, service_id))


def check_instance(request: str, instance: Any) -> None:
    """Check an instance to be created. Raises ApiError, for all that is wrong at once."""
    at = f"{request}.instance"
    _refuse_not_emulated(at, instance)
    _refuse(_instance(at, instance))


def _refuse(found: Iterable[Violation]) -> None:
    listed = list(found)
    if listed:
        raise violations(listed)


def _service(at: str, service: Any, service_id: str) -> Iterator[Violation]:
    yield from _common(at, service)
    if not service.HasField("template"):
        yield f"{at}.template", MISSING
        return
    yield from _scaling(f"{at}.scaling", service.scaling)
    yield from _template(f"{at}.template", service.template, service_id)
    yield from _traffic(f"{at}.traffic", service.traffic)


def _instance(at: str, instance: Any) -> Iterator[Violation]:
    yield from _common(at, instance)
    yield from _containers(at, instance.containers, 80)
    yield from _account(at, instance.service_account)


def _common(at: str, message: Any) -> Iterator[Violation]:
    if len(message.description) > _LONGEST_DESCRIPTION:
        yield f"{at}.description", f"must not exceed {_LONGEST_DESCRIPTION} characters."
    if message.launch_stage not in _STAGES:
        yield f"{at}.launch_stage", "must be ALPHA, BETA or GA."
    yield from _labels(at, message)


def _labels(at: str, message: Any) -> Iterator[Violation]:
    if len(message.labels) > _MOST_LABELS:
        yield f"{at}.labels", f"must not have more than {_MOST_LABELS} entries."
    for key, value in message.labels.items():
        if key.startswith(_RESERVED):
            yield f"{at}.labels", f"'{key}' is in a namespace that is the system's."
        elif _LABEL_KEY.fullmatch(key) is None:
            yield f"{at}.labels", f"'{key}' is not a valid key of a label."
        elif _LABEL_VALUE.fullmatch(value) is None:
            yield f"{at}.labels", f"'{value}' is not a valid value of a label."
    size = 0
    for key, value in message.annotations.items():
        size += len(key.encode()) + len(value.encode())
        if key.startswith(_RESERVED):
            yield f"{at}.annotations", f"'{key}' is in a namespace that is the system's."
        elif _ANNOTATION_KEY.fullmatch(key) is None:
            yield f"{at}.annotations", f"'{key}' is not a valid key of an annotation."
    if size > _MOST_ANNOTATION_BYTES:
        yield f"{at}.annotations", "must not exceed 256 kB."


def _template(at: str, template: Any, service_id: str) -> Iterator[Violation]:
    yield from _labels(at, template)
    yield from _scaling(f"{at}.scaling", template.scaling)
    yield from _containers(at, template.containers, template.max_instance_request_concurrency)
    yield from _account(at, template.service_account)
    if template.revision and not (
        template.revision.startswith(f"{service_id}-")
        and len(template.revision) <= _LONGEST_REVISION
        and re.fullmatch(r"[a-z](?:[-a-z0-9]*[a-z0-9])?", template.revision)
    ):
        yield (
            f"{at}.revision",
            "must be prefixed by the name of the enclosing service with a trailing -.",
        )
    if not 0 <= template.max_instance_request_concurrency <= _MOST_CONCURRENCY:
        yield f"{at}.max_instance_request_concurrency", f"must be 0 to {_MOST_CONCURRENCY}."
    if template.HasField("timeout"):
        seconds = template.timeout.seconds + template.timeout.nanos / 1e9
        if not 1 <= seconds <= _LONGEST_TIMEOUT:
            yield f"{at}.timeout", f"must be between 1 and {_LONGEST_TIMEOUT} seconds."


def _containers(at: str, containers: Any, concurrency: int) -> Iterator[Violation]:
    if not containers:
        yield f"{at}.containers", MISSING
    for index, each in enumerate(containers):
        yield from container(f"{at}.containers[{index}]", each, concurrency or 1)


def _account(at: str, email: str) -> Iterator[Violation]:
    if email and _ACCOUNT.fullmatch(email) is None:
        yield f"{at}.service_account", "must be the email address of a service account."


def _scaling(at: str, scaling: Any) -> Iterator[Violation]:
    for name in ("min_instance_count", "max_instance_count"):
        if getattr(scaling, name) < 0:
            yield f"{at}.{name}", "must not be negative."
    if 0 < scaling.max_instance_count < scaling.min_instance_count:
        yield f"{at}.min_instance_count", "must not be greater than max_instance_count."


def _traffic(at: str, traffic: Any) -> Iterator[Violation]:
    latest, revision = 1, 2
    if traffic and sum(target.percent for target in traffic) != 100:
        yield at, "percents must add up to 100."
    for index, target in enumerate(traffic):
        if target.type_ not in {latest, revision}:
            yield f"{at}[{index}].type", MISSING
        if (target.type_ == revision) != bool(target.revision):
            yield f"{at}[{index}].revision", "goes with the type REVISION."


def _refuse_not_emulated(at: str, message: Any) -> None:
    """Refuse what the service has and the emulator has not, rather than leave it out silently."""
    for field, value in message.ListFields():
        name = f"{at}.{field.name}"
        if field.name in _NOT_EMULATED.get(message.DESCRIPTOR.name, ()):
            raise ApiError(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not emulated.")
        if field.name == "template":
            _refuse_not_emulated(name, value)
        elif field.name == "containers":
            if len(value) > 1:
                raise ApiError(grpc.StatusCode.UNIMPLEMENTED, f"{name}: one is what is emulated.")
            for each in value:
                _refuse_not_emulated(name, each)
