"""Work that is done for somebody who waits, and only as long as they do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a caller whose body has been read; it is cancelled when they go.

    Raises ClientDisconnect when they have gone. Serve would notice it too, but is kept from it: see
    ``serve_app.http.serve_headers``.
    """
    working = asyncio.create_task(work, name="work for a caller")
    leaving = asyncio.create_task(_until_gone(request), name="watch of a caller")
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
