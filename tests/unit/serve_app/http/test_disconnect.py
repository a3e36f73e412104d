"""Work for a caller ends when the caller has gone."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from serve_app.http.disconnect import while_connected
from tests.support.asgi import http_scope


class Caller:
    """A request whose body has been read; ``leave`` ends its connection."""

    def __init__(self) -> None:
        self._left = asyncio.Event()
        self.request = Request(http_scope(), self._receive)

    async def _receive(self):
        await self._left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._left.set()


async def test_work_that_ends_is_answered_and_the_watch_ends_with_it():
    async def work():
        return "done"

    before = asyncio.all_tasks()
    assert await while_connected(Caller().request, work()) == "done"
    assert asyncio.all_tasks() == before


async def test_work_is_cancelled_when_the_caller_goes():
    caller, cancelled = Caller(), asyncio.Event()

    async def work():
        caller.leave()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientDisconnect):
        await while_connected(caller.request, work())
    assert cancelled.is_set()


async def test_an_error_of_the_work_is_the_callers():
    async def work():
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await while_connected(Caller().request, work())


async def test_a_cancelled_request_cancels_its_work():
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting = asyncio.create_task(while_connected(Caller().request, work()))
    await begun.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert cancelled.is_set()
