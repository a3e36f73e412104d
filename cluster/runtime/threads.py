"""Blocking work that must not be abandoned half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run something to its end also when the caller is cancelled meanwhile; then say so.

    The work must limit its own time.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a blocking function in a thread; a cancelled caller waits for it first.

    So nothing goes on behind the back of whoever cleans up.
    """
    return await run_to_the_end(asyncio.to_thread(function, *args, **kwargs))
