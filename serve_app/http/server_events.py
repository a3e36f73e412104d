"""Server-sent events (WHATWG HTML, 9.2): made, and kept from falling silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
SILENCE_SECONDS = 15.0
_COMMENT = b": still here\n\n"


def event(name: str, data: Any, *, event_id: str | None = None) -> bytes:
    """Return one event with JSON for its data; ``event_id`` is what a client comes back with."""
    lines = [f"event: {name}", *([f"id: {event_id}"] if event_id is not None else [])]
    # Escaped: bytes that are no UTF-8 are lone surrogates, and a line break would end the field.
    lines.append(f"data: {json.dumps(data, separators=(',', ':'))}")
    return ("\n".join(lines) + "\n\n").encode("ascii")


def is_wanted(accept: str) -> bool:
    """Return whether an ``Accept`` header asks for events by name."""
    return any(part.partition(";")[0].strip().lower() == MEDIA_TYPE for part in accept.split(","))


async def never_silent(
    events: AsyncGenerator[bytes], *, silence_seconds: float = SILENCE_SECONDS
) -> AsyncIterator[bytes]:
    """Yield what comes, and a comment when nothing does. Closes ``events``.

    Proxies cut answers that fall silent, and a caller that has gone is noticed when something is sent.
    """
    waiting: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(_next(events))
            done, _ = await asyncio.wait({waiting}, timeout=silence_seconds)
            if not done:
                yield _COMMENT
                continue
            found, waiting = waiting.result(), None
            if found is None:
                return
            yield found
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await events.aclose()


async def begun(events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Return the same events, having waited for the first: whatever becomes of them, they are closed."""
    first = await anext(events)

    async def all_of_them() -> AsyncGenerator[bytes]:
        try:
            yield first
            async for each in events:
                yield each
        finally:
            await events.aclose()

    return all_of_them()


async def _next(events: AsyncGenerator[bytes]) -> bytes | None:
    return await anext(events, None)
