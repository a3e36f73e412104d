"""People who work while things die, and what they were shown and promised.

Each person types numbered commands whose output is numbered too, and saves files, over the public
client only. What they keep shows from outside whether anything was lost or came twice:
every byte that their terminal showed with its number, how much of their input was acknowledged, and
the hash of every save that got a receipt.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from coditect import (
    AsyncClient,
    AsyncTerminal,
    ConnectionFailed,
    Login,
    Receipt,
    ServerBusy,
    ServerError,
    TooManyRequests,
)

T = TypeVar("T")
AWAY = (ConnectionFailed, ServerBusy, ServerError, TooManyRequests)
"""Errors that a program answers by asking again: the server is away, or has too much to do."""

PEOPLE = int(os.environ.get("CODITECT_FAULTS_PEOPLE", "4"))
PATIENCE_SECONDS = 90.0 + PEOPLE
LINES = 12
SCRIPT = f"""\
echo "$1" >> typed
i=0
while [ $i -lt {LINES} ]; do echo "row $1.$i of what was asked for"; i=$((i + 1)); done
echo "end of $1"
"""


async def patiently(call: Callable[[], Awaitable[T]], seconds: float = PATIENCE_SECONDS) -> T:
    """Repeat a call that may be repeated until the server is there; raise its last error if it stays away."""
    async with asyncio.timeout(seconds * 1.5):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            try:
                return await call()
            except AWAY:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(0.2)


@dataclass
class Typed:
    """One command: where its input ends, whether its end was seen, and how often it may have run.

    ``tries`` grows with each shell that is lost before the command's input was acknowledged: the
    client types it again, and nobody can ask the shell that is gone whether it had read it.
    """

    number: int
    input_end: int
    shown: bool = False
    tries: int = 1


@dataclass
class Worker:
    """A person at work. ``transcript`` begins at output byte ``first``."""

    email: str
    client: AsyncClient
    login: Login
    random: random.Random
    transcript: bytearray = field(default_factory=bytearray)
    typed: list[Typed] = field(default_factory=list)
    saved: dict[str, str] = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    restarts: int = 0
    acknowledged: int = 0
    sent: int = 0
    first: int = 0
    _terminal: AsyncTerminal | None = None
    _reader: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def session_id(self) -> str:
        """The session that the login opened."""
        return self.login.session_id

    @property
    def terminal(self) -> AsyncTerminal:
        """The open terminal."""
        assert self._terminal is not None
        return self._terminal

    async def begin(self) -> None:
        """Put the script where the shell finds it, and sit down at the terminal."""
        await self.client.write_file(self.session_id, "t", SCRIPT.encode())
        self._terminal = await self.client.terminal(
            self.session_id, "main", timeout_seconds=60, give_up_seconds=2 * PATIENCE_SECONDS
        )
        self._take_frames()
        self._reader = asyncio.create_task(self._read(), name=f"reader {self.email}")
        await self.type_once()
        await self.save_once()

    async def close(self) -> None:
        """Leave; the session goes on."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._terminal is not None:
            await self._terminal.close()
        await self.client.close()

    # ---- work -----------------------------------------------------------------------------------

    async def type_once(self) -> None:
        """Type a command and look at what it prints, or see that its shell was lost."""
        number = len(self.typed) + 1
        line = f"sh t {number}\r"
        self.sent += len(line)
        command = Typed(number, self.sent)
        self.typed.append(command)
        restarts, tries = self.restarts, command.tries
        begin = len(self.transcript)
        await self.terminal.send(line)
        wanted = f"end of {number}\r\n".encode()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if self.transcript.find(wanted, begin) >= 0:
                    command.shown = True
                    return
                if self.restarts != restarts:
                    if command.tries == tries:
                        return  # its shell is gone and had taken it: nobody types it again
                    restarts, tries = self.restarts, command.tries
                self._check_reader()
                self._news.clear()
                await self._news.wait()

    async def save_once(self) -> None:
        """Save a file until there is a receipt, and keep its hash."""
        data = self.random.randbytes(self.random.choice((10, 1000, 20_000)))
        path = f"saves/{len(self.versions) % 40}"
        key = f"{self.random.getrandbits(128):x}"

        async def save() -> Receipt:
            return await self.client.write_file(self.session_id, path, data, key=key)

        receipt = await patiently(save)
        if self.versions and receipt.version <= self.versions[-1]:
            self.faults.append(f"save {receipt.version} after {self.versions[-1]}")
        self.versions.append(receipt.version)
        self.saved[path] = hashlib.sha256(data).hexdigest()

    # ---- what comes back ------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                data = await self.terminal.read(5)
            except TimeoutError:
                data = b""
            self._take_frames()
            self.transcript += data
            self._news.set()

    def _take_frames(self) -> None:
        events = self.terminal.events
        while events:
            frame = events.popleft()
            match frame["type"]:
                case "attached":
                    self._take_attached(frame)
                case "input_ack":
                    self._acknowledge(int(frame["offset"]))
                case "restarted":
                    self.restarts += 1
                    for command in self.typed:
                        command.tries += command.input_end > self.acknowledged
                case "gap":
                    self.faults.append(f"output {frame['start']} to {frame['end']} is missing")

    def _take_attached(self, frame: dict) -> None:
        if not self.typed:
            self.first = int(frame["output_offset"])
        self._acknowledge(int(frame["input_offset"]))

    def _acknowledge(self, offset: int) -> None:
        if offset < self.acknowledged:
            self.faults.append(f"acknowledged {offset} after {self.acknowledged}")
        self.acknowledged = max(self.acknowledged, offset)

    def _check_reader(self) -> None:
        assert self._reader is not None
        if self._reader.done():
            self._reader.result()
