"""Wraps every request, as plain ASGI: nothing here holds up or copies a body.

From the outside in: an id, a measure and a line in the log; headers that keep browsers safe; a limit
for bodies; and an answer to errors that nobody else has answered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.http import problems
from serve_app.http.error_handlers import ProblemResponse
from serve_app.telemetry.metrics import IngressMetrics

logger = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/api/admin/health", "/api/admin/metrics"})

# 'unsafe-inline' for styles: terminal and editor set styles on elements.
# Frames of blobs: a PDF in the browser's own viewer.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; frame-src blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": CONTENT_SECURITY_POLICY,
}


class Observed:
    """Gives a request its id, counts it, logs it, and answers what has failed unexpectedly."""

    def __init__(
        self, app: ASGIApp, *, metrics: IngressMetrics, new_id: Callable[[str], str]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or self._new_id("q")
        scope.setdefault("state", {})["request_id"] = request_id
        status, begun = 0, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind in {"http.response.start", "websocket.http.response.start"}:
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
            elif kind == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            status = 0  # there is nobody to answer
        except Exception:
            logger.exception("internal error", request_id=request_id, path=scope["path"])
            if scope["type"] != "http" or status:
                raise
            status = 500
            await _internal_error(scope, receive, watched, request_id)
        finally:
            self._note(scope, request_id, status, time.perf_counter() - begun)

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = _template(scope)
        method = scope.get("method", "WS")
        if scope["type"] == "http":
            # An answer that never began: the client has gone (499, as nginx logs it).
            self._metrics.observe(method, route, status or 499, seconds, time.monotonic())
        level = (
            "debug" if scope["path"] in _QUIET or scope["path"].startswith("/static/") else "info"
        )
        getattr(logger, level)(
            "request",
            request_id=request_id,
            method=method,
            path=problems.printable(scope["state"].get("path", scope["path"])),
            route=route,
            status=status or 499,
            seconds=round(seconds, 6),
            user_id=scope["state"].get("user_id"),
        )


class SafeHeaders:
    """Adds the headers that limit what a page of ours may do in browsers, and keep answers out of caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers)


class BodyLimit:
    """Refuses bodies of more than ``limit`` bytes while they arrive, announced or not.

    ``exempt`` paths stream their bodies and have a limit of their own.
    """

    def __init__(self, app: ASGIApp, *, limit: int, exempt: Callable[[Scope], bool]) -> None:
        self._app = app
        self._limit = limit
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or self._exempt(scope):
            await self._app(scope, receive, send)
            return
        if announced_length(scope) > self._limit:
            await self._refused(scope)(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise HTTPException(413, f"the body is larger than {self._limit} bytes")
            return message

        await self._app(scope, limited, send)

    def _refused(self, scope: Scope) -> ProblemResponse:
        body = problems.document(
            413,
            "payload_too_large",
            f"the body is larger than {self._limit} bytes",
            scope["path"],
            limit_bytes=self._limit,
        )
        return ProblemResponse(body)


def announced_length(scope: Scope) -> int:
    """Return what ``content-length`` says; 0 when nothing is said or it makes no sense."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


async def _internal_error(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
    body = problems.document(
        500,
        "internal",
        "something went wrong on the server; the log knows it by the request id",
        scope["path"],
        request_id=request_id,
    )
    await ProblemResponse(body)(scope, receive, send)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return None


def _template(scope: Mapping[str, Any]) -> str:
    path = getattr(scope.get("route"), "path", None) or scope["state"].get("route")
    if isinstance(path, str):
        return path
    return "/static" if str(scope["path"]).startswith("/static/") else "unmatched"
