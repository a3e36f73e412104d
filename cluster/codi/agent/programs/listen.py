"""Listens inside for somebody outside: ``codi:listen PORT``, 0 for any, ``unix:PATH``, or ``agent``.

``agent`` is a socket in a directory that it makes. It runs until its input ends, or it is told to end.
It prints a line of JSON when it listens, ``{"port" or "path", "door"}``, and one for each connection,
``{"connection", "host", "port"}``. Whoever fetches a connection connects to the door, sends its name first,
and has it from there on. What nobody fetches in time is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
from typing import Any

MAX_CONNECTIONS = 64
FETCH_SECONDS = 10.0
NAME_BYTES = 16
CHUNK = 64 << 10

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Listener:
    """The connections that came in and were not fetched yet, and those that are being carried."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[Connection]] = {}
        self._count = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tell of a connection that came in, and carry it once it is fetched."""
        peer = writer.get_extra_info("peername") or ("", 0)  # of a Unix socket there is none
        await self.offer((reader, writer), host=peer[0], port=peer[1])

    async def offer(self, connection: Connection, **said: Any) -> None:
        """Tell of a connection, and carry it once it is fetched."""
        writer = connection[1]
        if self._count >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._count += 1
        name = secrets.token_hex(NAME_BYTES // 2).encode()
        fetched = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            say(connection=name.decode(), **said)
            async with asyncio.timeout(FETCH_SECONDS):
                other = await fetched
            await _carry(connection, other)
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
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def say(**line: Any) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def open_door(listener: Listener) -> int:
    """Let connections be fetched; return the port where."""
    door = await asyncio.start_server(listener.fetch, "127.0.0.1", 0, limit=CHUNK)
    port: int = door.sockets[0].getsockname()[1]
    return port


async def _listen(where: str) -> None:
    listener = Listener()
    path = where.partition("unix:")[2]
    if where == "agent":
        path = tempfile.mkdtemp(prefix="ssh-", dir="/tmp") + "/agent"
    try:
        if path:
            _check_free(path)
            await asyncio.start_unix_server(listener.accept, path, limit=CHUNK)
            os.chmod(path, 0o600)
            said: dict[str, Any] = {"path": path}
        else:
            front = await asyncio.start_server(
                listener.accept, "127.0.0.1", int(where), limit=CHUNK
            )
            said = {"port": front.sockets[0].getsockname()[1]}
    except OSError as error:
        sys.exit(f"{where}: {error.strerror}")
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(0, ended.set)  # nothing is ever sent: it is the end
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    try:
        say(**said, door=await open_door(listener))
        await ended.wait()
    finally:
        if path:
            with contextlib.suppress(OSError):
                os.unlink(path)
                if where == "agent":
                    os.rmdir(path.rpartition("/")[0])


def _check_free(path: str) -> None:
    """Raise OSError unless there is nothing, or a socket at which nobody listens any more."""
    with (
        contextlib.suppress(FileNotFoundError, ConnectionRefusedError),
        socket.socket(socket.AF_UNIX) as probe,
    ):
        probe.settimeout(1)
        probe.connect(path)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def main() -> None:
    """Listen where the first argument says."""
    asyncio.run(_listen(sys.argv[1]))
