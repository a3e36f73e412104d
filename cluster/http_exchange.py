"""HTTP/1.1 requests to containers, a connection each, over h11, for calls that are rare and small."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from functools import cache
from typing import TYPE_CHECKING

import h11

from cluster.container_address import Address, parse
from cluster.identity_tokens import access

if TYPE_CHECKING:
    import ssl

_READ_BYTES = 64 << 10


async def exchange(
    address: str,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    content: bytes = b"",
    *,
    largest: int,
) -> tuple[int, bytes]:
    """Return the status and the body of an answer of at most ``largest`` bytes; see ``container_address``.

    The caller sets the time limit. Raises OSError when nobody listens or the connection breaks, ValueError
    for what is not HTTP or too large; Unavailable and DeadlineExceeded when it is not let in.
    """
    last, body = 0, bytearray()
    async with contextlib.aclosing(stream(address, method, target, headers, content)) as parts:
        async for status, part in parts:
            last = status
            body += part
            if len(body) > largest:
                raise ValueError(f"an answer of more than {largest} bytes")
    return last, bytes(body)


async def stream(
    address: str,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]],
    content: bytes = b"",
) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the status with each part of an answer's body, the first one empty. Raises as ``exchange``."""
    to = parse(address)
    fields = (await access(to)).items()
    sent = [("host", to.authority), ("connection", "close"), *fields, *headers]
    if content or method != "GET":
        sent.append(("content-length", str(len(content))))
    reader, writer = await open_connection(to)
    try:
        peer = h11.Connection(h11.CLIENT)
        writer.write(peer.send(h11.Request(method=method, target=target, headers=sent)) or b"")
        writer.write(peer.send(h11.Data(data=content)) or b"")
        peer.send(h11.EndOfMessage())
        await writer.drain()
        status = 0
        while True:
            match peer.next_event():
                case h11.NEED_DATA:
                    data = await reader.read(_READ_BYTES)
                    if not data and not status:
                        raise ConnectionResetError("closed without an answer")
                    peer.receive_data(data)
                case h11.Response(status_code=status):
                    yield status, b""
                case h11.Data(data=part):
                    yield status, bytes(part)
                case h11.EndOfMessage():
                    return
    except h11.ProtocolError as error:
        raise ValueError(f"the answer is not HTTP: {error}") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def open_connection(to: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a container, over TLS where its address says so. Raises OSError."""
    return await asyncio.open_connection(to.host, to.port, ssl=tls() if to.secure else None)


@cache
def tls() -> ssl.SSLContext:
    """Return how containers behind Google's front are checked: by the machine's authorities."""
    import ssl  # noqa: PLC0415 - reading the authorities takes 40 ms, and most servers need none

    return ssl.create_default_context()
