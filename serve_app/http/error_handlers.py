"""Problem documents as responses, and the handlers that make every error one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from actors.core.errors.base import CoditectError
from serve_app.http import pages, problems
from serve_app.http.allowed_methods import allowed

logger = structlog.get_logger(__name__)

_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}


class AsciiJson(JSONResponse):
    """JSON in ASCII: escapes carry names that are no UTF-8, as lone surrogates (PEP 383)."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class ProblemResponse(Response):
    """A problem document."""

    media_type = problems.MEDIA_TYPE

    def __init__(self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        fixed = {"cache-control": "no-store"}
        super().__init__(
            problems.encode(body),
            status_code=int(body["status"]),
            headers=fixed | dict(headers or {}),
        )


def problem_response(error: CoditectError, instance: str, request_id: str) -> ProblemResponse:
    """Return the answer for an error of the server's own tree; logs what is the server's fault."""
    body, headers = problems.from_error(error, instance)
    if problems.is_internal(error):
        logger.error("internal error", request_id=request_id, exc_info=error)
        body["request_id"] = request_id
    return ProblemResponse(body, headers)


def install(app: FastAPI, static: Path) -> None:
    """Make every error of the application a problem document, or a page where a person asks for one."""

    @app.exception_handler(CoditectError)
    async def coditect_error(request: Request, error: CoditectError) -> Response:
        return problem_response(error, request.url.path, request_id_of(request))

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        return ProblemResponse(problems.from_validation(list(error.errors()), request.url.path))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        status = error.status_code
        if status == HTTPStatus.NOT_FOUND and (page := pages.not_found(request, static)):
            return page
        code = _CODES.get(status, "invalid_request" if status < 500 else "internal")
        if status == 400 and request.method in {"POST", "PUT", "PATCH"}:
            code = "invalid_json"
        body = problems.document(status, code, str(error.detail), request.url.path)
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:  # Starlette names those of one route only
            headers["allow"] = ", ".join(allowed(app.router.routes, request.scope))
        return ProblemResponse(body, headers)


def request_id_of(request: Request) -> str:
    """Return the id under which the log knows this request."""
    return str(request.scope.get("state", {}).get("request_id", "-"))
