"""Forwards a port of this machine to one in a workspace: each connection is a WebSocket of its own."""

from __future__ import annotations

import asyncio
import json
import weakref
from contextlib import suppress
from typing import Protocol, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from coditect.errors import ClientError, ConnectionFailed, Unauthorized, from_refusal

MAX_CONNECTIONS = 128
_PIECE = 64 << 10
_MAX_FRAME = 1 << 20
_CLOSE_SECONDS = 1.0
_END = json.dumps({"type": "end"})


class Signed(Protocol):
    """Who opens the sockets: the client."""

    access_token: str | None

    async def renew(self, refused_token: str | None) -> None:
        """Get another token than one that was refused."""
        ...


class AsyncPortForward:
    """A port of this machine that leads to one in a workspace, until it is closed.

    ``error`` is why the last connection could not be made, for who wants to know.
    """

    def __init__(self, client: Signed, url: str) -> None:
        self.port = 0
        self.error: ClientError | None = None
        self._client = weakref.proxy(client)
        self._url = url
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def listen(self, host: str, port: int) -> None:
        """Begin to listen. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and break connections off. Idempotent."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except ClientError as error:
            self.error = error
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = await self._connected()
        inward = asyncio.create_task(_inward(reader, connection))
        outward = asyncio.create_task(_outward(connection, writer))
        try:
            await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in (inward, outward):
                task.cancel()
            await asyncio.gather(inward, outward, return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await connection.close()

    async def _connected(self) -> ClientConnection:
        token = self._client.access_token
        try:
            return await self._open()
        except Unauthorized:
            await self._client.renew(token)
            return await self._open()

    async def _open(self) -> ClientConnection:
        headers = {"authorization": f"Bearer {self._client.access_token}"}
        try:
            return await connect(
                self._url,
                additional_headers=headers,
                compression=None,
                max_size=_MAX_FRAME,
                max_queue=4,
                ping_interval=None,  # who holds bytes back, which may take long, could not answer
            )
        except InvalidStatus as refused:
            raise from_refusal(refused) from refused
        except (OSError, TimeoutError, WebSocketException) as error:
            raise ConnectionFailed(self._url, str(error) or type(error).__name__) from error


async def _inward(reader: asyncio.StreamReader, connection: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while data := await reader.read(_PIECE):
            await connection.send(data)
        await connection.send(_END)


async def _outward(connection: ClientConnection, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            frame = await connection.recv()
            if isinstance(frame, str):
                writer.write_eof()
            else:
                writer.write(frame)
                await writer.drain()
    except ConnectionClosed as closed:
        if closed.rcvd is None or closed.rcvd.code != 1000:
            raise  # broken off inside: so it is here
        if not writer.is_closing():
            writer.close()
            await writer.wait_closed()
