"""Ends requests whose body comes or goes too slowly.

A sender or reader that makes us wait builds up a debt of seconds, and works it off by bytes; one whose
debt reaches ``patience`` is ended. Time in which *we* do not read or write counts for nothing, nor does
a stream that has nothing to say: it is the other side's waiting that is not theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.http import problems
from serve_app.http.error_handlers import ProblemResponse

_TOO_SLOW = "the body comes more slowly than {rate} bytes a second"


class Pace:
    """Decides, for one direction of one request. ``rate``: bytes a second, 0 for any pace."""

    def __init__(self, rate: int, patience: float) -> None:
        self._rate = rate
        self._patience = patience
        self._debt = 0.0

    @property
    def allowance(self) -> float | None:
        """Seconds to wait for the next part; None: for ever."""
        return self._patience - self._debt if self._rate else None

    def moved(self, size: int, waited: float) -> None:
        """Take note that ``size`` bytes have moved, after ``waited`` seconds."""
        if self._rate:
            self._debt = max(0.0, self._debt + waited - size / self._rate)


class Paced:
    """Answers 408 (RFC 9110, 15.5.9) to a body that comes too slowly, and cuts those who read too slowly."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        rate: int,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._rate = rate
        self._patience = patience
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or not self._rate:
            await self._app(scope, receive, send)
            return
        upload, download = Pace(self._rate, self._patience), Pace(self._rate, self._patience)
        arrived = begun = slow = False

        async def paced_receive() -> Message:
            nonlocal arrived, slow
            if arrived:  # what comes now is the caller's leaving
                return await receive()
            since = self._clock()
            try:
                async with asyncio.timeout(upload.allowance):
                    message = await receive()
            except TimeoutError:
                slow = True
                raise ClientDisconnect from None
            upload.moved(len(message.get("body", b"")), self._clock() - since)
            arrived = not message.get("more_body", False)
            return message

        async def paced_send(message: Message) -> None:
            nonlocal begun
            if slow and not begun:
                return  # whatever the application makes of it is answered below
            begun = True
            since = self._clock()
            try:
                async with asyncio.timeout(download.allowance):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None
            download.moved(len(message.get("body", b"")), self._clock() - since)

        try:
            await self._app(scope, paced_receive, paced_send)
        except Exception:
            if not slow or begun:
                raise
        if slow and not begun:
            detail = _TOO_SLOW.format(rate=self._rate)
            body = problems.document(408, "request_timeout", detail, scope["path"])
            await ProblemResponse(body, {"connection": "close"})(scope, receive, send)
