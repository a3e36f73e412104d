"""Listens inside for somebody outside: ``codi:listen PORT``, 0 for any. Runs until its input ends.

It prints a line of JSON when it listens, ``{"port", "door"}``, and one for each connection,
``{"connection", "host", "port"}``. Whoever fetches a connection connects to the door, sends its name first,
and has it from there on. What nobody fetches in time is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from typing import Any

MAX_CONNECTIONS = 64
FETCH_SECONDS = 10.0
NAME_BYTES = 16
_CHUNK = 64 << 10

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Listener:
    """The connections that came in and were not fetched yet, and those that are being carried."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[Connection]] = {}
        self._count = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell of a connection, and carry it once it is fetched."""
        if self._count >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._count += 1
        name = secrets.token_hex(NAME_BYTES // 2).encode()
        fetched = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            host, port = writer.get_extra_info("peername")[:2]
            _say(connection=name.decode(), host=host, port=port)
            async with asyncio.timeout(FETCH_SECONDS):
                other = await fetched
            await _carry((reader, writer), other)
        except (TimeoutError, OSError):
            writer.transport.abort()
        finally:
            self._waiting.pop(name, None)
            self._count -= 1

    async def fetch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Give a connection to whoever names it."""
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(FETCH_SECONDS):
                name = await reader.readexactly(NAME_BYTES)
            waiting = self._waiting.pop(name, None)
            if waiting is not None and not waiting.done():
                waiting.set_result((reader, writer))
                return
        writer.transport.abort()


async def _carry(one: Connection, other: Connection) -> None:
    ways = [
        asyncio.create_task(_pump(one[0], other[1])),
        asyncio.create_task(_pump(other[0], one[1])),
    ]
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()
        for _, writer in (one, other):
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _listen(port: int) -> None:
    listener = Listener()
    try:
        front = await asyncio.start_server(listener.accept, "127.0.0.1", port, limit=_CHUNK)
    except OSError as error:
        sys.exit(f"port {port}: {error.strerror}")
    door = await asyncio.start_server(listener.fetch, "127.0.0.1", 0, limit=_CHUNK)
    ports = (server.sockets[0].getsockname()[1] for server in (front, door))
    _say(**dict(zip(("port", "door"), ports, strict=True)))
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(0, ended.set)  # nothing is ever sent: it is the end
    await ended.wait()


def main() -> None:
    """Listen at the port that the first argument says."""
    asyncio.run(_listen(int(sys.argv[1])))
