"""Serves an engine to a node's other processes over a Unix socket, and to other nodes; see ``wire.py``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.requests import InvalidArgument, PreconditionFailed
from actors.core.errors.store import StoreError
from actors.core.tasks import Tasks
from cluster.store.engines.interface import Engine
from cluster.store.remote.doorway import Doorway
from cluster.store.remote.wire import GREETING, MAX_WAITING, Framed, short_path

logger = logging.getLogger(__name__)

MAX_OUTSTANDING = 1024
MAX_CONNECTIONS = 10_000
BACKLOG = 1024
DOORWAY_SECONDS = 5.0
REFUSED = "refused"
TAKEN = "a node of its id is there already; has one a copy of the other's data directory?"

Welcome = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a node's greeting; with ``REFUSED``, the reason, it is not let in. Plain values alone both ways:
the other node may be of another version."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where and how other nodes are served. ``context`` is called where the socket is made."""

    address: tuple[str, int]
    context: Callable[[], ssl.SSLContext]
    welcome: Welcome


class StoreServer:
    """``open`` begins to listen at ``path``, whoever listened there before; ``close`` ends it.

    With a ``network`` other nodes are served as well, each once it has greeted; while its port is somebody
    else's it is tried again and again.
    """

    def __init__(self, engine: Engine, path: Path, network: Network | None = None) -> None:
        self._engine = engine
        self._path = path
        self._network = network
        self._server: asyncio.Server | None = None
        self._doorway: Doorway | None = None
        self._opening: asyncio.Task[None] | None = None
        self._connections: set[_Connection] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where other nodes are served, once it is open."""
        assert self._doorway is not None
        return self._doorway.address

    async def open(self) -> None:
        """Listen. Raises Unavailable when the socket at ``path`` cannot be made."""
        try:
            listener = await asyncio.to_thread(_listen, self._path)
        except OSError as error:
            raise Unavailable("store", f"{self._path}: {error.strerror}") from error
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._connection, sock=listener)
        if self._network is not None:
            network = self._network
            self._doorway = Doorway(network.address, network.context(), self._node_connection)
            try:
                await self._doorway.open()
            except Unavailable as error:  # the head's own processes have their store all the same
                logger.warning("no node can join: %s", error)
                self._opening = asyncio.create_task(self._open_later(self._doorway))

    async def _open_later(self, doorway: Doorway) -> None:
        while True:
            await asyncio.sleep(DOORWAY_SECONDS)
            try:
                return await doorway.open()
            except Unavailable as error:
                logger.warning("no node can join: %s", error)

    async def close(self) -> None:
        """Take no more questions, and leave those unanswered that are under way."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
            self._opening = None
        if self._doorway is not None:
            await self._doorway.close()
            self._doorway = None
        if self._server is not None:
            self._server.close()
            self._server = None
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.close() for connection in connections))

    def _connection(self) -> _Connection:
        return _Connection(self._engine, self._connections, MAX_OUTSTANDING)

    def _node_connection(self) -> _Connection:
        assert self._network is not None
        return _NodeConnection(self._engine, self._connections, self._network.welcome)


class _Connection(Framed):
    """A process that asks. One that asks too much at once, or does not read, is not listened to."""

    def __init__(self, engine: Engine, siblings: set[_Connection], limit: int) -> None:
        super().__init__()
        self._engine = engine
        self._siblings = siblings
        self._limit = limit
        self._tasks = Tasks(limit=1 << 30)  # bounded by what is read, see ``_listen_or_not``
        self._outstanding = 0
        self._deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse one connection too many."""
        super().connection_made(transport)
        if len(self._siblings) >= MAX_CONNECTIONS:
            transport.abort()  # type: ignore[attr-defined] # a socket's transport has it
            return
        self._siblings.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it. What it asked is done to its end: a commit may be under way."""
        super().connection_lost(error)
        self._siblings.discard(self)

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.close()

    def received(self, message: Any) -> None:
        """Begin to answer a question."""
        number, method, arguments = message
        self._outstanding += 1
        self._tasks.spawn(method, self._answer(number, method, arguments))
        self._listen_or_not()

    def pause_writing(self) -> None:
        """Take no question while answers are not read."""
        super().pause_writing()
        self._listen_or_not()

    def resume_writing(self) -> None:
        """Take questions again."""
        super().resume_writing()
        self._listen_or_not()

    async def _answer(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        answer: Any
        try:
            answer = await self._ask(method, arguments)
        except CoditectError as error:
            answer = error
        except Exception as error:  # whoever asked has to hear something
            logger.exception("%s failed", method)
            answer = StoreError(f"{method}: {error!r}")
        self._outstanding -= 1
        try:
            self.say((number, answer))
        except ValueError as error:
            self.say((number, StoreError(f"{method}: {error}")))
        self._listen_or_not()

    async def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        match method, arguments:
            case "get_many", (keys, version):
                return await self._engine.get_many(keys, version)
            case "get_range", (span, version, limit, reverse):
                return await self._engine.get_range(span, version, limit=limit, reverse=reverse)
            case "commit", (commit,):
                return await self._engine.commit(commit)
            case "watch", (key, seen, seconds):
                return await self._engine.watch(key, seen, seconds)
        raise InvalidArgument("question", f"no engine has a {method}")

    def _listen_or_not(self) -> None:
        deaf = self._outstanding >= self._limit or not self.writable.is_set()
        if deaf != self._deaf and self.transport is not None:
            self._deaf = deaf
            if deaf:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()


class _NodeConnection(_Connection):
    """Another node, whose processes all ask through it. It is answered nothing before it is welcome."""

    def __init__(self, engine: Engine, siblings: set[_Connection], welcome: Welcome) -> None:
        super().__init__(engine, siblings, MAX_WAITING)
        self._welcome = welcome
        self._is_welcome = False

    async def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        if method == GREETING:
            (greeting,) = arguments
            answer = await self._welcome(greeting)
            self._is_welcome = REFUSED not in answer
            return answer
        if not self._is_welcome:
            raise PreconditionFailed("this connection", "a stranger's", "a node's that has greeted")
        return await super()._ask(method, arguments)


def _listen(path: Path) -> socket.socket:
    """Listen at a path in one step: who connects meets the old listener or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            draft.unlink()
        with short_path(draft) as name:
            listener.bind(name)
        draft.chmod(0o600)
        listener.listen(BACKLOG)
        draft.replace(path)
    except OSError:
        listener.close()
        raise
    return listener
