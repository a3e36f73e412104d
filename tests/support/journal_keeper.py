"""A journal in memory for one real CODI: it keeps what the terminals print at once, unless it is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from actors.core.errors.base import Unavailable
from actors.core.ports.codi import (
    JournalConnection,
    JournalMessage,
    TerminalExited,
    TerminalMoved,
    TerminalOpened,
    TerminalPrinted,
    TerminalSized,
)
from actors.core.records.containers import ContainerHandle
from actors.core.records.terminals import TerminalSizing
from cluster.codi.journal_client import connect_journal
from tests.support.waiting import wait_until

LIMIT_SECONDS = 60.0


@dataclass
class KeptTerminal:
    """The kept output of a terminal, ``data`` from offset ``start`` on, and the reports of its shells."""

    start: int = 0
    data: bytearray = field(default_factory=bytearray)
    inputs: dict[str, int] = field(default_factory=dict)
    opened: list[TerminalOpened] = field(default_factory=list)
    sizing: TerminalSizing = "latest"
    cwds: list[str | None] = field(default_factory=list)
    exits: list[tuple[int | None, int]] = field(default_factory=list)
    """Each code with the offset at which it was told."""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class JournalKeeper:
    """Connects, and serves until it is stopped. Terminals are known by name over all connections."""

    def __init__(self, handle: ContainerHandle) -> None:
        self._handle = handle
        self._going = asyncio.Event()
        self._going.set()
        self._serving: asyncio.Task[None] | None = None
        self._names: dict[int, str] = {}
        self.terminals: dict[str, KeptTerminal] = {}
        self.unanswered: list[TerminalPrinted] = []

    def hold(self) -> None:
        """Answer nothing any more; what is printed is noted in ``unanswered``."""
        self._going.clear()

    def go_on(self) -> None:
        """Keep and answer what has arrived."""
        self._going.set()

    async def start(self) -> None:
        """Connect; returns when CODI has accepted the connection."""
        assert self._serving is None
        connection = await connect_journal(self._handle, timeout_seconds=LIMIT_SECONDS)
        self._names.clear()
        self.unanswered.clear()
        self._serving = asyncio.create_task(self._serve(connection))

    async def stop(self) -> None:
        """Lose the connection with whatever is under way on it."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def ended(self) -> None:
        """Wait until CODI has closed the connection."""
        assert self._serving is not None
        await asyncio.wait_for(asyncio.shield(self._serving), LIMIT_SECONDS)

    async def until(self, terminal: str, pattern: bytes) -> None:
        """Wait until a terminal's kept output has a pattern."""

        async def kept() -> bytes:
            return bytes(self.terminals[terminal].data) if terminal in self.terminals else b""

        await wait_until(kept, lambda data: pattern in data, LIMIT_SECONDS, 0.01)

    async def _serve(self, connection: JournalConnection) -> None:
        # A queue, so that what arrives while this is held is seen.
        arrived: asyncio.Queue[JournalMessage] = asyncio.Queue()
        keeping = asyncio.create_task(self._keep(connection, arrived))
        try:
            while True:
                message = await connection.receive()
                if isinstance(message, TerminalPrinted):
                    self.unanswered.append(message)
                arrived.put_nowait(message)
        except Unavailable:
            return
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await connection.close()

    async def _keep(
        self, connection: JournalConnection, arrived: asyncio.Queue[JournalMessage]
    ) -> None:
        while True:
            message = await arrived.get()
            await self._going.wait()
            if isinstance(message, TerminalOpened):
                self._names[message.terminal] = message.name
                terminal = self.terminals.setdefault(message.name, KeptTerminal())
                terminal.opened.append(message)
                await connection.number(
                    message.terminal, terminal.end, terminal.inputs, terminal.sizing
                )
                continue
            terminal = self.terminals[self._names[message.terminal]]
            match message:
                case TerminalPrinted(number, offset, data, inputs):
                    known = terminal.end - offset
                    assert known >= 0, f"a gap: {terminal.end} to {offset}"
                    again = terminal.data[len(terminal.data) - known :][: len(data)]
                    assert data.startswith(bytes(again)), "other bytes under numbers that are kept"
                    terminal.data += data[known:]
                    terminal.inputs |= inputs
                    self.unanswered.remove(message)
                    connection.keep([(number, terminal.end)])
                case TerminalMoved():
                    terminal.cwds.append(message.cwd)
                case TerminalSized():
                    terminal.sizing = message.sizing
                case TerminalExited():
                    terminal.exits.append((message.code, terminal.end))


@asynccontextmanager
async def keeping(handle: ContainerHandle) -> AsyncIterator[JournalKeeper]:
    """A journal that is connected and keeps everything at once."""
    keeper = JournalKeeper(handle)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.stop()
