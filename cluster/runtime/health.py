"""Asking CODI how it is, over a plain HTTP/1.1 connection: the only call that a runtime makes."""

from __future__ import annotations

import asyncio
import contextlib

_LARGEST_ANSWER = 64 << 10


async def is_healthy(address: str, secret: str) -> bool:
    """Say whether CODI at ``host:port`` answers ``GET /health`` with 200.

    Waits as long as the listening socket holds the connection: the caller sets the time limit.
    Raises OSError when nobody listens or the connection breaks.
    """
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host.strip("[]"), int(port), limit=_LARGEST_ANSWER
    )
    try:
        writer.write(
            f"GET /health HTTP/1.1\r\nHost: {address}\r\nx-codi-secret: {secret}\r\n"
            "Connection: close\r\n\r\n".encode("ascii")
        )
        await writer.drain()
        status = await reader.readline()
        if not status:
            raise ConnectionResetError("CODI closed the connection without an answer")
        return status.split(maxsplit=2)[1:2] == [b"200"]
    except ValueError:  # a line without an end
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
