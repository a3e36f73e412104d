"""Errors of the client.

ClientError
├── ConnectionFailed       the server cannot be reached, or the connection broke
├── TerminalClosed         the terminal ended or the server refused it
├── ShellRestarted         the shell was started anew, and what ran in it is gone
├── SearchStopped          a search was ended before all was looked through
└── ApiError               the server answered with a problem document (RFC 9457)
    ├── InvalidRequest     400, 422
    ├── Unauthorized       401
    ├── Forbidden          403
    ├── NotFound           404
    ├── Conflict           409
    ├── PreconditionFailed 412
    ├── TooLarge           413
    ├── QuotaExceeded      507 or 409 with the code ``quota_exceeded``
    ├── DiskQuotaExceeded  507 with the code ``disk_quota_exceeded``
    ├── TooManyRequests    429, ``retry_after`` says when to try again
    ├── ServerBusy         503, likewise
    └── ServerError        any other 5xx
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from websockets.exceptions import InvalidStatus


class ClientError(Exception):
    """Root of the client's errors."""


class ConnectionFailed(ClientError):
    """The server cannot be reached, or the connection broke; the request may have been carried out."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot reach {self.url}: {self.reason}"


class TerminalClosed(ClientError):
    """The terminal is over: its shell exited (``exit_code``), or the server refused (``close_code``)."""

    def __init__(
        self, reason: str, exit_code: int | None = None, close_code: int | None = None
    ) -> None:
        super().__init__(reason, exit_code, close_code)
        self.reason = reason
        self.exit_code = exit_code
        self.close_code = close_code

    def __str__(self) -> str:
        return self.reason


class ShellRestarted(ClientError):
    """The terminal has a new shell: what ran in the old one, and what was set there, is gone."""

    def __str__(self) -> str:
        return "the terminal's shell was started anew while the command ran"


class SearchStopped(ClientError):
    """A search was ended by ``reason``, ``time`` or ``bytes``, before all was looked through."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the search was ended ({self.reason}) before all was looked through"


class ApiError(ClientError):
    """The server refused. ``code`` is stable; ``problem`` is the whole problem document."""

    def __init__(
        self, status: int, code: str, detail: str, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(status, code, detail, dict(problem or {}))
        self.status = status
        self.code = code
        self.detail = detail
        self.problem: dict[str, Any] = dict(problem or {})

    def __str__(self) -> str:
        return f"{self.detail} ({self.status} {self.code})"

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the same request may work, when the server said so."""
        value = self.problem.get("retry_after")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            return None
        return float(value)


class InvalidRequest(ApiError):
    """A value in the request is wrong."""


class Unauthorized(ApiError):
    """Not signed in, or the credentials are wrong."""


class Forbidden(ApiError):
    """Signed in, and not allowed."""


class NotFound(ApiError):
    """There is no such thing, or it is somebody else's."""


class Conflict(ApiError):
    """It exists already, or its state does not allow this now."""


class PreconditionFailed(ApiError):
    """The file was changed by somebody else since it was read."""


class TooLarge(ApiError):
    """More than the server takes."""


class QuotaExceeded(ApiError):
    """The user has as much as is allowed; ``problem`` has ``resource``, ``used`` and ``limit``.

    When ``resource`` is ``containers``, ``sessions`` names those that have them.
    """

    @property
    def resource(self) -> str:
        """The resource of which there is too much."""
        return str(self.problem.get("resource", ""))

    @property
    def sessions(self) -> list[str]:
        """Names of the sessions that have all containers."""
        names = self.problem.get("sessions")
        return [str(name) for name in names] if isinstance(names, list) else []


class DiskQuotaExceeded(ApiError):
    """The container's disk is full; ``problem`` has ``resource``, ``used`` and ``limit``.

    ``resource`` is ``container_disk`` (bytes) or ``container_inodes`` (files). Deleting makes room.
    """


class TooManyRequests(ApiError):
    """Slow down; see ``retry_after``."""


class ServerBusy(ApiError):
    """The server has as much to do as it accepts; see ``retry_after``."""


class ServerError(ApiError):
    """The server failed."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    422: InvalidRequest,
    429: TooManyRequests,
    503: ServerBusy,
}


_BY_CODE: dict[str, type[ApiError]] = {
    "quota_exceeded": QuotaExceeded,
    "disk_quota_exceeded": DiskQuotaExceeded,
}


def from_problem(status: int, problem: Mapping[str, Any], retry_after: str | None) -> ApiError:
    """Return the typed error for an answer with that status and problem document."""
    document = dict(problem)
    seconds = _seconds(retry_after, time.time()) if retry_after is not None else None
    if seconds is not None and "retry_after" not in document:
        document["retry_after"] = seconds
    code = str(document.get("code", "unknown"))
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    kind = _BY_CODE.get(code, kind)
    detail = str(document.get("detail") or document.get("title") or f"HTTP {status}")
    return kind(status, code, detail, document)


def from_refusal(refused: InvalidStatus) -> ApiError:
    """Return what a server, or a proxy in front of it, said instead of opening a socket."""
    response = refused.response
    try:
        problem = json.loads(response.body or b"{}")
    except (ValueError, RecursionError):
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    return from_problem(response.status_code, problem, response.headers.get("retry-after"))


def _seconds(retry_after: str, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for, a number or a date (RFC 9110, 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return int(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, OverflowError):
        return None
