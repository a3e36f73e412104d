"""Reads what programs print: keeps the first bytes, and takes the rest for as long as they live."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict

from cluster.codi.agent.fdstore import Store

_KEY = "pipe-"
_READ_SIZE = 64 << 10
_MAX_LEFT_OPEN = 1024
_PAUSE_SECONDS = 0.004


class Output:
    """Keeps the first bytes of a pipe and throws the rest away."""

    def __init__(self, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._kept = bytearray()
        self.truncated = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._fd, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._readable)

    def close_writer(self) -> None:
        """Close our end of the program's side. Idempotent."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def text(self) -> str:
        """Return what was kept; what is no UTF-8 is replaced."""
        return self._kept.decode("utf-8", "replace")

    def leave(self, left_open: LeftOpen) -> None:
        """Stop keeping: whoever still has the pipe open prints on, and nobody looks."""
        self.close_writer()
        self._loop.remove_reader(self._fd)
        if self.ended.done():
            os.close(self._fd)
        else:
            left_open.take(self._fd)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, _READ_SIZE)
            room = self._limit - len(self._kept)
            self._kept += data[:room]
            self.truncated = self.truncated or len(data) > room
            if not data:
                self._loop.remove_reader(self._fd)
                if not self.ended.done():
                    self.ended.set_result(None)


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
