"""Containers as their journal hears them, in memory, which remember the journal's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from actors.core.errors.base import Unavailable
from actors.core.ports.codi import (
    JournalMessage,
    TerminalExited,
    TerminalMoved,
    TerminalOpened,
    TerminalSized,
)
from actors.core.records.containers import ContainerHandle
from actors.core.records.terminals import TerminalSizing


class MemoryConnection:
    """One connection. ``deaf`` blocks whatever is sent to it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[JournalMessage | None] = asyncio.Queue()
        self.numbered: dict[int, tuple[int, dict[str, int]]] = {}
        self.sizings: dict[int, str] = {}
        self.kept: dict[int, int] = {}
        self.reported = 0
        self.deaf = False
        self.closed = False

    def says(self, *messages: JournalMessage) -> None:
        for message in messages:
            self.messages.put_nowait(message)

    def breaks(self) -> None:
        self.messages.put_nowait(None)

    async def receive(self) -> JournalMessage:
        message = await self.messages.get()
        if message is None:
            raise Unavailable("codi", "the connection broke")
        return message

    async def number(
        self, terminal: int, end: int, inputs: Mapping[str, int], sizing: TerminalSizing
    ) -> None:
        await self._listen()
        self.sizings[terminal] = sizing
        self.numbered[terminal] = end, dict(inputs)

    def keep(self, ends: Sequence[tuple[int, int]]) -> bool:
        if self.deaf or self.closed:
            return False
        self.kept |= dict(ends)
        self.reported += 1
        return True

    async def close(self) -> None:
        self.closed = True
        self.breaks()

    async def _listen(self) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        if self.closed:
            raise Unavailable("codi", "closed")


class MemoryContainers:
    """Implements the journal's part of ``CodiClient``. ``refuse`` names containers that do not answer."""

    def __init__(self) -> None:
        self.connections: dict[str, list[MemoryConnection]] = {}
        self.refuse: set[str] = set()
        self.attempts = 0

    async def connect_journal(self, handle: ContainerHandle) -> MemoryConnection:
        await asyncio.sleep(0)
        self.attempts += 1
        if handle.container_id in self.refuse:
            raise Unavailable("codi", "no answer")
        connection = MemoryConnection()
        self.connections.setdefault(handle.container_id, []).append(connection)
        return connection

    def newest(self, container_id: str) -> MemoryConnection:
        return self.connections[container_id][-1]

    def connected(self, container_id: str) -> int:
        """Return how often a connection was made."""
        return len(self.connections.get(container_id, ()))


def opened(number: int, name: str, *, kept: int | None = None) -> TerminalOpened:
    return TerminalOpened(number, name, cols=80, rows=24, cwd="/workspace", kept=kept)


def moved(number: int, cwd: str) -> TerminalMoved:
    return TerminalMoved(number, cwd)


def sized(number: int, sizing: TerminalSizing) -> TerminalSized:
    return TerminalSized(number, sizing)


def exited(number: int, code: int | None) -> TerminalExited:
    return TerminalExited(number, code)
