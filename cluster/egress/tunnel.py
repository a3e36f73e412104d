"""Moves bytes between two sockets, both ways, until both have ended. An idle tunnel has no buffer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from cluster.egress.turns import Turns

PIECE = 128 << 10
_EMPTY_READS = 64
"""A socket that says so often in a row that there is something, and has nothing, is closed."""

_BUFFER = bytearray(PIECE)  # of one event loop's thread; empty between pieces


class _Way:
    """One direction of a tunnel."""

    def __init__(self, tunnel: Tunnel, source: socket.socket, target: socket.socket) -> None:
        self._tunnel = tunnel
        self._source = source
        self._target = target
        self._left = b""
        self._empty = 0
        self.ended = False
        self.count: Callable[[int], None] = lambda _count: None

    def begin(self, early: bytes) -> None:
        self._left = early
        self._ask()

    def stop(self) -> None:
        loop = self._tunnel.loop
        self.ended = True
        loop.remove_reader(self._source)
        loop.remove_writer(self._target)

    def _ask(self) -> None:
        self._tunnel.turns.ask(self._tunnel.session_id, self._piece)

    def _piece(self) -> None:
        """Move a piece. Errors of either socket end the tunnel."""
        if self.ended:
            return
        try:
            if self._left:
                self._send(memoryview(self._left))
            else:
                self._receive()
        except (BlockingIOError, InterruptedError):
            self._empty += 1
            if self._empty > _EMPTY_READS:
                self._tunnel.close()
                return
            self._await(reading=not self._left)
        except OSError:
            self._tunnel.close()

    def _receive(self) -> None:
        size = self._source.recv_into(_BUFFER)
        self._empty = 0
        if size == 0:
            self.ended = True
            with contextlib.suppress(OSError):
                self._target.shutdown(socket.SHUT_WR)
            self._tunnel.way_ended()
            return
        self._send(memoryview(_BUFFER)[:size])

    def _send(self, data: memoryview) -> None:
        try:
            sent = self._target.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent:
            self._empty = 0
            self.count(sent)
        self._tunnel.moved(sent)
        self._left = bytes(data[sent:])
        if self._left:
            self._await(reading=False)
        elif len(data) == PIECE:
            self._ask()  # there is more
        else:
            self._await(reading=True)

    def _await(self, *, reading: bool) -> None:
        if self._tunnel.closed:
            return
        loop = self._tunnel.loop
        if reading:
            loop.add_reader(self._source, self._readable)
        else:
            loop.add_writer(self._target, self._writable)

    def _readable(self) -> None:
        self._tunnel.loop.remove_reader(self._source)
        self._ask()

    def _writable(self) -> None:
        self._tunnel.loop.remove_writer(self._target)
        self._ask()


class Tunnel:
    """Two connected sockets, which it closes. ``moved`` is told of bytes from inside and from outside."""

    def __init__(
        self,
        turns: Turns,
        session_id: str,
        inside: socket.socket,
        outside: socket.socket,
        counted: Callable[[int, int], None],
    ) -> None:
        self.turns = turns
        self.session_id = session_id
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self.active_at = self.loop.time()
        self._sockets = (inside, outside)
        self._out, self._in = _Way(self, inside, outside), _Way(self, outside, inside)
        self._out.count = lambda size: counted(size, 0)
        self._in.count = lambda size: counted(0, size)
        self.ended: asyncio.Future[None] = self.loop.create_future()

    def begin(self, early: bytes = b"") -> None:
        """Move bytes; ``early`` came from inside before."""
        self._out.begin(early)
        self._in.begin(b"")

    def moved(self, size: int) -> None:
        """Take note that something goes on."""
        if size:
            self.active_at = self.loop.time()

    def way_ended(self) -> None:
        """Close when nothing is to come from either side."""
        if self._out.ended and self._in.ended:
            self.close()

    def close(self) -> None:
        """End both ways. Idempotent."""
        if self.closed:
            return
        self.closed = True
        for way in (self._out, self._in):
            way.stop()
        for each in self._sockets:
            each.close()
        if not self.ended.done():
            self.ended.set_result(None)
