"""A program's WebSocket, as an asyncio protocol: no task, no queue but the transport's and the window's.

Output is read when the connection has room for it, so a caller who does not read holds up the program and
nothing else. Input is bounded by the window that the caller is told of, and never by holding the connection
back: a signal always comes through. That the caller is there is TCP's to find out (keep-alive): one who
reads nothing for an hour is as good as any.
"""

from __future__ import annotations

import asyncio
import os
import socket as sockets
from collections.abc import Callable

from cluster.codi.agent.errors import AgentError
from cluster.codi.agent.programs.execute import LEFT_OPEN_SECONDS
from cluster.codi.agent.programs.output import LeftOpen
from cluster.codi.agent.programs.running import Running
from cluster.codi.agent.websocket import Unreadable, WebSocket
from cluster.codi.programs.frames import (
    CLOSE_BAD_FRAME,
    MAX_START,
    WINDOW,
    Ended,
    EndOfInput,
    OnClose,
    Resize,
    Signal,
    Start,
    parse_asked,
)
from cluster.codi.terminals.frames import BadFrame, control, encoded

_CHUNK = 64 << 10
_START_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_READ_OUT_SECONDS = 3600.0
"""Time for a caller to read the last of the output, which waits in the connection."""

_CLOSE_NORMAL = 1000
_KEEPALIVE = ((sockets.TCP_KEEPIDLE, 10), (sockets.TCP_KEEPINTVL, 10), (sockets.TCP_KEEPCNT, 3))

Launch = Callable[[Start], Running]
"""Starts a program. Raises AgentError, OSError."""


class ProgramSocket(asyncio.Protocol):
    """Takes over a transport whose upgrade has been answered. ``on_lost`` is called at its end.

    When the other side has gone, that is: until then it has its place among those that run.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        launch: Launch,
        left_open: LeftOpen,
        explain: Callable[[OSError], AgentError],
        on_lost: Callable[[ProgramSocket], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._websocket = WebSocket(transport, max_text=MAX_START, max_message=MAX_START)
        self._launch = launch
        self._left_open = left_open
        self._explain = explain
        self._on_lost = on_lost
        self._running: Running | None = None
        self._on_close: OnClose = "kill"
        self._input = bytearray()
        self._taken = self._told = 0
        self._no_more_input = self._writing = False
        self._reading: set[int] = set()
        self._ended: Ended | None = None
        self._left: dict[int, int] | None = None
        self._full = self._hushed = self._done = False
        self._timer = self._loop.call_later(_START_SECONDS, self._too_late)
        _keep_alive(transport)

    def start(self, early: bytes) -> None:
        """Take what came right behind the upgrade."""
        if early:
            self.data_received(early)

    # ---- the connection -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take frames from the caller."""
        try:
            for message in self._websocket.receive(data):
                if not self._done:
                    self._take(message)
        except (BadFrame, Unreadable) as error:
            self.close(CLOSE_BAD_FRAME, str(error))
        if not self._websocket.open:
            self._finish(_CLOSE_SECONDS)

    def eof_received(self) -> bool:
        """Close: nobody listens at the other side."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the program go as it was asked for."""
        self._finish(_CLOSE_SECONDS)
        self._timer.cancel()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Read no more output: the caller does not keep up."""
        self._full = True
        self._read_or_rest()

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        self._read_or_rest()

    def close(self, code: int, reason: str) -> None:
        """End the connection, and the program as it was asked for."""
        self._websocket.close(code, reason)
        self._finish(_CLOSE_SECONDS)

    def _take(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self._type(message)
            return
        asked = parse_asked(message)
        if isinstance(asked, Start):
            self._begin(asked)
            return
        running = self._running
        if running is None:
            raise BadFrame("the first frame starts the program")
        match asked:
            case EndOfInput():
                self._end_input()
            case Resize(size):
                running.resize(*size)
            case Signal(number):
                running.signal(number)

    def _begin(self, asked: Start) -> None:
        if self._running is not None:
            raise BadFrame("the program was started")
        self._timer.cancel()
        try:
            running = self._launch(asked)
        except (AgentError, OSError) as error:
            told = error if isinstance(error, AgentError) else self._explain(error)
            document = {"code": told.code, "detail": told.detail, **told.fields}
            self._websocket.send(encoded({"type": "refused", "status": told.status, **document}))
            self.close(_CLOSE_NORMAL, "the program was not started")
            return
        self._running, self._on_close = running, asked.on_close
        self._websocket.send(control("started", pid=running.child.pid))
        running.child.exited.add_done_callback(self._exited)
        self._read_or_rest()

    def _too_late(self) -> None:
        self.close(CLOSE_BAD_FRAME, f"no program was named for {_START_SECONDS:g} s")

    # ---- input ----------------------------------------------------------------------------------

    def _type(self, data: bytes) -> None:
        running = self._running
        if running is None:
            raise BadFrame("the first frame starts the program")
        if len(self._input) + len(data) > WINDOW:
            raise BadFrame(f"up to {WINDOW} bytes of input may be under way")
        if running.input < 0 or self._no_more_input:
            self._count(len(data))
            return
        self._input += data
        if not self._writing:
            self._write()

    def _end_input(self) -> None:
        running = self._running
        if running is None or self._no_more_input:
            return
        if running.tty and running.input >= 0:
            self._input += running.end_of_input()
        self._no_more_input = True
        if not self._writing:
            self._write()

    def _write(self) -> None:
        """Give the program what it has room for; behind its last byte, the end."""
        running = self._running
        if running is None or running.input < 0:
            return
        try:
            count = os.write(running.input, self._input) if self._input else 0
        except BlockingIOError:
            count = 0
        except OSError:  # it reads no more
            self._drop_input(running)
            return
        del self._input[:count]
        self._count(count)
        if bool(self._input) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(running.input, self._write)
            else:
                self._loop.remove_writer(running.input)
        if self._no_more_input and not self._input:
            running.close_input()

    def _drop_input(self, running: Running) -> None:
        if self._writing:
            self._loop.remove_writer(running.input)
            self._writing = False
        running.close_input()
        self._no_more_input = True
        self._websocket.send(control("input_closed"))
        count = len(self._input)
        self._input.clear()
        self._count(count)

    def _count(self, count: int) -> None:
        """Tell the caller what was taken, before they would have to wait for it."""
        self._taken += count
        if self._taken - self._told >= WINDOW // 4 or (
            self._taken > self._told and not self._input
        ):
            self._told = self._taken
            self._websocket.send(control("window", bytes=self._taken))

    # ---- output ---------------------------------------------------------------------------------

    def _read_or_rest(self) -> None:
        """Watch the outputs while the connection has room."""
        running = self._running
        if running is None or self._done:
            return
        wanted = set() if self._full or self._hushed else set(running.outputs)
        for channel in self._reading - wanted:
            self._loop.remove_reader(running.outputs[channel])
        for channel in wanted - self._reading:
            self._loop.add_reader(running.outputs[channel], self._readable, channel)
        self._reading = wanted

    def _readable(self, channel: int) -> None:
        running = self._running
        assert running is not None
        size = _CHUNK if self._left is None else min(_CHUNK, self._left[channel])
        try:
            data = os.read(running.outputs[channel], size) if size else b""
        except BlockingIOError:
            return
        except OSError:  # of a terminal that nobody has open any more
            data = b""
        if not data and running.tty and self._ended is None:
            # Nobody has the terminal open. Closed at once, it would hang up a program that is just ending.
            self._hushed = True
            self._read_or_rest()
            return
        if not data:
            self._close_output(channel)
            return
        self._websocket.send(bytes((channel,)) + data)
        if self._left is not None:
            self._left[channel] -= len(data)
            if self._left[channel] == 0:
                self._close_output(channel)

    def _close_output(self, channel: int) -> None:
        """Read an output no more: it has ended, or what it brings is another program's, left behind."""
        running = self._running
        assert running is not None
        if channel in self._reading:
            self._reading.discard(channel)
            self._loop.remove_reader(running.outputs[channel])
        if running.tty and self._writing:
            self._loop.remove_writer(running.input)
            self._writing = False
        fd = running.take_output(channel)
        # A terminal is closed, which hangs up whoever still has it; a pipe would end them with SIGPIPE.
        if self._left is not None and not running.tty:
            self._left_open.take(fd)
        else:
            os.close(fd)
        self._end_if_over()

    def _exited(self, exited: asyncio.Future[int]) -> None:
        if self._done or exited.cancelled():
            return
        self._ended = Ended.of(exited.result())
        self._timer = self._loop.call_later(LEFT_OPEN_SECONDS, self._read_what_is_left)
        self._hushed = False
        self._read_or_rest()
        self._end_if_over()

    def _read_what_is_left(self) -> None:
        """Wait no longer for those that the program left behind; what it printed itself is there by now."""
        running = self._running
        if running is None or self._done:
            return
        self._left = {channel: running.waiting(channel) for channel in running.outputs}
        for channel, left in list(self._left.items()):
            if left == 0:
                self._close_output(channel)

    def _end_if_over(self) -> None:
        running = self._running
        if self._done or self._ended is None or running is None or running.outputs:
            return
        self._websocket.send(self._ended.encode())
        self._websocket.close(_CLOSE_NORMAL, "the program has ended")
        self._finish(_READ_OUT_SECONDS)

    # ---- the end --------------------------------------------------------------------------------

    def _finish(self, seconds: float) -> None:
        """Let go of the program, and give the other side time to close. Idempotent."""
        if self._done:
            return
        self._done = True
        self._timer.cancel()
        if not self._transport.is_closing():
            self._timer = self._loop.call_later(seconds, self._transport.abort)
        if self._running is not None:
            self._let_go(self._running)

    def _let_go(self, running: Running) -> None:
        for channel in self._reading:
            self._loop.remove_reader(running.outputs[channel])
        if self._writing:
            self._loop.remove_writer(running.input)
        self._input.clear()
        over = self._ended is not None
        if not over and self._on_close == "kill":
            running.kill()
        elif not over and self._on_close == "hang_up":
            running.hang_up()
        running.close_input()
        keep = over or self._on_close != "kill"
        for channel in list(running.outputs):
            fd = running.take_output(channel)
            if keep and (not running.tty or self._on_close == "leave"):
                self._left_open.take(fd)
            else:
                os.close(fd)


def _keep_alive(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (sockets.AF_INET, sockets.AF_INET6):
        return
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(sockets.IPPROTO_TCP, option, value)
