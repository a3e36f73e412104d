"""A program in a container, from outside of it: what an ingress replica, or its SSH server, runs.

>>> async with await codi.start_program(route, ["cat"]) as program:
...     await program.write(b"hello")
...     await program.end_input()
...     while (output := await program.read()) is not None:
...         print(output.channel, output.data)
...     print(program.ended)
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from actors.core.errors.base import DeadlineExceeded, Unavailable, Unreached
from actors.core.records.sessions import Route
from cluster.codi.answers import COMPONENT, Asked, error_from, headers
from cluster.codi.programs.frames import (
    MAX_START,
    WINDOW,
    Ended,
    InputClosed,
    OnClose,
    Output,
    Refused,
    Start,
    Started,
    Told,
    Window,
    parse_told,
)
from cluster.codi.sockets import (
    CLOSE_SECONDS,
    CodiConnect,
    CodiSocket,
    ContainerConnection,
    secured,
)
from cluster.codi.terminals.frames import BadFrame, control
from cluster.container_address import parse
from cluster.identity_tokens import access

_MAX_PIECE = 64 << 10
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Program:
    """A program that runs in a container. One task reads it, one may write to it; any may signal it.

    What is not read holds up the program, and with it ``write``: whoever writes without end reads as well.
    Every method but ``close`` raises Unavailable when the container, or the way to it, is lost.
    """

    def __init__(self, connection: CodiSocket, pid: int) -> None:
        self.pid = pid
        self.ended: Ended | None = None
        """How it ended; None before ``read`` has returned None."""

        self.input_closed = False
        """True once it reads no more: what is written is dropped."""

        self._connection = connection
        self._sent = self._taken = 0
        self._lost = False
        self._moved = asyncio.Condition()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def read(self) -> Output | None:
        """Return the next piece of output, on one of its channels; None behind the last one, for ever."""
        while self.ended is None:
            try:
                told = parse_told(await self._connection.recv())
            except (ConnectionClosed, BadFrame) as error:
                async with self._moved:
                    self._lost = True
                    self._moved.notify_all()
                raise Unavailable(COMPONENT, str(error)) from None
            match told:
                case Output():
                    return told
                case Ended():
                    self.ended = told
            async with self._moved:
                if isinstance(told, Window):
                    self._taken = told.taken
                self.input_closed |= isinstance(told, InputClosed | Ended)
                self._moved.notify_all()
        return None

    async def write(self, data: bytes) -> None:
        """Give it input; waits while it does not read. Dropped once it reads no more, or has ended."""
        view = memoryview(data)
        while view:
            async with self._moved:
                await self._moved.wait_for(self._may_send)
                if self._lost:
                    raise Unavailable(COMPONENT, "the connection was lost")
                if self.input_closed:
                    return
                room = self._taken + WINDOW - self._sent
                piece = bytes(view[: min(room, _MAX_PIECE)])
                self._sent += len(piece)
            await self._send(piece)
            view = view[len(piece) :]

    def _may_send(self) -> bool:
        return self._lost or self.input_closed or self._sent < self._taken + WINDOW

    async def end_input(self) -> None:
        """End its input; on a terminal type what ends it there (Ctrl-D)."""
        await self._send(control("end_of_input"))

    async def resize(self, cols: int, rows: int) -> None:
        """Set the size of its terminal, 1 to 1,000 each; nothing without one."""
        await self._send(control("resize", cols=cols, rows=rows))

    async def signal(self, name: str) -> None:
        """Signal its process group in the foreground: ``INT``, ``TERM``, ``KILL`` … (``signal_number``)."""
        await self._send(control("signal", name=name))

    async def wait(self) -> Ended:
        """Drop the rest of its output and return how it ended."""
        while await self.read() is not None:
            continue
        assert self.ended is not None
        return self.ended

    async def close(self) -> None:
        """Let go of it: what becomes of a program that runs, ``on_close`` has said. Idempotent."""
        await self._connection.close()

    def abort(self) -> None:
        """Let go of it at once, as by ``close``; for whoever is being cancelled."""
        self._connection.transport.abort()

    async def _send(self, frame: bytes | str) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as closed:
            if self.ended is None and closed.rcvd is None:
                raise Unavailable(COMPONENT, str(closed)) from None


async def start_program(
    route: Route,
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    tty: tuple[int, int] | None = None,
    on_close: OnClose = "kill",
    timeout_seconds: float = 10.0,
) -> Program:
    """Start a program in a container; the caller closes it.

    ``tty``: columns and rows of a terminal to run on, which has one output; without, it runs on pipes.
    ``on_close``: what becomes of it when the connection goes: ``kill``, ``hang_up`` or ``leave``. Raises
    NotFound (kind ``program``), PermissionDenied or InvalidArgument for what cannot be run, TooManyRequests,
    Busy, Fenced; Unreached when it was certainly not started, Unavailable or DeadlineExceeded when nobody
    knows.
    """
    start = Start(list(argv), cwd, dict(env or {}), tty, on_close)
    return Program(*await connect_program(route, start, timeout_seconds=timeout_seconds))


async def connect_program(
    route: Route, start: Start, *, timeout_seconds: float = 10.0
) -> tuple[CodiSocket, int]:
    """Start a program; return the connection as it is, and the program's number. See ``start_program``."""
    asked = Asked(route, "program", _named(start.argv))
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    to = parse(route.address)
    try:
        async with asyncio.timeout_at(deadline):
            connection = await CodiConnect(
                f"{to.websocket}/exec/ws",
                create_connection=ContainerConnection,
                additional_headers=headers(route) | dict(await access(to)),
                **secured(to),
                compression=None,
                proxy=None,
                open_timeout=None,
                ping_interval=None,
                close_timeout=CLOSE_SECONDS,
                max_size=MAX_START,
                max_queue=4,
                process_exception=lambda error: error,
            )
    except InvalidStatus as refused:
        response = refused.response
        raise error_from(response.status_code, bytes(response.body or b""), asked) from None
    except (TimeoutError, OSError, EOFError, InvalidHandshake) as error:
        raise Unreached(COMPONENT, str(error) or type(error).__name__) from error
    assert isinstance(connection, CodiSocket)
    try:
        _keep_alive(connection)
        async with asyncio.timeout_at(deadline):
            await connection.send(start.encode())
            return connection, _pid(parse_told(await connection.recv()), asked)
    except BaseException as error:
        connection.transport.abort()
        if isinstance(error, TimeoutError):
            raise DeadlineExceeded(f"start of {asked.name!r}", timeout_seconds) from None
        if isinstance(error, ConnectionClosed | BadFrame):
            raise Unavailable(COMPONENT, str(error)) from error
        raise


def _pid(told: Told | None, asked: Asked) -> int:
    """Return the number of a program that has started. Raises what it was refused with."""
    match told:
        case Started(pid):
            return pid
        case Refused(status, document):
            raise error_from(status, json.dumps(document).encode(), asked)
    raise Unavailable(COMPONENT, "its first frame says nothing of the program")


def _named(argv: object) -> str:
    """Return what a program is called in errors."""
    first = argv[0] if isinstance(argv, list) and argv else ""
    return ascii(first)[1:-1]


def _keep_alive(connection: CodiSocket) -> None:
    """Have TCP find out that the container is gone: frames may rightly stay away for long."""
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        raw.setsockopt(socket.IPPROTO_TCP, option, value)
