"""Ends a login's requests under way with it: uploads, downloads, streams, programs.

A request that is answered at once is over sooner than anybody hears of an end; this is for the long
ones. It is ended as if its caller had gone, which every handler has to survive anyway.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.core.errors.access import Unauthenticated
from serve_app.auth.revocations import Revocations
from serve_app.auth.tokens import Login
from serve_app.http import problems
from serve_app.http.error_handlers import ProblemResponse


class UnderWay:
    """One request, and the task that answers it."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._stack = ExitStack()
        self.ended = False

    def belongs_to(self, login: Login, ended: Revocations) -> None:
        """End the request when this login ends. Raises Unauthenticated when it has."""
        self._stack.enter_context(ended.watching(login, self._end))
        if ended.is_over(login):
            raise Unauthenticated("signed out")

    def close(self) -> None:
        """Take note that it is answered."""
        self._stack.close()

    def _end(self) -> None:
        # Whoever ends their own login, as by a logout, is still answered.
        if self._task is not asyncio.current_task():
            self.ended = True
            self._task.cancel()


class EndsWithLogin:
    """Gives each request an ``UnderWay``, as ``scope["state"]["under_way"]``, and ends it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self._app(scope, receive, send)
            return
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        under_way = scope["state"]["under_way"] = UnderWay(task)
        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if not under_way.ended:
                raise
            task.uncancel()
            if begun:
                raise ClientDisconnect from None
            body, headers = problems.from_error(Unauthenticated("signed out"), scope["path"])
            await ProblemResponse(body, headers)(scope, receive, send)
        finally:
            under_way.close()
