"""Answers what HTTP asks of every address: HEAD, OPTIONS, and bodies that are what they seem (RFC 9110)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import InvalidArgument, UnsupportedEncoding
from serve_app.http.allowed_methods import allowed, takes
from serve_app.http.error_handlers import problem_response


class Methods:
    """Answers OPTIONS, makes a HEAD of every GET, and refuses bodies that would be misunderstood.

    A body's coding is undone by nobody here (15.5.16), and a part of a file put in the place of the
    whole (14.5) would lose the rest: 415 and 400.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (error := _misunderstood(scope)) is not None:
            await problem_response(error, scope["path"], "")(scope, receive, send)
            return
        method = scope["method"]
        if method not in {"HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return
        if takes(self._routes, scope, method):
            await self._app(scope, receive, send)
        elif method == "HEAD":
            await self._head(scope, receive, send)
        elif methods := allowed(self._routes, scope):
            answer = Response(status_code=204, headers={"allow": ", ".join(methods)})
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as to a GET, without its body, which is not made any further than it begins."""

        async def head_only(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            raise _HeadIsEnoughError

        try:
            await self._app({**scope, "method": "GET"}, receive, head_only)
        except* _HeadIsEnoughError:
            pass


class _HeadIsEnoughError(Exception):
    """The body of an answer to HEAD is not wanted."""


def _misunderstood(scope: dict[str, Any] | Scope) -> CoditectError | None:
    headers = Headers(scope=scope)
    for field in headers.getlist("content-encoding"):
        for coding in field.split(","):
            if coding.strip().lower() not in {"", "identity"}:
                return UnsupportedEncoding(coding.strip()[:100])
    if scope["method"] == "PUT" and "content-range" in headers:
        return InvalidArgument("Content-Range", "PUT takes a whole file: a part would replace it")
    return None
