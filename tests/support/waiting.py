"""Waiting for a condition with a limit, instead of sleeping for luck."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def wait_until(
    probe: Callable[[], Awaitable[T]],
    accept: Callable[[T], bool] = bool,
    timeout_seconds: float = 60.0,
    pause_seconds: float = 0.05,
) -> T:
    """Call ``probe`` until ``accept`` likes its answer; raise with the last answer when time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while True:
        value = await probe()
        if accept(value):
            return value
        if loop.time() > deadline:
            raise AssertionError(f"not within {timeout_seconds:g} s; last: {value!r}")
        await asyncio.sleep(pause_seconds)
