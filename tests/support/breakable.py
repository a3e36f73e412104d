"""Connections to a server that break when a test wants it, as in a failing network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from coditect import AsyncClient, AsyncTerminal

_PIECE_BYTES = 64 << 10


class Breakable:
    """A relay to a server; ``url`` is the server's address through it."""

    def __init__(self, server: str) -> None:
        self.url = ""
        self._server = urlsplit(server)
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break what is connected now, without a goodbye; what connects later is carried."""
        for writer in self._open:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either end is over."""
        onward, answers = await asyncio.open_connection(self._server.hostname, self._server.port)
        ends = {writer, answers}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass_on(reader, answers))
                ways.create_task(_pass_on(onward, writer))
        except* OSError:
            pass
        finally:
            self._open -= ends
            for each in ends:
                each.transport.abort()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_PIECE_BYTES):
        target.write(data)
        await target.drain()
    with contextlib.suppress(OSError):
        target.write_eof()


@asynccontextmanager
async def breakable(client: AsyncClient) -> AsyncIterator[tuple[AsyncClient, Breakable]]:
    """Yield the same person's client through connections that can be cut."""
    line = Breakable(client.url)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, AsyncClient(line.url, access_token=client.access_token) as through:
        try:
            yield through, line
        finally:
            line.cut()


def times_attached(terminal: AsyncTerminal) -> int:
    """Return how many connections a terminal has had."""
    return [event["type"] for event in terminal.events].count("attached")
