"""Limits of time for work that is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from actors.core.errors.base import DeadlineExceeded

T = TypeVar("T")


async def within(seconds: float, what: str, work: Awaitable[T]) -> T:
    """Await ``work`` for at most that long. Raises DeadlineExceeded; the work is then cancelled."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(what, seconds) from None
