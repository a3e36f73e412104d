"""A program that runs in a session: what it prints as it comes, its input, signals, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from coditect import addresses
from coditect.errors import ConnectionFailed, from_problem, from_refusal

WINDOW = 256 << 10
"""Bytes of input that may be under way (``cluster.codi.programs.frames``)."""

_MAX_PIECE = 64 << 10
_MAX_FRAME = 2 << 20
_CHANNELS: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}


@dataclass(frozen=True, slots=True)
class ProgramOutput:
    """Bytes that a program has printed; on a terminal all of it is ``stdout``."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program has ended: its ``exit_code``, -N after signal N, whose name ``signal`` is."""

    exit_code: int | None
    signal: str | None = None


class AsyncProgram:
    """A program that runs for as long as this is open. One task reads, another may write.

    ``read`` returns what it prints, as it comes; ``end`` says how it ended, once ``read`` has returned
    None. What is not read holds the program up, and so does not fill any memory: whoever writes much reads
    as well. Raises ConnectionFailed when the connection or the container is lost; the program is gone then.
    """

    def __init__(self, connection: ClientConnection, url: str, pid: int) -> None:
        self.pid = pid
        self.end: ProgramEnd | None = None
        self._connection = connection
        self._url = url
        self._sent = self._taken = 0
        self._reads_no_more = self._lost = False
        self._moved = asyncio.Condition()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[ProgramOutput]:
        while (output := await self.read()) is not None:
            yield output

    async def read(self) -> ProgramOutput | None:
        """Return the next output; None behind the last."""
        while self.end is None:
            try:
                frame = await self._connection.recv()
            except ConnectionClosed as closed:
                async with self._moved:
                    self._lost = True
                    self._moved.notify_all()
                raise ConnectionFailed(self._url, _reason(closed)) from None
            if isinstance(frame, bytes):
                if frame and frame[0] in _CHANNELS:
                    return ProgramOutput(_CHANNELS[frame[0]], frame[1:])
                continue
            async with self._moved:
                self._hear(json.loads(frame))
                self._moved.notify_all()
        return None

    def _hear(self, frame: Mapping[str, Any]) -> None:
        match frame.get("type"):
            case "window":
                self._taken = int(frame["bytes"])
            case "input_closed":
                self._reads_no_more = True
            case "ended":
                self._reads_no_more = True
                self.end = _end(frame.get("code"), frame.get("signal"))

    async def write(self, data: bytes | str) -> None:
        """Give it input; waits while it does not read. Dropped once it reads no more."""
        view = memoryview(data.encode() if isinstance(data, str) else data)
        while view:
            async with self._moved:
                await self._moved.wait_for(self._may_send)
                if self._lost:
                    raise ConnectionFailed(self._url, "the connection was lost")
                if self._reads_no_more:
                    return
                piece = bytes(view[: min(self._taken + WINDOW - self._sent, _MAX_PIECE)])
                self._sent += len(piece)
            await self._send(piece)
            view = view[len(piece) :]

    def _may_send(self) -> bool:
        return self._lost or self._reads_no_more or self._sent < self._taken + WINDOW

    async def end_input(self) -> None:
        """End its input; on a terminal type Ctrl-D."""
        await self._say(type="end_of_input")

    async def resize(self, cols: int, rows: int) -> None:
        """Set the size of its terminal, in characters; without one nothing."""
        await self._say(type="resize", cols=cols, rows=rows)

    async def signal(self, name: str) -> None:
        """Signal its process group in the foreground, as by ``INT``, ``TERM`` or ``KILL``."""
        if f"SIG{name.removeprefix('SIG')}" not in signal.Signals.__members__:
            raise ValueError(f"{name!r} is no signal")
        await self._say(type="signal", name=name)

    async def wait(self) -> ProgramEnd:
        """Drop the rest of what it prints and return how it ended."""
        while await self.read() is not None:
            continue
        assert self.end is not None
        return self.end

    async def close(self) -> None:
        """Let go of it; what becomes of a program that runs was said at its start. Idempotent."""
        await self._connection.close()

    async def _say(self, **frame: Any) -> None:
        await self._send(json.dumps(frame))

    async def _send(self, frame: bytes | str) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as closed:
            if self.end is None and (closed.rcvd is None or closed.rcvd.code != 1000):
                raise ConnectionFailed(self._url, _reason(closed)) from None


async def start(
    url: str, headers: Mapping[str, str], wanted: Mapping[str, Any], timeout_seconds: float
) -> AsyncProgram:
    """Connect and start a program. Raises what the server refuses it with, ConnectionFailed."""
    try:
        async with asyncio.timeout(timeout_seconds):
            # Without pings: who holds output back, which may take long, could not answer them.
            connected = await connect(
                url,
                additional_headers=headers,
                max_size=_MAX_FRAME,
                max_queue=4,
                compression=None,
                ping_interval=None,
            )
            _keep_alive(connected)
            try:
                await connected.send(addresses.body({"type": "start", **wanted}).decode())
                return AsyncProgram(connected, url, _pid(json.loads(await connected.recv())))
            except BaseException:
                await connected.close()
                raise
    except InvalidStatus as refused:
        raise from_refusal(refused) from refused
    except ConnectionClosed as closed:
        raise ConnectionFailed(url, _reason(closed)) from closed
    except (OSError, TimeoutError, InvalidHandshake, ValueError, KeyError) as error:
        raise ConnectionFailed(url, str(error) or type(error).__name__) from error


def _pid(frame: Mapping[str, Any]) -> int:
    """Return the number of a program that has started. Raises what it was refused with."""
    if frame["type"] == "refused":
        raise from_problem(int(frame["status"]), frame, None)
    return int(frame["pid"])


def _keep_alive(connection: ClientConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        raw = connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _end(code: int | None, name: str | None) -> ProgramEnd:
    if name is None:
        return ProgramEnd(code)
    number = signal.Signals.__members__.get(f"SIG{name}")
    return ProgramEnd(-int(number if number is not None else name), name)


def _reason(closed: ConnectionClosed) -> str:
    return closed.rcvd.reason if closed.rcvd is not None and closed.rcvd.reason else str(closed)
