"""The journal's WebSocket, as an asyncio protocol: no task, no queue but the transport's.

What waits in the transport is bounded by the feed: one batch for each terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from cluster.codi.agent.terminals.journal_feed import JournalFeed

_CLOSE_BAD_FRAME = 4400


class JournalSocket(asyncio.Protocol):
    """Takes over a transport whose upgrade has been answered."""

    def __init__(
        self,
        transport: asyncio.Transport,
        websocket: ServerProtocol,
        feed: JournalFeed,
        on_lost: Callable[[JournalSocket], None],
    ) -> None:
        self._transport = transport
        self._websocket = websocket
        self._feed = feed
        self._on_lost = on_lost
        self._text = bytearray()

    def start(self, early: bytes) -> None:
        """Announce every terminal. ``early`` came right behind the upgrade."""
        self._feed.connect(self)
        if early:
            self.data_received(early)

    def send_text(self, text: str) -> None:
        """Send a text frame."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_text(text.encode())
            self._flush()

    def send_binary(self, data: bytes) -> None:
        """Send a binary frame."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_binary(data)
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        self._feed.disconnect(self)
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(code, reason)
            self._flush()
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take frames from the journal."""
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.CONT}:
                self._text += event.data
                if event.fin:
                    text, self._text = bytes(self._text), bytearray()
                    try:
                        self._feed.receive(text.decode())
                    except (ValueError, KeyError, TypeError) as error:
                        self.close(_CLOSE_BAD_FRAME, repr(error)[:100])
        self._flush()
        if self._websocket.state is not State.OPEN:
            self._feed.disconnect(self)
            self._transport.close()

    def eof_received(self) -> bool:
        """Close: nobody listens at the other side."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the terminals wait for the next connection."""
        self._feed.disconnect(self)
        self._on_lost(self)

    def _flush(self) -> None:
        """Hand the protocol's output to the transport; an empty piece means that it is the last."""
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()
