"""One HTTP/1.1 request on a connection of its own, over h11, for calls that are rare and small."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import h11

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
    """Return the status and the body of an answer of at most ``largest`` bytes; ``address`` is host:port.

    The caller sets the time limit. Raises OSError when nobody listens or the connection breaks, ValueError
    for what is not HTTP or too large.
    """
    host, _, port = address.rpartition(":")
    sent = [("host", address), ("connection", "close"), *headers]
    if content or method != "GET":
        sent.append(("content-length", str(len(content))))
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        peer = h11.Connection(h11.CLIENT)
        writer.write(peer.send(h11.Request(method=method, target=target, headers=sent)) or b"")
        writer.write(peer.send(h11.Data(data=content)) or b"")
        peer.send(h11.EndOfMessage())
        await writer.drain()
        status, body = 0, bytearray()
        while True:
            match peer.next_event():
                case h11.NEED_DATA:
                    data = await reader.read(_READ_BYTES)
                    if not data and not status:
                        raise ConnectionResetError("closed without an answer")
                    peer.receive_data(data)
                case h11.Response(status_code=status):
                    pass
                case h11.Data(data=part):
                    body += part
                    if len(body) > largest:
                        raise ValueError(f"an answer of more than {largest} bytes")
                case h11.EndOfMessage():
                    return status, bytes(body)
    except h11.ProtocolError as error:
        raise ValueError(f"the answer is not HTTP: {error}") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
