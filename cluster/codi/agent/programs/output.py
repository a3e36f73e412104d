"""Reads what programs print: keeps the first bytes, and takes the rest for as long as they live."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from cluster.codi.agent.errors import AgentError
from cluster.codi.agent.fdstore import Store

_KEY = "pipe-"
_READ_SIZE = 64 << 10
_MAX_LEFT_OPEN = 1024
_PAUSE_SECONDS = 0.004


class Spill(Protocol):
    """A file for what is more than is kept."""

    path: str | None

    def add(self, data: bytes) -> bool:
        """Add data; false when it takes no more. Blocking. Raises OSError, AgentError."""
        ...


Run = Callable[..., Awaitable[Any]]
"""Works in a thread."""


class Output:
    """Keeps the first bytes of a pipe; all of them, if they are more, in a file as far as it takes them."""

    def __init__(self, limit: int, spill: Spill, run: Run) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._spill: Spill | None = spill
        self._run = run
        self._spilling: asyncio.Task[None] | None = None
        self._left = False
        self._kept = bytearray()
        self.size = 0
        self.file: str | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._fd, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._readable)

    @property
    def truncated(self) -> bool:
        """True if more was printed than is kept."""
        return self.size > len(self._kept)

    def close_writer(self) -> None:
        """Close our end of the program's side. Idempotent."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def text(self) -> str:
        """Return what was kept; what is no UTF-8 is replaced."""
        return self._kept.decode("utf-8", "replace")

    @property
    def writing(self) -> bool:
        """True while what was read is being written to a file."""
        return self._spilling is not None

    async def settle(self) -> None:
        """Wait until what was read is written, where it goes to a file."""
        if self._spilling is not None:
            await self._spilling

    def leave(self, left_open: LeftOpen) -> None:
        """Stop keeping: whoever still has the pipe open prints on, and nobody looks."""
        self._left = True
        self.close_writer()
        self._loop.remove_reader(self._fd)
        if self._spilling is not None:
            self._spilling.cancel()
        if self.ended.done():
            os.close(self._fd)
        else:
            left_open.take(self._fd)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, _READ_SIZE)
            before, self.size = bytes(self._kept), self.size + len(data)
            room = self._limit - len(self._kept)
            self._kept += data[:room]
            if not data:
                self._loop.remove_reader(self._fd)
                if not self.ended.done():
                    self.ended.set_result(None)
            elif len(data) > room and self._spill is not None:
                # The program waits meanwhile: a disk takes what it takes.
                self._loop.remove_reader(self._fd)
                whole = data if self.file else before + data
                self._spilling = self._loop.create_task(self._write(self._spill, whole))

    async def _write(self, spill: Spill, data: bytes) -> None:
        try:
            if not await self._run(spill.add, data):
                self._spill = None
        except (OSError, AgentError):
            self._spill = None  # no room: what was printed is more than there is of it
        self.file = spill.path
        self._spilling = None
        if not self._left:
            self._loop.add_reader(self._fd, self._readable)


class LeftOpen:
    """Pipes of programs whose call was answered: a closed one would end them with SIGPIPE.

    Read and thrown away, at a pace that leaves the processor to others. Beyond the bound the
    oldest is closed. Those of a former CODI are read on.
    """

    def __init__(self, store: Store) -> None:
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._pipes: OrderedDict[int, asyncio.TimerHandle | None] = OrderedDict()
        for key, (_, descriptors) in store.left_with(_KEY).items():
            store.drop(key)
            for fd in descriptors:
                self.take(fd)

    def __len__(self) -> int:
        return len(self._pipes)

    def take(self, fd: int) -> None:
        """Read a pipe, which is not blocking, to its end."""
        while len(self._pipes) >= _MAX_LEFT_OPEN:
            self._close(next(iter(self._pipes)))
        self._pipes[fd] = None
        self._store.put(f"{_KEY}{fd}", descriptors=[fd])
        self._loop.add_reader(fd, self._readable, fd)

    def close(self) -> None:
        """Close all of them."""
        for fd in list(self._pipes):
            self._close(fd)

    def _readable(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                count = len(os.read(fd, _READ_SIZE))
            except BlockingIOError:
                raise
            except OSError:  # a terminal that nobody has open any more
                count = 0
            if count == 0:
                self._close(fd)
            elif count == _READ_SIZE:
                self._loop.remove_reader(fd)
                self._pipes[fd] = self._loop.call_later(_PAUSE_SECONDS, self._rested, fd)

    def _rested(self, fd: int) -> None:
        self._pipes[fd] = None
        self._loop.add_reader(fd, self._readable, fd)

    def _close(self, fd: int) -> None:
        timer = self._pipes.pop(fd)
        if timer is not None:
            timer.cancel()
        self._loop.remove_reader(fd)
        self._store.drop(f"{_KEY}{fd}")
        os.close(fd)
