"""A channel to a port at the workspace's own localhost, or to a Unix socket in it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import asyncssh

from actors.core.errors.base import CoditectError
from actors.core.records.sessions import Route
from cluster.codi.tunnel import open_tunnel
from serve_app.ssh.inside import Inside
from serve_app.ssh.visit import Visit

_CHUNK = 64 << 10
_HIGH_WATER = 128 << 10
_LINGER_SECONDS = 30.0
_CONNECT_SECONDS = 10.0


async def open_forward(visit: Visit, port: int) -> Forward:
    """Connect to a port inside. Raises ChannelOpenError, which says why not."""

    async def connect(route: Route) -> socket.socket:
        return await open_tunnel(route, port)

    try:
        made = await visit.on_container(connect)
        reader, writer = await asyncio.open_connection(sock=made, limit=_CHUNK)
    except (CoditectError, OSError) as error:
        visit.give_channel_back()
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from None
    except BaseException:
        visit.give_channel_back()
        raise
    writer.transport.set_write_buffer_limits(high=_HIGH_WATER)
    return Forward(visit, reader, writer)


async def open_unix_forward(visit: Visit, path: str) -> Forward:
    """Connect to a Unix socket inside, as the workspace's user. Raises ChannelOpenError: why not."""
    inside: Inside | None = None
    try:
        inside = await Inside.start(visit, ["codi:connect", path])
        async with asyncio.timeout(_CONNECT_SECONDS):
            came = await inside.line()
            reader, writer = await inside.fetch(came["door"], came["connection"])
    except BaseException as error:
        visit.give_channel_back()
        if inside is not None:
            await inside.close()
        if isinstance(error, CoditectError | OSError | KeyError):
            reason = "nothing to connect to there"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, reason) from None
        raise
    visit.spawn("connection to a socket", _until_over(inside))
    writer.transport.set_write_buffer_limits(high=_HIGH_WATER)
    return Forward(visit, reader, writer)


async def _until_over(inside: Inside) -> None:
    """Keep a program for as long as its connection lasts: it says nothing more, and ends with that."""
    try:
        with suppress(CoditectError):
            await inside.line()
    finally:
        await inside.close()


class Forward(asyncssh.SSHTCPSession[bytes]):
    """Carries bytes both ways; each direction ends by itself."""

    def __init__(
        self, visit: Visit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._visit = visit
        self._reader = reader
        self._writer = writer
        self._channel: Any = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._drained = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._over = visit.on_end(self._close)

    def connection_made(self, chan: Any) -> None:
        """Begin."""
        self._channel = chan
        self._task = self._visit.spawn("forward", self._pump())

    def data_received(self, data: bytes, datatype: Any) -> None:
        """Give the program what the client sends, and hold the client back while it takes nothing."""
        self._writer.write(data)
        self._visit.used()
        if self._drain is None and self._writer.transport.get_write_buffer_size() > _HIGH_WATER:
            self._channel.pause_reading()
            self._drain = self._visit.spawn("drain", self._until_drained())

    def eof_received(self) -> bool:
        """Pass the end on; the other direction goes on."""
        with suppress(OSError, RuntimeError):
            self._writer.write_eof()
        return True

    def pause_writing(self) -> None:
        """Read no more: the client does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other side."""
        self._visit.give_channel_back()
        self._over()
        for task in (self._task, self._drain):
            if task is not None:
                task.cancel()
        self._close()

    async def _until_drained(self) -> None:
        with suppress(OSError):
            await self._writer.drain()
        self._drain = None
        self._channel.resume_reading()

    async def _pump(self) -> None:
        try:
            while data := await self._reader.read(_CHUNK):
                self._channel.write(data)
                await self._writable.wait()
                await self._visit.connection.room.wait()
            self._channel.write_eof()
        except OSError:
            self._channel.close()

    def _close(self) -> None:
        transport = self._writer.transport
        if self._channel is None:
            transport.abort()
            return
        self._writer.close()
        # What the program does not take would hold the tunnel for ever.
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, transport.abort)
