"""CODI's errors as the server's own. Pure, and light enough for every actor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import Busy, CoditectError, Unavailable, Unreached
from actors.core.errors.limits import DiskQuotaExceeded, TooManyRequests, WorkspaceFull
from actors.core.errors.requests import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
    RangeNotSatisfiable,
)
from actors.core.errors.sessions import Fenced
from actors.core.records.sessions import Route

COMPONENT = "the container"
_RETRY_SECONDS = 1.0


class EnvironmentMissing(Unreached):
    """The container does not have the version of its user's environment that the route names: give it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The subject of a call, by which its errors are worded: the container itself, or a ``kind`` of thing."""

    route: Route
    kind: str = "container"
    identity: str | None = None
    if_match: str | None = None

    @property
    def name(self) -> str:
        """What the subject is called."""
        return self.route.container_id if self.identity is None else self.identity


def error_from(  # noqa: C901, PLR0911, PLR0912 - a table
    status: int, content: bytes, asked: Asked
) -> CoditectError:
    """Return the error that an answer other than 2xx stands for."""
    answer = _document(content)
    code, detail = str(answer.get("code", "")), str(answer.get("detail", f"HTTP {status}"))
    match code:
        case "fenced":
            return Fenced(asked.route.session_id, asked.route.epoch, _number(answer.get("epoch")))
        case "not_found":
            kind, identity = answer.get("kind", asked.kind), answer.get("identity", asked.name)
            return NotFound(str(kind), str(identity))
        case "exists":
            return AlreadyExists(asked.kind, asked.name)
        case "another_session":
            return Fenced(asked.route.session_id, asked.route.epoch, asked.route.epoch + 1)
        case "forbidden":
            return PermissionDenied(detail)
        case "precondition_failed":
            expected = asked.if_match or "absent"
            return PreconditionFailed(asked.kind, expected, str(answer.get("etag", "absent")))
        case "busy":
            return PreconditionFailed(asked.kind, "quiet", detail)
        case "range_not_satisfiable":
            return RangeNotSatisfiable(_number(answer.get("size")))
        case "too_large":
            return PayloadTooLarge(asked.kind, _number(answer.get("limit_bytes")))
        case "disk_full":
            return WorkspaceFull()
        case "disk_quota_exceeded":
            used, limit = _number(answer.get("used")), _number(answer.get("limit"))
            return DiskQuotaExceeded(str(answer.get("resource")), used, limit)
        case "too_many":
            return TooManyRequests(detail, _RETRY_SECONDS)
        case "exhausted":
            return Busy(detail, _RETRY_SECONDS)
        case "restarted":
            return Unreached(COMPONENT, detail)
        case "sealed":
            return Unreached(COMPONENT, detail)
        case "environment_missing":
            return EnvironmentMissing(COMPONENT, detail)
        case "invalid_path" | "not_a_directory" | "is_a_directory" | "not_empty":
            return InvalidArgument("path", detail)
        case "invalid_argument":
            field, _, reason = detail.partition(": ")
            return InvalidArgument(field, reason) if reason else InvalidArgument(asked.kind, detail)
    return Unavailable(COMPONENT, detail)


def headers(route: Route) -> dict[str, str]:
    """Return what every request to CODI carries, beside what ``identity_tokens.access`` says."""
    needed = {"x-codi-environment": str(route.environment)} if route.environment else {}
    return {
        "x-codi-secret": route.secret,
        "x-codi-session": route.session_id,
        "x-codi-epoch": str(route.epoch),
        **needed,
    }


def _document(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
