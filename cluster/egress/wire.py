"""A socket read and written piece by piece, each piece in its session's turn and within a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from cluster.egress.turns import Turns

PIECE = 64 << 10
IDLE_SECONDS = 300.0
TUNNEL_IDLE_SECONDS = 3600.0
"""How long nothing may move between two sides that may have nothing to say for long."""

_SLICE_SECONDS = 0.002
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 256 << 10


def _uncounted(_sent: int, _received: int) -> None:
    """Count nothing: what goes on inside of a container is its own."""


class Stream(Protocol):
    """What a side of a conversation is held over: a ``Wire``, or TLS over one."""

    socket: socket.socket

    async def read(self, seconds: float | None = IDLE_SECONDS) -> bytes:
        """Return what has come; nothing at the end. Raises OSError, TimeoutError."""
        ...

    async def write(self, data: bytes, seconds: float | None = IDLE_SECONDS) -> None:
        """Send all of it. Raises OSError, TimeoutError."""

    async def pause(self) -> None:
        """Let other sessions have their turns, if this one has had the processor for long."""

    async def watch(self) -> bytes:
        """Return what comes next as ``read`` does, however long that takes; cancelled, it loses nothing."""
        ...

    def is_quiet(self) -> bool:
        """Return whether nothing waits to be read, not even the end."""
        ...

    async def linger(self) -> None:
        """Let the last answer arrive though the other side still sends (RFC 9112, 9.6)."""


class Wire:
    """One socket of a conversation. ``count`` is told of bytes sent and received; it may raise."""

    def __init__(
        self,
        connected: socket.socket,
        turns: Turns,
        session_id: str,
        count: Callable[[int, int], None] = _uncounted,
    ) -> None:
        self.socket = connected
        self._count = count
        self._turns = turns
        self._session_id = session_id
        self._loop = asyncio.get_running_loop()
        self._turn_at = self._loop.time()

    async def read(self, seconds: float | None = IDLE_SECONDS) -> bytes:
        """Return what has come; nothing at the end. Raises OSError, TimeoutError."""
        async with asyncio.timeout(seconds):
            data = await self._loop.sock_recv(self.socket, PIECE)
        await self._turn()
        self._count(0, len(data))
        return data

    async def write(self, data: bytes, seconds: float | None = IDLE_SECONDS) -> None:
        """Send all of it. Raises OSError, TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._loop.sock_sendall(self.socket, data)
        self._count(len(data), 0)

    async def pause(self) -> None:
        """Let other sessions have their turns, if this one has had the processor for long."""
        if self._loop.time() - self._turn_at > _SLICE_SECONDS:
            await self._turn()

    async def watch(self) -> bytes:
        """Return what comes next as ``read`` does, however long that takes; cancelled, it loses nothing."""
        while True:
            await self._readable()
            await self._turn()
            try:
                data = self.socket.recv(PIECE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            self._count(0, len(data))
            return data

    async def _readable(self) -> None:
        readable = self._loop.create_future()

        def come() -> None:
            if not readable.done():
                readable.set_result(None)

        self._loop.add_reader(self.socket, come)
        try:
            await readable
        finally:
            self._loop.remove_reader(self.socket)

    def is_quiet(self) -> bool:
        """Return whether nothing waits to be read, not even the end."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def _turn(self) -> None:
        await self._turns.turn(self._session_id)
        self._turn_at = self._loop.time()

    async def linger(self) -> None:
        """Let the last answer arrive though the other side still sends (RFC 9112, 9.6)."""
        left = _LINGER_BYTES
        with contextlib.suppress(OSError, TimeoutError):
            self.socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_LINGER_SECONDS):
                while left > 0 and (data := await self.read()):
                    left -= len(data)
