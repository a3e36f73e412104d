"""A browser's WebSocket over plain ASGI: what every frame costs is one call, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from actors.core.errors.base import CoditectError
from serve_app.http import problems

SEND_SECONDS = 30.0
CLOSE_SECONDS = 2.0
MAX_FRAME = 1 << 20

CLOSE_TRY_AGAIN = 1013
_CODES = {400: 4400, 401: 4401, 403: 4403, 404: 4404, 409: 4409, 422: 4400, 429: 4429}


class Disconnected(Exception):
    """The browser has gone, or reads nothing any more."""


class FrameSocket(Protocol):
    """What carries frames to a browser and back; ``BrowserSocket`` has the meanings."""

    async def receive(self) -> bytes | str | None:
        """Return the next frame, None when the browser has gone."""

    async def send(self, frame: bytes | str) -> None:
        """Send a frame."""

    async def close(self, code: int, reason: str) -> None:
        """End it."""


class BrowserSocket:
    """One socket. One task receives, any may send; frames of one sender keep their order."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._closed = False
        self.path = str(scope["path"])
        self.scheme = str(scope.get("scheme", "ws"))
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.parameters: Mapping[str, str] = scope.get("path_params", {})
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1"), errors="replace"))
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self.subprotocols: list[str] = list(scope.get("subprotocols", ()))
        self.address = str((scope.get("client") or ("", 0))[0])
        self._can_refuse = "websocket.http.response" in (scope.get("extensions") or {})

    async def accept(self, subprotocol: str | None = None) -> None:
        """Take the connection."""
        await self._receive()  # websocket.connect
        await self._out({"type": "websocket.accept", "subprotocol": subprotocol})

    async def refuse(self, error: CoditectError) -> None:
        """Refuse the connection.

        A program gets a problem document. A page cannot read the answer to an upgrade, so a browser,
        known by its ``Origin``, gets a close code instead: 4000 and the status, as far as it is one
        of the caller's making, else 1013, try again later.
        """
        body, headers = problems.from_error(error, self.path)
        if "origin" in self.headers or not self._can_refuse:
            await self.accept()
            await self.fail(error)
            return
        await self._receive()
        fields = {"content-type": problems.MEDIA_TYPE} | headers
        await self._out(
            {
                "type": "websocket.http.response.start",
                "status": body["status"],
                "headers": [(n.encode(), v.encode()) for n, v in fields.items()],
            }
        )
        await self._out({"type": "websocket.http.response.body", "body": problems.encode(body)})

    async def fail(self, error: CoditectError) -> None:
        """Close an accepted connection because of an error."""
        await self.close(close_code(error), str(problems.from_error(error, self.path)[0]["detail"]))

    async def receive(self) -> bytes | str | None:
        """Return the next frame, None when the browser has gone."""
        message: Message = await self._receive()
        if message["type"] != "websocket.receive":
            self._closed = True
            return None
        data: bytes | None = message.get("bytes")
        return data if data is not None else str(message.get("text"))

    async def send(self, frame: bytes | str, *, endlessly: bool = False) -> None:
        """Send a frame; waits while the browser does not keep up. Raises Disconnected.

        ``endlessly``: for as long as it is connected, not only for ``SEND_SECONDS``.
        """
        kind = "text" if isinstance(frame, str) else "bytes"
        await self._out({"type": "websocket.send", kind: frame}, endlessly=endlessly)

    async def close(self, code: int, reason: str) -> None:
        """Close it; a browser that reads nothing is left to the transport."""
        if self._closed:
            return
        self._closed = True
        short = reason.encode()[:120].decode(errors="ignore")
        with suppress(Disconnected, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._out({"type": "websocket.close", "code": code, "reason": short})

    async def _out(self, message: dict[str, Any], *, endlessly: bool = False) -> None:
        try:
            async with asyncio.timeout(None if endlessly else SEND_SECONDS):
                await self._send(message)
        except (OSError, TimeoutError, RuntimeError) as error:
            raise Disconnected(str(error)) from error


def close_code(error: CoditectError) -> int:
    """Return the close code (RFC 6455, 7.4.2: private use) that stands for an error."""
    return _CODES.get(int(problems.status_of(error)), CLOSE_TRY_AGAIN)
