"""A TCP connection to a port inside, over a caller's WebSocket.

Binary frames are its bytes. The text frame ``{"type": "end"}`` ends the sender's direction; when both have
ended the socket closes normally (1000), and with 1014 when the program has broken off. Other text is ignored.
"""

from __future__ import annotations

import asyncio
import json

from cluster.codi.terminals.frames import control
from cluster.codi.tunnel import open_tunnel
from serve_app.http.browser_socket import BrowserSocket, Disconnected
from serve_app.sessions.gateway import SessionGateway

_PIECE = 64 << 10
_NORMAL, _BROKEN_OFF = 1000, 1014


async def forward(
    gateway: SessionGateway, socket: BrowserSocket, session_id: str, port: int
) -> None:
    """Carry bytes until both sides have ended. Raises NotFound and its like, Disconnected."""
    made = await gateway.once_on_container(session_id, lambda route: open_tunnel(route, port))
    reader, writer = await asyncio.open_connection(sock=made)
    inward = asyncio.create_task(_inward(socket, writer), name=f"into port {port}")
    outward = asyncio.create_task(_outward(reader, socket), name=f"out of port {port}")
    try:
        await asyncio.gather(inward, outward)
        await socket.close(_NORMAL, "")
    except OSError:
        await socket.close(_BROKEN_OFF, "the program has broken off")
    finally:
        for task in (inward, outward):
            task.cancel()
        await asyncio.gather(inward, outward, return_exceptions=True)
        writer.transport.abort()


async def _inward(socket: BrowserSocket, writer: asyncio.StreamWriter) -> None:
    while (frame := await socket.receive()) is not None:
        if isinstance(frame, bytes):
            writer.write(frame)
            await writer.drain()
        elif _is_end(frame):
            writer.write_eof()
            return
    raise Disconnected("the caller has gone")


async def _outward(reader: asyncio.StreamReader, socket: BrowserSocket) -> None:
    while data := await reader.read(_PIECE):
        # Who does not read holds up the program, for as long as they like; nothing waits but this piece.
        await socket.send(data, endlessly=True)
    await socket.send(control("end"))


def _is_end(frame: str) -> bool:
    try:
        said = json.loads(frame)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("type") == "end"
