"""Lets other nodes in over TLS, a bounded number of handshakes at once: before one nobody is known.

Few of them are one address's, and when all places are taken the oldest silent one gives way: a stranger who
fills them keeps a node out only while he is quicker than its handshake, from very many addresses.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from actors.core.errors.base import Unavailable
from actors.core.tasks import Tasks

logger = logging.getLogger(__name__)

MAX_HANDSHAKES = 64
MAX_HANDSHAKES_OF_ONE = 4
HANDSHAKE_SECONDS = 5.0
SILENT_SECONDS = 10
BACKLOG = 128
PAUSE_SECONDS = 0.2


class Doorway:
    """``open`` begins to listen at ``address``; each connection that is let in gets a protocol."""

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._address = address
        self._context = context
        self._protocol = protocol
        self._handshakes = Tasks(limit=1 << 30)  # bounded by ``_under_way``
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, once it is open."""
        assert self._listener is not None
        host, port = self._listener.getsockname()
        return host, port

    async def open(self) -> None:
        """Listen. Raises Unavailable."""
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(self._address)
            listener.listen(BACKLOG)
            listener.settimeout(0)
        except OSError as error:
            listener.close()
            where = "{}:{}".format(*self._address)
            raise Unavailable("cluster", f"{where}: {error.strerror}") from error
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener), name="doorway")

    async def close(self) -> None:
        """Let nobody in any more; who is in stays."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        await self._handshakes.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                caller, (host, _) = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    logger.warning("no node is let in: %s", error.strerror)
                    await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._make_room(host)
            task = self._handshakes.spawn("handshake", self._shake(caller))
            self._under_way[task] = host
            task.add_done_callback(partial(self._ended, caller))

    def _ended(self, caller: socket.socket, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        if task.cancelled():  # it may not even have begun
            with suppress(OSError):
                caller.close()

    def _make_room(self, host: str) -> None:
        """End the oldest handshake of an address that has enough, else of all when there are enough."""
        own = [task for task, other in self._under_way.items() if other == host]
        oldest = None
        if len(own) >= MAX_HANDSHAKES_OF_ONE:
            oldest = own[0]
        elif len(self._under_way) >= MAX_HANDSHAKES:
            oldest = next(iter(self._under_way))
        if oldest is not None:
            del self._under_way[oldest]
            oldest.cancel()

    async def _shake(self, caller: socket.socket) -> None:
        """Let one in. A stranger, or one who says nothing, is sent away without a word."""
        try:
            notice_silence(caller)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                caller,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, ConnectionError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            logger.info("no node: %s", error)


def notice_silence(connection: socket.socket) -> None:
    """Have a connection end whose other side does not acknowledge for ``SILENT_SECONDS``."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_SECONDS * 1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, SILENT_SECONDS // 2),
        (socket.TCP_KEEPINTVL, SILENT_SECONDS // 4),
        (socket.TCP_KEEPCNT, 2),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
