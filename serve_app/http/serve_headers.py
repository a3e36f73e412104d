"""The outermost layer of a replica, before Ray Serve's own: named to Serve by its callback variable.

Serve (2.60, ``serve/_private/replica.py``, ``_direct_ingress_asgi``) reads ahead of the application
to notice clients that go away, into a queue without a bound: an upload would be held in memory. A header
forbids that, which then must not be the client's to send or to leave out; nor may a
client set its own time limit.
"""

from __future__ import annotations

import ray
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.listening import stay_at

_SERVE_HEADERS = frozenset(
    {b"x-request-disconnect-disabled", b"x-request-timeout-seconds", b"serve_multiplexed_model_id"}
)
_READ_NO_FURTHER = (b"x-request-disconnect-disabled", b"?1")


class OwnServeHeaders:
    """Replaces what clients say to Serve by what we do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a socket."""
        if scope["type"] in {"http", "websocket"}:
            # Serve decodes every header as UTF-8; one that is none would end the request unanswered.
            kept = [
                (name, value.decode("utf-8", "replace").encode())
                for name, value in scope["headers"]
                if name.lower() not in _SERVE_HEADERS
            ]
            scope = {**scope, "headers": [*kept, _READ_NO_FURTHER]}
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Return what Serve puts round its handling of requests, right before it begins to listen."""
    stay_at(ray.util.get_node_ip_address())
    return [Middleware(OwnServeHeaders)]
