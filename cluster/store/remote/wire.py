"""Frames between a node's processes and its StoreActor: pickled, over a Unix socket; between nodes over TLS.

A frame is its length in four bytes, little-endian, and a pickle. A question is ``(number, method,
arguments)``, its answer ``(number, value)``, where a value that is an exception is raised by whoever
asked. Both ends belong to one server: the socket lies where only its user may go, and over TLS each has shown
a certificate of the server before the first byte is read (``cluster.membership.credentials``).
"""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

LENGTH_BYTES = 4
MAX_WAITING = 20_000
"""Questions of one connection that wait for their answers."""

GREETING = "greet"
"""The first question over TLS."""

MAX_FRAME = 64 << 20
"""Commits have at most 10 MB, answers of reads about 4 MiB and a value."""


class Framed(asyncio.Protocol):
    """One end of a connection. ``writable`` is clear while the other end does not read."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Let nobody wait for what cannot be written any more."""
        del error
        self.transport = None
        self._buffer.clear()
        self.writable.set()

    def pause_writing(self) -> None:
        """Have writers wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """Take frames apart. Whatever is no frame ends the connection."""
        self._buffer += data
        begin = 0
        while len(self._buffer) - begin >= LENGTH_BYTES:
            at = begin + LENGTH_BYTES
            length = int.from_bytes(self._buffer[begin:at], "little")
            if length > MAX_FRAME:
                self.abort()
                return
            if len(self._buffer) < at + length:
                break
            self.received(pickle.loads(memoryview(self._buffer)[at : at + length].tobytes()))  # noqa: S301 - our own
            begin = at + length
        if begin:
            del self._buffer[:begin]

    def received(self, message: Any) -> None:
        """Take a message."""
        raise NotImplementedError

    def say(self, message: Any) -> None:
        """Send a message; nothing happens when the connection has ended.

        Raises ValueError for one that the other end would not take.
        """
        if self.transport is not None:
            data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
            if len(data) > MAX_FRAME:
                raise ValueError(f"{len(data):,} bytes are more than a frame may have")
            self.transport.write(len(data).to_bytes(LENGTH_BYTES, "little") + data)

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Return a name of a socket's file that is short enough, wherever it lies: unix(7) takes 107 bytes.

    Raises OSError when its directory cannot be opened.
    """
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
