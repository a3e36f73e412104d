"""Names that would leave their place in a URL, refused before any route sees them.

Routes match the decoded path, in which an encoded slash is a slash: ``sessions/a%2Ffiles%2Fb`` would be a
file, and a terminal named ``x/output`` another terminal's output. And whoever resolves dot segments
(RFC 3986, 5.2.4), a client or a proxy on the way, makes ``files/..`` the session. So a segment is one
name, and no segment consists of dots; behind ``files/`` and its like slashes are the path's own.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from actors.core.errors.requests import InvalidArgument
from serve_app.http.browser_socket import BrowserSocket
from serve_app.http.error_handlers import problem_response

_PATHS = re.compile(
    rb"/api/v1/sessions/[^/]+/(?:files|tree|history|archive)/|/workspaces/[^/]+/ports/[^/]+/"
)
_DOTS = frozenset({b".", b".."})


def fault_of(raw_path: bytes) -> str | None:
    """Return what is wrong with the path of a request, still encoded; None when nothing is."""
    match = _PATHS.match(raw_path)
    names = raw_path[: match.end()] if match else raw_path
    rest = raw_path[match.end() :] if match else b""
    segments = [unquote_to_bytes(each) for each in names.split(b"/")]
    if any(b"/" in each for each in segments):
        return "a name in an address holds no slash"
    if not _DOTS.isdisjoint([*segments, *unquote_to_bytes(rest).split(b"/")]):
        return '"." and ".." are not allowed in a path'
    return None


class Addresses:
    """Answers requests and sockets whose path has a fault with 400, as plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a socket."""
        fault = None
        if scope["type"] in {"http", "websocket"}:
            fault = fault_of(scope.get("raw_path") or scope["path"].encode())
        if fault is None:
            await self._app(scope, receive, send)
            return
        error = InvalidArgument("path", fault)
        if scope["type"] == "websocket":
            await BrowserSocket(scope, receive, send).refuse(error)
        else:
            await problem_response(error, scope["path"], "")(scope, receive, send)
