"""Carries bytes between a caller and a program that listens inside: no task, no queue but the transports'.

What one side does not take is not read from the other, so a tunnel holds two transport buffers at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import Exchange
from cluster.codi.agent.link import WRITE_BUFFER

MAX_TUNNELS = 256
_LOOPBACKS = ("127.0.0.1", "::1")
_CONNECT_SECONDS = 5.0
_LINGER_SECONDS = 30.0
_LARGEST_PORT = 65535


class _Side(asyncio.Protocol):
    """One of the two connections; what comes here goes out at the other, its end included."""

    transport: asyncio.Transport
    other: _Side

    def __init__(self, used: Callable[[], None], sides: set[_Side]) -> None:
        self._used = used
        self._sides = sides
        self.finished = False
        sides.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def data_received(self, data: bytes) -> None:
        self._used()
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end on; the other direction goes on until it ends, too."""
        self.finished = True
        if self.other.finished:
            self.transport.close()
            self.other.transport.close()
        else:
            self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other one: at once after a failure, else when it has taken what is left."""
        self._sides.discard(self)
        other = getattr(self, "other", None)  # there is none when the caller went meanwhile
        if other is None:
            return
        if exc is not None:
            other.transport.abort()
        elif not other.transport.is_closing():
            other.transport.close()
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, other.transport.abort)


class Tunnels:
    """All tunnels of the container. ``used`` is called whenever bytes move; some ports are not reached."""

    def __init__(self, used: Callable[[], None], closed_ports: frozenset[int]) -> None:
        self._used = used
        self._closed_ports = closed_ports
        self._sides: set[_Side] = set()
        self._connecting = 0

    async def open(self, exchange: Exchange, port: int) -> None:
        """Connect to a port inside, then turn the request's connection into the way to it.

        Raises AgentError, before the upgrade: ``not_found`` where nothing listens, ``exhausted`` where
        what listens takes no connection, ``too_many``.
        """
        _check_upgrade(exchange)
        if port in self._closed_ports:
            raise _nothing_on(port)
        if len(self._sides) // 2 + self._connecting >= MAX_TUNNELS:
            raise AgentError(409, "too_many", f"up to {MAX_TUNNELS} connections at once")
        self._connecting += 1
        try:
            inner = await self._connect(port)
        finally:
            self._connecting -= 1
        if exchange.link.ended.done():
            inner.transport.abort()
            raise ConnectionResetError("the caller has gone")
        early = exchange.switch([("upgrade", "tcp")])
        outer = _Side(self._used, self._sides)
        outer.other, inner.other = inner, outer
        outer.connection_made(exchange.link.transport)
        exchange.link.transport.set_protocol(outer)
        if early:
            outer.data_received(early)
        inner.transport.resume_reading()

    def close(self) -> None:
        """Break all of them off."""
        for side in list(self._sides):
            side.transport.abort()

    async def _connect(self, port: int) -> _Side:
        """Connect to whichever loopback address is listened on; nothing is read yet."""
        loop = asyncio.get_running_loop()
        for host in _LOOPBACKS:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    _, side = await loop.create_connection(
                        lambda: _Inner(self._used, self._sides), host, port
                    )
            except TimeoutError:
                raise AgentError(503, "exhausted", f"port {port} takes no connection") from None
            except OSError:
                continue
            return side
        raise _nothing_on(port)


class _Inner(_Side):
    """The program's side, which waits until there is somebody to give its bytes to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()


def port_number(text: str) -> int:
    """Return a port. Raises AgentError."""
    if not (
        text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= _LARGEST_PORT
    ):
        raise invalid(f"port: a number from 1 to {_LARGEST_PORT}")
    return int(text)


def _check_upgrade(exchange: Exchange) -> None:
    headers = exchange.headers
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise invalid("the request of a tunnel has no body")
    wanted = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    if "upgrade" not in wanted or headers.get("upgrade", "").lower() != "tcp":
        raise AgentError(426, "upgrade_required", "this is a tunnel: Upgrade: tcp")


def _nothing_on(port: int) -> AgentError:
    detail = f"nothing listens on port {port}"
    return AgentError(404, "not_found", detail, kind="port", identity=str(port))
