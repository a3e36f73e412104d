"""Connections to programs inside: httpcore's pools over tunnels, one for each port of a container."""

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

MAX_CONNECTIONS = 32
"""Connections of one replica to one port of a container; what is more waits, and then is refused."""

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
        self._pools: dict[tuple[str, int], tuple[httpcore.AsyncConnectionPool, float]] = {}
        self._left: list[tuple[httpcore.AsyncConnectionPool, float]] = []

    def of(self, route: Route, port: int) -> httpcore.AsyncConnectionPool:
        """Return the pool of a port, of which no other one of the container takes connections."""
        key = route.container_id, port
        known = self._pools.get(key)
        pool = known[0] if known is not None else _new_pool(route)
        self._pools[key] = pool, self._clock.monotonic()
        return pool

    def drop(self, route: Route) -> None:
        """Begin no more by the pools of a container that has gone, or that another epoch rules.

        What is under way ends by itself: a newer epoch does not end a tunnel.
        """
        for key in [key for key in self._pools if key[0] == route.container_id]:
            self._left.append(self._pools.pop(key))

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
                for each in list(self._left):
                    if all(connection.is_idle() for connection in each[0].connections):
                        self._left.remove(each)
                        await each[0].aclose()
        finally:
            pools, self._pools = [*self._pools.values(), *self._left], {}
            self._left = []
            for pool, _ in pools:
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
