"""The bytes of one connection, both ways, with bounded buffers and time limits."""

from __future__ import annotations

import asyncio
from typing import cast

READ_BUFFER = 256 << 10
WRITE_BUFFER = 64 << 10


class Link(asyncio.Protocol):
    """A transport to read from and write to; one coroutine uses it.

    It can be handed over to another protocol, which is why it is not an asyncio stream. ``ended`` is
    done as soon as the other side sends no more: it has closed the connection, or is lost.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._lost = False
        self._reading = True
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; answers are small packets that should not wait for one another."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def data_received(self, data: bytes) -> None:
        """Keep data for ``read``; beyond the bound the sender has to wait."""
        self._buffer += data
        if len(self._buffer) > READ_BUFFER and self._reading:
            self._reading = False
            self.transport.pause_reading()
        _wake(self._readable)

    def eof_received(self) -> bool:
        """Note the end; what was asked before is still answered."""
        _wake(self.ended)
        _wake(self._readable)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        self._lost = True
        _wake(self.ended)
        _wake(self._readable)
        _wake(self._writable)

    def pause_writing(self) -> None:
        """Make ``drain`` wait."""
        self._writable = self._writable or self._loop.create_future()

    def resume_writing(self) -> None:
        """Let ``drain`` go on."""
        _wake(self._writable)
        self._writable = None

    async def read(self, timeout_seconds: float) -> bytes:
        """Return what has come, or b"" at the end. Raises TimeoutError."""
        if not self._buffer and not self.ended.done():
            self._readable = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._readable
            finally:
                self._readable = None
        return self.take()

    def take(self) -> bytes:
        """Return what has come already."""
        data = bytes(self._buffer)
        self._buffer.clear()
        if not self._reading and not self._lost:
            self._reading = True
            self.transport.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Send; follow large pieces with ``drain``."""
        self.transport.write(data)

    async def drain(self, timeout_seconds: float) -> None:
        """Wait until the receiver keeps up. Raises TimeoutError, ConnectionResetError."""
        if self._writable is not None:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.shield(self._writable)
        if self._lost:
            raise ConnectionResetError("the connection was lost")

    def close(self) -> None:
        """Send what is written and close."""
        self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
