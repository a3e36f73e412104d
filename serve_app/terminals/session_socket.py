"""A session's one socket: its events, and any of its terminals, each frame behind the terminal's name.

A message is a name, a line feed, and a frame of the terminal protocol as it is on a terminal's own
socket. Messages without a name are events. ``{"type": "attach", …}`` with a terminal's parameters begins
one, ``{"type": "detach"}`` leaves it, ``{"type": "closed", "code", "reason"}`` is its end, whoever wanted it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from actors.core.errors.base import CoditectError
from cluster.codi.terminals.frames import (
    CLOSE_BAD_FRAME,
    CLOSE_SLOW,
    BadFrame,
    Request,
    check_name,
    control,
    parse_request,
)
from serve_app.http import problems
from serve_app.http.browser_socket import BrowserSocket, Disconnected, close_code

logger = structlog.get_logger(__name__)

MAX_CHANNELS = 64
"""Terminals of one socket, those that are being left among them: pages show 32."""

MAX_WAITING = 2 << 20
"""Bytes of a channel that its terminal has not taken; clients keep what is not acknowledged, 1 MiB."""

FRAME_COST = 64
LEAVE_SECONDS = 2.0
CLOSE_NORMAL = 1000
CLOSE_BROKEN = 1011
CLOSE_TOO_MANY = 4429


class Channel:
    """One terminal on a session's socket; to its relay it is a socket of its own."""

    def __init__(self, socket: BrowserSocket, name: str) -> None:
        self._socket = socket
        self._prefix = f"{name}\n"
        self._bytes_prefix = self._prefix.encode()
        self._frames: deque[bytes | str] = deque()
        self._cost = 0
        self._changed = asyncio.Event()
        self.left = asyncio.Event()
        self.end: tuple[int, str] = CLOSE_NORMAL, ""

    def put(self, frame: bytes | str) -> None:
        """Take a frame for the relay; too many end the channel."""
        self._cost += len(frame) + FRAME_COST
        if self._cost > MAX_WAITING:
            self.end = CLOSE_SLOW, "the terminal takes no input"
            self.leave()
            return
        self._frames.append(frame)
        self._changed.set()

    def leave(self) -> None:
        """Let the relay have what waits, and then nothing more."""
        self.left.set()
        self._changed.set()

    async def receive(self) -> bytes | str | None:
        """Return the next frame, None when the terminal was left."""
        while not self._frames:
            if self.left.is_set():
                return None
            self._changed.clear()
            await self._changed.wait()
        frame = self._frames.popleft()
        self._cost -= len(frame) + FRAME_COST
        return frame

    async def send(self, frame: bytes | str) -> None:
        """Send a frame; waits while the browser does not keep up. Raises Disconnected."""
        if isinstance(frame, str):
            await self._socket.send(self._prefix + frame)
        else:
            await self._socket.send(self._bytes_prefix + frame)

    async def close(self, code: int, reason: str) -> None:
        """Note why it ends; ``say_end`` tells the browser, once another may have its name."""
        self.end = code, reason

    async def say_end(self) -> None:
        """Send the last frame. Raises Disconnected."""
        code, reason = self.end
        await self.send(control("closed", code=code, reason=reason))


class SessionSocket:
    """The terminals of one socket. ``relay`` attaches a channel to its terminal until either ends it."""

    def __init__(
        self, socket: BrowserSocket, relay: Callable[[Channel, str, Request], Awaitable[None]]
    ) -> None:
        self._socket = socket
        self._relay = relay
        self._channels: dict[str, Channel] = {}

    async def run(self) -> None:
        """Serve the browser until it goes; closes the socket when it breaks the protocol.

        A terminal that cannot reach the browser any more ends it too: nobody would hear of its end.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._read(tasks)
                finally:
                    for channel in self._channels.values():
                        channel.leave()
        except* Disconnected:
            logger.info("a browser does not read its session's socket")
        except* BadFrame as broken:
            await self._socket.close(CLOSE_BAD_FRAME, str(broken.exceptions[0]))

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        while (message := await self._socket.receive()) is not None:
            name, frame = _parted(message)
            channel = self._channels.get(name)
            said = _said(frame) if isinstance(frame, str) else {}
            if said.get("type") == "attach":
                await self._attach(tasks, name, _parameters(said))
            elif channel is None:
                continue  # on its way when the channel ended
            elif said.get("type") == "detach":
                channel.leave()
            else:
                channel.put(frame)

    async def _attach(
        self, tasks: asyncio.TaskGroup, name: str, parameters: Mapping[str, str]
    ) -> None:
        if name in self._channels:
            raise BadFrame(f"terminal {name!r} is attached on this socket")
        channel = Channel(self._socket, name)
        try:
            check_name(name)
            request = parse_request(parameters)
        except BadFrame as error:
            channel.end = CLOSE_BAD_FRAME, str(error)
            await channel.say_end()
            return
        if len(self._channels) >= MAX_CHANNELS:
            channel.end = CLOSE_TOO_MANY, f"a socket has up to {MAX_CHANNELS} terminals"
            await channel.say_end()
            return
        self._channels[name] = channel
        tasks.create_task(self._serve(channel, name, request), name=f"terminal {name}")

    async def _serve(self, channel: Channel, name: str, request: Request) -> None:
        relay = asyncio.ensure_future(self._relay(channel, name, request))
        leaving = asyncio.ensure_future(channel.left.wait())
        try:
            await asyncio.wait({relay, leaving}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({relay}, timeout=LEAVE_SECONDS)
            if relay.done():
                relay.result()
        except Disconnected:
            raise
        except CoditectError as error:
            detail = problems.from_error(error, self._socket.path)[0]["detail"]
            channel.end = close_code(error), str(detail)
        except Exception:
            logger.exception("a terminal's relay failed", terminal=name)
            channel.end = CLOSE_BROKEN, "the server failed"
        finally:
            for each in (relay, leaving):
                each.cancel()
            await asyncio.gather(relay, leaving, return_exceptions=True)
            del self._channels[name]
        await channel.say_end()


def _parted(message: bytes | str) -> tuple[str, bytes | str]:
    """Return a message's name and its frame. Raises BadFrame."""
    if isinstance(message, bytes):
        raw, found, data = message.partition(b"\n")
        if found:
            return raw.decode(errors="replace"), data
    else:
        name, line_feed, text = message.partition("\n")
        if line_feed:
            return name, text
    raise BadFrame("a message is a terminal's name, a line feed, and a frame")


def _said(frame: str) -> dict[str, Any]:
    """Return a text frame's object; nothing for what is none: its terminal says what is wrong with it."""
    try:
        said = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _parameters(frame: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of an attach frame as a terminal's own socket has them in its address."""
    return {
        name: str(int(value)) if isinstance(value, bool) else str(value)
        for name, value in frame.items()
        if isinstance(value, str | int)
    }
