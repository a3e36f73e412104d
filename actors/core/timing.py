"""Limits of time for work that is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from actors.core.errors.base import DeadlineExceeded

T = TypeVar("T")


async def within(seconds: float, what: str, work: Awaitable[T]) -> T:
    """Await ``work`` for at most that long. Raises DeadlineExceeded; the work is then cancelled."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(what, seconds) from None


async def wait_for_event(event: asyncio.Event, sleep: Coroutine[Any, Any, None]) -> None:
    """Return when the event is set or ``sleep`` is over, whichever comes first."""
    waiting = {asyncio.ensure_future(sleep), asyncio.ensure_future(event.wait())}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
