"""Listens inside for an SSH client (``ssh -R``): what connects there becomes a channel to the client."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import asyncssh
import structlog

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.records.sessions import Route
from cluster.codi.programs.client import Program, start_program
from cluster.codi.programs.frames import STDOUT
from cluster.codi.tunnel import open_tunnel
from serve_app.ssh.forwarding import Forward
from serve_app.ssh.visit import Visit

logger = structlog.get_logger(__name__)

LISTEN_SECONDS = 10.0
_MAX_LINE = 4096
_CHUNK = 64 << 10


class RemoteListener(asyncssh.SSHListener):
    """A port inside at which programs reach the client. ``host`` is what the client calls it."""

    def __init__(self, visit: Visit, host: str, running: Program) -> None:
        super().__init__()
        self._visit = visit
        self._host = host
        self._running = running
        self._text = b""
        self._port = self._door = 0
        self._asked = 0
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, visit: Visit, host: str, port: int) -> RemoteListener:
        """Listen at the workspace's localhost; ``port`` 0: at any. Raises OSError when that cannot be."""

        async def start(route: Route) -> Program:
            return await start_program(route, ["codi:listen", str(port)])

        try:
            made = cls(visit, host, await visit.on_container(start))
        except CoditectError as error:
            raise OSError(str(error)) from error
        try:
            async with asyncio.timeout(LISTEN_SECONDS):
                first = await made._line()
            made._port, made._door = first["port"], first["door"]
        except (CoditectError, TimeoutError, KeyError) as error:
            await made._running.close()
            raise OSError(str(error)) from error
        made._asked = port or made._port
        made._task = visit.spawn("listener", made._run())
        return made

    def get_port(self) -> int:
        """Return the port that it listens at."""
        return self._port

    def close(self) -> None:
        """Listen no more; connections that are there go on."""
        if self._task is not None:
            self._task.cancel()

    async def wait_closed(self) -> None:
        """Return when it listens no more."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                came = await self._line()
                self._visit.spawn("connection from inside", self._hand_out(came))
        except CoditectError as error:
            logger.info("an SSH client's port inside is gone", reason=str(error))
        finally:
            await self._running.close()

    async def _line(self) -> dict[str, Any]:
        """Return what the program inside says next. Raises Unavailable when it has ended."""
        while b"\n" not in self._text:
            output = await self._running.read()
            if output is None or len(self._text) > _MAX_LINE:
                raise Unavailable("port", "nothing listens")
            if output.channel == STDOUT:
                self._text += output.data
        line, _, self._text = self._text.partition(b"\n")
        try:
            found = json.loads(line)
            return {name: int(found[name]) for name in ("port", "door") if name in found} | {
                name: str(found[name]) for name in ("connection", "host") if name in found
            }
        except (ValueError, TypeError) as error:  # the workspace's own programs may say anything
            raise Unavailable("port", str(error)) from None

    async def _hand_out(self, came: dict[str, Any]) -> None:
        """Open a channel to the client for a connection, and fetch the connection for it."""
        try:
            self._visit.take_channel()
        except asyncssh.ChannelOpenError:
            return  # nobody fetches it, so it is closed
        try:
            reader, writer = await self._fetch(came)
            made = Forward(self._visit, reader, writer)
        except (CoditectError, OSError, KeyError):
            self._visit.give_channel_back()
            return
        try:
            await self._visit.connection.create_connection(
                lambda: made, self._host, self._asked, came["host"], came["port"]
            )
        except (asyncssh.Error, OSError):
            made.connection_lost(None)

    async def _fetch(
        self, came: dict[str, Any]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async def connect(route: Route) -> socket.socket:
            return await open_tunnel(route, self._door)

        made = await self._visit.on_container(connect)
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(made, came["connection"].encode())
        return await asyncio.open_connection(sock=made, limit=_CHUNK)
