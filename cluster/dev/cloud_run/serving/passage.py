"""The passage of one request through a front door into a container, and of its answer back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import h11

from cluster.dev.cloud_run.serving.guard import Headers

READ_BYTES = 64 << 10
LARGEST_BODY = 32 << 20
"""Bytes of an HTTP/1.1 request, and of an answer that says its size."""

_CONNECT_SECONDS = 10.0
_LINGER_SECONDS = 2.0
_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te"),
        *(b"trailer", b"upgrade", b"proxy-connection"),
    }
)


class TooLarge(Exception):
    """A request with a larger body than the front door lets in."""


class Client:
    """The connection of a caller: HTTP/1.1, one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peer = h11.Connection(h11.SERVER)
        self.reader, self.writer = reader, writer

    async def request(self) -> h11.Request | None:
        """Return the next request, or None when there is none. Raises h11's RemoteProtocolError."""
        event = await self.event()
        return event if isinstance(event, h11.Request) else None

    async def event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """Return what comes next."""
        while (event := self.peer.next_event()) is h11.NEED_DATA:
            if self.peer.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.peer.receive_data(await self.reader.read(READ_BYTES))
        return event

    async def send(self, event: h11.Event) -> None:
        """Send a part of the answer."""
        self.writer.write(self.peer.send(event) or b"")
        await self.writer.drain()

    async def answer(self, status: int, text: str, headers: list[tuple[str, str]]) -> None:
        """Answer instead of the container, and close afterwards."""
        if self.peer.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        content = text.encode()
        sent = [("content-type", "text/html; charset=UTF-8"), ("connection", "close"), *headers]
        sent.append(("content-length", str(len(content))))
        await self.send(h11.Response(status_code=status, headers=sent))
        await self.send(h11.Data(data=content))
        await self.send(h11.EndOfMessage())
        await self._linger()

    async def _linger(self) -> None:
        """Let the caller read the answer: whoever is closed upon while sending sees a broken connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                self.writer.write_eof()
                while await self.reader.read(READ_BYTES):
                    pass


async def pass_through(
    client: Client, request: h11.Request, headers: Headers, address: str
) -> None:
    """Bring a request to a container and its answer back, a WebSocket until either side ends it.

    Raises TooLarge, OSError when the container breaks off, h11's errors for what is not HTTP.
    """
    if _length(request.headers) > LARGEST_BODY:
        raise TooLarge
    async with _connection(address) as (reader, writer):
        peer = h11.Connection(h11.CLIENT)
        upgrades = any(name == b"upgrade" for name, _ in request.headers)
        writer.write(peer.send(_forwarded(request, headers, upgrades=upgrades)) or b"")
        await writer.drain()
        sending = asyncio.create_task(_send_body(client, peer, writer))
        try:
            switched = await _receive(client, peer, reader, sending)
        finally:
            sending.cancel()
            sent = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(sent[0], TooLarge):
            raise sent[0]
        if switched:
            await _pump(client, peer, reader, writer)


@contextlib.asynccontextmanager
async def _connection(
    address: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(_CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


def _forwarded(request: h11.Request, headers: Headers, *, upgrades: bool) -> h11.Request:
    kept = [(name, value) for name, value in headers if name not in _HOP or upgrades]
    if not upgrades:
        kept.append((b"connection", b"close"))
    kept.append((b"x-forwarded-proto", b"https"))
    return h11.Request(method=request.method, target=request.target, headers=kept)


async def _send_body(client: Client, peer: h11.Connection, writer: asyncio.StreamWriter) -> None:
    passed = 0
    while True:
        event = await client.event()
        if isinstance(event, h11.Data):
            passed += len(event.data)
            if passed > LARGEST_BODY:
                raise TooLarge
        elif not isinstance(event, h11.EndOfMessage):
            raise ConnectionResetError("the caller is gone")
        writer.write(peer.send(event) or b"")
        await writer.drain()
        if isinstance(event, h11.EndOfMessage):
            break
    data = await client.reader.read(READ_BYTES)
    if not data:
        raise ConnectionResetError("the caller is gone")
    client.peer.receive_data(data)  # of the next request, or of the WebSocket


async def _receive(
    client: Client,
    peer: h11.Connection,
    reader: asyncio.StreamReader,
    sending: asyncio.Task[None],
) -> bool:
    """Bring the answer back; return whether the connection is a WebSocket's from now on."""
    while True:
        event = peer.next_event()
        if event is h11.NEED_DATA:
            peer.receive_data(await _read(reader, sending))
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                await client.send(event)
                return True
        elif isinstance(event, h11.Response):
            if _length(event.headers) > LARGEST_BODY:
                raise h11.RemoteProtocolError("the answer is too large")
            kept = [(name, value) for name, value in event.headers if name not in _HOP]
            await client.send(h11.Response(status_code=event.status_code, headers=kept))
        elif isinstance(event, h11.Data):
            await client.send(event)
        elif isinstance(event, h11.EndOfMessage):
            await client.send(event)
            return False
        else:
            raise ConnectionResetError("the container broke off")


async def _read(reader: asyncio.StreamReader, sending: asyncio.Task[None]) -> bytes:
    """Read from the container, as long as nothing goes wrong with what is sent to it."""
    reading = asyncio.ensure_future(reader.read(READ_BYTES))
    try:
        if not sending.done():
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not reading.done():
            sending.result()
        return await reading
    finally:
        reading.cancel()


async def _pump(
    client: Client,
    peer: h11.Connection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    client.writer.write(peer.trailing_data[0])
    writer.write(client.peer.trailing_data[0])
    ways = {
        asyncio.create_task(_pour(client.reader, writer)),
        asyncio.create_task(_pour(reader, client.writer)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(READ_BYTES):
        sink.write(data)
        await sink.drain()


def _length(headers: Headers) -> int:
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
