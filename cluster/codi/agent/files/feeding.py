"""A body that comes on the event loop, read by work in a thread: bounded, and ended by either side."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

_ROOM = 1 << 20


class Broken(ConnectionError):
    """The body did not come to its end."""


class Feeder:
    """``put`` on the loop, ``read`` in one thread."""

    def __init__(self, stall_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._stall_seconds = stall_seconds
        self._changed = threading.Condition()
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._over = self._broken = self._abandoned = False
        self._room = asyncio.Event()

    async def put(self, data: bytes) -> bool:
        """Add data as soon as there is room for it; false when nobody reads any more."""
        while True:
            with self._changed:
                if self._abandoned:
                    return False
                if self._size < _ROOM:
                    self._parts.append(data)
                    self._size += len(data)
                    self._changed.notify()
                    return True
                self._room.clear()
            await self._room.wait()

    def end(self, *, broken: bool = False) -> None:
        """Note that no more comes, or that what was to come does not."""
        with self._changed:
            self._over, self._broken = True, broken
            self._changed.notify()

    def abandon(self) -> None:
        """Note that nobody reads any more. From the thread."""
        with self._changed:
            self._abandoned = True
            self._parts.clear()
        self._loop.call_soon_threadsafe(self._room.set)

    def read(self, size: int) -> bytes:
        """Return up to so many bytes, b"" at the end. From the thread. Raises Broken."""
        with self._changed:
            while not self._parts:
                if self._broken or (not self._over and not self._changed.wait(self._stall_seconds)):
                    raise Broken("the body broke off")
                if self._over and not self._parts:
                    if self._broken:
                        continue
                    return b""
            part = self._parts.popleft()
            if len(part) > size:
                self._parts.appendleft(part[size:])
                part = part[:size]
            self._size -= len(part)
            had_room = self._size < _ROOM
        if had_room and not self._room.is_set():
            self._loop.call_soon_threadsafe(self._room.set)
        return part
