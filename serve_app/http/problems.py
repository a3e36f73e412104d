"""Errors as RFC 9457 problem documents: one table from ``actors.core.errors`` to HTTP status codes.

Every answer that is not a success has this shape, whoever noticed the error::

    {"type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found",
     "detail": "no session 's-…'", "instance": "/api/v1/sessions/s-…", …}

``code`` is stable; further members (``field``, ``retry_after``, ``limit_bytes``, ``errors``,
``path``, ``resource``, ``used``, ``limit``, ``sessions``, ``request_id``) depend on it. Nothing in a document
comes from a traceback.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from actors.core.errors import access, base, limits, requests, sessions, store, workspaces
from actors.core.errors.base import CoditectError

MEDIA_TYPE = "application/problem+json"
DEFAULT_RETRY_SECONDS = 1.0
_MAX_DETAIL = 500
_MAX_LISTED = 20
_TITLES = {int(status): status.phrase for status in HTTPStatus}

STATUS: dict[type[CoditectError], HTTPStatus] = {
    requests.InvalidArgument: HTTPStatus.BAD_REQUEST,
    access.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    access.PermissionDenied: HTTPStatus.FORBIDDEN,
    requests.NotFound: HTTPStatus.NOT_FOUND,
    sessions.SessionEnded: HTTPStatus.NOT_FOUND,
    requests.AlreadyExists: HTTPStatus.CONFLICT,
    requests.KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    requests.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    requests.RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    requests.UnsupportedEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    requests.PayloadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    limits.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    limits.QuotaExceeded: HTTPStatus.INSUFFICIENT_STORAGE,
    limits.ContainersExceeded: HTTPStatus.CONFLICT,
    limits.WorkspaceFull: HTTPStatus.INSUFFICIENT_STORAGE,
    store.StoreFull: HTTPStatus.INSUFFICIENT_STORAGE,
    base.Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    base.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    workspaces.ContentMissing: HTTPStatus.SERVICE_UNAVAILABLE,
    sessions.LaunchFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    sessions.Fenced: HTTPStatus.SERVICE_UNAVAILABLE,
    sessions.NotBound: HTTPStatus.SERVICE_UNAVAILABLE,
    sessions.SlotGone: HTTPStatus.SERVICE_UNAVAILABLE,
    sessions.ActorTaken: HTTPStatus.SERVICE_UNAVAILABLE,
    base.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    store.CommitConflict: HTTPStatus.SERVICE_UNAVAILABLE,
    store.CommitUnknown: HTTPStatus.SERVICE_UNAVAILABLE,
    store.TransactionTooOld: HTTPStatus.SERVICE_UNAVAILABLE,
    store.StoreFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    CoditectError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of an error is that of the nearest of its classes; what is a bug stays 500."""


def status_of(error: CoditectError) -> HTTPStatus:
    """Return the HTTP status that an error is answered with."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def is_internal(error: CoditectError) -> bool:
    """Return whether the error is the server's own fault, so that its text is for the log only."""
    return status_of(error) is HTTPStatus.INTERNAL_SERVER_ERROR


def title(status: int) -> str:
    """Return the name of a status."""
    return _TITLES.get(status, "Error")


def document(status: int, code: str, detail: str, instance: str, **members: Any) -> dict[str, Any]:
    """Return a problem document; members that are None are left out."""
    required = {
        "type": "about:blank",
        "title": title(status),
        "status": int(status),
        "code": code,
        "detail": printable(detail)[:_MAX_DETAIL],
        "instance": printable(instance)[:_MAX_DETAIL],
    }
    return required | {name: value for name, value in members.items() if value is not None}


def from_error(error: CoditectError, instance: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the document and the headers for an error of the server's own tree."""
    status = status_of(error)
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, requests.InvalidArgument):
        members["field"] = printable(error.field)
    if isinstance(error, requests.PayloadTooLarge):
        members["limit_bytes"] = error.limit_bytes
    if isinstance(error, requests.RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size}"
    if isinstance(error, requests.UnsupportedEncoding):
        headers["accept-encoding"] = "identity"
    if isinstance(error, limits.QuotaExceeded | limits.DiskQuotaExceeded):
        members |= {"resource": error.resource, "used": error.used, "limit": error.limit}
    if isinstance(error, workspaces.ContentMissing):
        members["path"] = printable(error.path)
    if isinstance(error, limits.ContainersExceeded):
        members["sessions"] = [printable(name) for name in error.sessions[:_MAX_LISTED]]
    if status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="coditect"'
    if error.retryable or status is HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = getattr(error, "retry_after_seconds", DEFAULT_RETRY_SECONDS)
        members["retry_after"] = max(1, math.ceil(seconds))
        headers["retry-after"] = str(members["retry_after"])
    detail = "something went wrong on the server" if is_internal(error) else str(error)
    return document(status, error.code, detail, instance, **members), headers


def from_validation(found: list[Mapping[str, Any]], instance: str) -> dict[str, Any]:
    """Return the document for what pydantic found wrong in a request.

    A body that is no JSON at all is 400, one with wrong values 422. What was sent is not repeated:
    it may be a password.
    """
    if any(each.get("type") == "json_invalid" for each in found):
        return document(400, "invalid_json", "the body is not valid JSON", instance)
    listed = [
        {"field": _location(each.get("loc", ())), "reason": printable(str(each.get("msg", "")))}
        for each in found[:_MAX_LISTED]
    ]
    detail = "; ".join(f"{each['field']}: {each['reason']}" for each in listed)
    return document(422, "invalid_argument", detail, instance, errors=listed)


def encode(body: Mapping[str, Any]) -> bytes:
    """Return a document's bytes."""
    return json.dumps(body, separators=(",", ":")).encode()


def printable(text: str) -> str:
    """Return text without control characters and lone surrogates, so that any client can show it."""
    return "".join(
        char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[: 2 * _MAX_DETAIL]
    )


def _location(path: Any) -> str:
    parts = [str(part) for part in path if part not in {"body", "query", "path", "header"}]
    return printable(".".join(parts)) or "body"
