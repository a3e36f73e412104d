"""Connections to programs inside: httpcore's pools over tunnels, one pool for each container."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from actors.core.ports.clock import Clock
from actors.core.records.sessions import Route
from cluster.codi.tunnel import open_tunnel

MAX_CONNECTIONS = 64
"""Connections of one replica to one container; what is more waits, and then is refused."""

UNUSED_SECONDS = 60.0
_KEEPALIVE_SECONDS = 20.0
_KEPT = 16
_CONNECT_SECONDS = 8.0


class _Stream(httpcore.AsyncNetworkStream):
    """A tunnel as httpcore wants it. Nothing is read ahead, so nothing is held."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self._loop = asyncio.get_running_loop()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._loop.sock_recv(self._socket, max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._loop.sock_sendall(self._socket, buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._socket.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError  # programs inside are spoken to in plain HTTP

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return _has_something(self._socket)
        return self._socket if info == "socket" else None


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to ports of one container."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a tunnel, whatever the host is called. Raises what ``open_tunnel`` does."""
        return _Stream(await open_tunnel(self._route, port, timeout_seconds=_CONNECT_SECONDS))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Pools:
    """The pools of one replica. ``run`` closes those that nobody uses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pools: dict[str, tuple[httpcore.AsyncConnectionPool, float]] = {}

    def of(self, route: Route) -> httpcore.AsyncConnectionPool:
        """Return the pool of a container."""
        known = self._pools.get(route.container_id)
        pool = known[0] if known is not None else _new_pool(route)
        self._pools[route.container_id] = pool, self._clock.monotonic()
        return pool

    async def drop(self, route: Route) -> None:
        """Close the pool of a container that has gone, or that another epoch rules."""
        known = self._pools.pop(route.container_id, None)
        if known is not None:
            await known[0].aclose()

    async def run(self) -> None:
        """Close pools that nobody uses, until cancelled; then all."""
        try:
            while True:
                await self._clock.sleep(UNUSED_SECONDS / 2)
                since = self._clock.monotonic() - UNUSED_SECONDS
                for key, (pool, used_at) in list(self._pools.items()):
                    if used_at < since and all(each.is_idle() for each in pool.connections):
                        del self._pools[key]
                        await pool.aclose()
        finally:
            pools, self._pools = self._pools, {}
            for pool, _ in pools.values():
                await pool.aclose()


def _new_pool(route: Route) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=_KEPT,
        keepalive_expiry=_KEEPALIVE_SECONDS,
        network_backend=_Backend(route),
    )


def _has_something(made: socket.socket) -> bool:
    """Return whether there is something to read, which of an idle connection is its end."""
    if made.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(made, select.POLLIN)
    return bool(poll.poll(0))
