"""Carries an SSH client's bytes between its WebSocket and the node's gateway."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from actors.core.errors.base import Unavailable
from cluster.codi.terminals.frames import CLOSE_BAD_FRAME
from serve_app.auth.tokens import Login
from serve_app.dependencies import Dependencies
from serve_app.http.browser_socket import MAX_FRAME, BrowserSocket
from serve_app.ssh.handover import Entry
from serve_app.ssh.places import gateway_socket

GATEWAY_SECONDS = 5.0
CLOSE_NORMAL = 1000
_CHUNK = 64 << 10
_MAX_AGENT = 256


async def relay_ssh(
    deps: Dependencies, socket: BrowserSocket, session_id: str, login: Login
) -> None:
    """Carry bytes until either side ends it. Raises Unavailable when there is no gateway."""
    entry = Entry(
        login.user_id,
        login.family,
        login.generation,
        session_id,
        socket.address,
        socket.headers.get("user-agent", "")[:_MAX_AGENT],
    )
    try:
        async with asyncio.timeout(GATEWAY_SECONDS):
            reader, writer = await asyncio.open_unix_connection(
                gateway_socket(deps.settings, deps.node_id), limit=_CHUNK
            )
    except (OSError, TimeoutError) as error:
        raise Unavailable("ssh", str(error) or "no answer") from error
    writer.write(entry.encode())
    ways = [
        asyncio.create_task(_from_client(socket, writer), name=f"ssh in {session_id}"),
        asyncio.create_task(_to_client(reader, socket), name=f"ssh out {session_id}"),
    ]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.transport.abort()


async def _from_client(socket: BrowserSocket, writer: asyncio.StreamWriter) -> None:
    while (frame := await socket.receive()) is not None:
        if isinstance(frame, str) or len(frame) > MAX_FRAME:
            await socket.close(CLOSE_BAD_FRAME, f"binary frames of up to {MAX_FRAME} bytes")
            return
        writer.write(frame)
        try:
            await writer.drain()
        except OSError:
            return


async def _to_client(reader: asyncio.StreamReader, socket: BrowserSocket) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            await socket.send(data)
    await socket.close(CLOSE_NORMAL, "the connection has ended")
