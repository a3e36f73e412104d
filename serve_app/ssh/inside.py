"""A program of CODI's that has connections for the gateway (``codi:listen``, ``codi:connect``)."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from actors.core.errors.base import Unavailable
from actors.core.records.sessions import Route
from cluster.codi.programs.client import Program, start_program
from cluster.codi.programs.frames import STDOUT
from cluster.codi.tunnel import open_tunnel
from serve_app.ssh.visit import Visit

_MAX_LINE = 4096
CHUNK = 64 << 10


class Inside:
    """What it says, line by line, and the connections of which it speaks."""

    def __init__(self, visit: Visit, running: Program) -> None:
        self._visit = visit
        self._running = running
        self._text = b""

    @classmethod
    async def start(cls, visit: Visit, argv: Sequence[str]) -> Inside:
        """Start it in the session's container. Raises CoditectError."""

        async def start(route: Route) -> Program:
            return await start_program(route, argv, on_close="hang_up")  # it tidies up

        return cls(visit, await visit.on_container(start))

    async def close(self) -> None:
        """End it."""
        await self._running.close()

    async def line(self) -> dict[str, Any]:
        """Return what it says next. Raises Unavailable when it has ended."""
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
                name: str(found[name]) for name in ("connection", "host", "path") if name in found
            }
        except (ValueError, TypeError) as error:  # the workspace's own programs may say anything
            raise Unavailable("port", str(error)) from None

    async def fetch(
        self, door: int, connection: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection of which it has spoken. Raises CoditectError, OSError."""

        async def connect(route: Route) -> socket.socket:
            return await open_tunnel(route, door)

        made = await self._visit.on_container(connect)
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(made, connection.encode())
        return await asyncio.open_connection(sock=made, limit=CHUNK)
