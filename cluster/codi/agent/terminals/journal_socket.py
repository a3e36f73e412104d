"""The journal's WebSocket, as an asyncio protocol: no task, no queue but the transport's.

What waits in the transport is bounded by the feed: one batch for each terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.codi.agent.terminals.journal_feed import JournalFeed
from cluster.codi.agent.websocket import Unreadable, WebSocket

_CLOSE_BAD_FRAME = 4400


class JournalSocket(asyncio.Protocol):
    """Takes over a transport whose upgrade has been answered."""

    def __init__(
        self,
        transport: asyncio.Transport,
        feed: JournalFeed,
        on_lost: Callable[[JournalSocket], None],
    ) -> None:
        self._transport = transport
        self._websocket = WebSocket(transport)
        self._feed = feed
        self._on_lost = on_lost

    def start(self, early: bytes) -> None:
        """Announce every terminal. ``early`` came right behind the upgrade."""
        self._feed.connect(self)
        if early:
            self.data_received(early)

    def send(self, message: bytes | str) -> None:
        """Send a frame."""
        self._websocket.send(message)

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        self._feed.disconnect(self)
        self._websocket.close(code, reason)
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take frames from the journal."""
        try:
            for message in self._websocket.receive(data):
                if isinstance(message, str):
                    self._feed.receive(message)
        except (Unreadable, ValueError, KeyError, TypeError) as error:
            self.close(_CLOSE_BAD_FRAME, repr(error))
        if not self._websocket.open:
            self._feed.disconnect(self)
            self._transport.close()

    def eof_received(self) -> bool:
        """Close: nobody listens at the other side."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the terminals wait for the next connection."""
        self._feed.disconnect(self)
        self._on_lost(self)
