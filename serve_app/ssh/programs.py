"""A channel on which a program runs inside: a shell, a command, or the file server of SFTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncssh
import structlog

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.records.sessions import Route
from cluster.codi.programs.client import Program as Running
from cluster.codi.programs.client import start_program
from cluster.codi.programs.frames import STDERR, Ended
from serve_app.ssh.rules import environment, terminal_size, terminal_type
from serve_app.ssh.visit import Visit

logger = structlog.get_logger(__name__)

SFTP_SERVER = ("codi:sftp-server",)
"""CODI's own: it runs inside, as the workspace's user."""

MAX_INPUT = 256 << 10
FAILED = 255
"""The exit code of ssh(1) itself when a connection fails."""

# The user's own shell, as terminals have it: whatever $SHELL names inside, bash, or sh.
_SHELL = 'for s in "$SHELL" /bin/bash /bin/sh; do [ -x "$s" ] && break; done; '
_LOGIN = ("/bin/sh", "-c", _SHELL + 'exec "$s" -l')
_COMMAND = ("/bin/sh", "-c", _SHELL + 'exec "$s" -c "$1"', "sh")


class Program(asyncssh.SSHServerSession[bytes]):
    """The server's side of a channel. What either side does not take is not read from the other."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._channel: Any = None
        self._argv: Sequence[str] = ()
        self._tty: tuple[int, int] | None = None
        self._term = ""
        self._input: deque[bytes] = deque()
        self._waiting = 0
        self._ended = False
        self._typed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._running: Running | None = None
        self._task: asyncio.Task[None] | None = None

    # ---- what the client asks for ---------------------------------------------------------------

    def connection_made(self, chan: Any) -> None:
        """Take the channel."""
        self._channel = chan

    def pty_requested(self, term_type: str, term_size: Any, term_modes: Any) -> bool:
        """Run it on a terminal."""
        self._term = terminal_type(term_type)
        self._tty = terminal_size(term_size[0], term_size[1])
        return True

    def shell_requested(self) -> bool:
        """Run a login shell."""
        self._argv = _LOGIN
        return True

    def exec_requested(self, command: str) -> bool:
        """Run a command, by the user's shell."""
        self._argv = (*_COMMAND, command)
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Serve files; nothing else has a name here."""
        self._argv, self._tty = SFTP_SERVER, None
        return subsystem == "sftp"

    def session_started(self) -> None:
        """Begin."""
        self._task = self._visit.spawn("program", self._run())

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Follow the client's window."""
        if self._tty is None:
            return
        self._tty = terminal_size(width, height)
        if self._running is not None:
            self._visit.spawn("resize", self._told(self._running.resize(*self._tty)))

    def signal_received(self, signal: str) -> None:
        """Pass a signal on; one that does not exist is dropped."""
        if self._running is not None and signal.isalnum():
            self._visit.spawn("signal", self._told(self._running.signal(signal)))

    def break_received(self, msec: int) -> bool:
        """Take no break: there is no line to break."""
        return False

    def data_received(self, data: bytes, datatype: Any) -> None:
        """Take input, and no more than fits."""
        self._input.append(data)
        self._waiting += len(data)
        self._typed.set()
        if self._waiting > MAX_INPUT:
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        """End the input; output goes on."""
        self._ended = True
        self._typed.set()
        return True

    def pause_writing(self) -> None:
        """Read no more output: the client does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the program."""
        self._visit.give_channel_back()
        if self._task is not None:
            self._task.cancel()

    # ---- the program ----------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._visit.prepared()
        try:
            running = self._running = await self._visit.on_container(self._start)
        except CoditectError as error:
            self._fail(str(error))
            return
        typing = asyncio.create_task(self._type(running), name="ssh input")
        try:
            await self._show(running)
            assert running.ended is not None
            self._exit(running.ended)
        except Unavailable:
            self._fail("the container has ended; connect again")
        except OSError:
            return  # the client has closed the channel
        finally:
            self._running = None
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
            await running.close()

    async def _start(self, route: Route) -> Running:
        connection = self._visit.connection
        peer, own = (connection.get_extra_info(end) for end in ("peername", "sockname"))
        variables = environment(dict(self._channel.get_environment_bytes()))
        if self._tty is not None:
            variables["TERM"] = self._term
        ends = [str(part) for end in (peer, own) if isinstance(end, tuple) for part in end[:2]]
        if self._visit.agent_path:
            variables["SSH_AUTH_SOCK"] = self._visit.agent_path
        variables["SSH_CONNECTION"] = " ".join(ends) or "127.0.0.1 0 127.0.0.1 0"
        return await start_program(
            route,
            self._argv,
            env=variables,
            tty=self._tty,
            # As sshd: who loses the line is hung up, what has no terminal goes on by itself.
            on_close="hang_up" if self._tty is not None else "leave",
        )

    async def _show(self, running: Running) -> None:
        while (output := await running.read()) is not None:
            if output.channel == STDERR:
                self._channel.write_stderr(output.data)
            else:
                self._channel.write(output.data)
            await self._writable.wait()
            await self._visit.connection.room.wait()

    async def _type(self, running: Running) -> None:
        """Give the program its input; errors are the reader's to notice."""
        with suppress(CoditectError):
            while True:
                while self._input:
                    data = self._input.popleft()
                    self._visit.used()
                    await running.write(data)
                    self._waiting -= len(data)
                    if self._waiting <= MAX_INPUT // 2:
                        self._channel.resume_reading()
                if self._ended:
                    await running.end_input()
                    return
                self._typed.clear()
                await self._typed.wait()

    async def _told(self, saying: Any) -> None:
        with suppress(CoditectError, ValueError):
            await saying

    def _exit(self, ended: Ended) -> None:
        if ended.signal is not None:
            self._channel.exit_with_signal(ended.signal)
        else:
            self._channel.exit(FAILED if ended.code is None else ended.code & 0xFF)

    def _fail(self, reason: str) -> None:
        """Say why there is no program (any more), and end the channel as ssh(1) ends a connection."""
        logger.info("an SSH channel ends", session_id=self._visit.session_id, reason=reason)
        with suppress(OSError):
            self._channel.write_stderr(f"coditect: {reason}\r\n".encode())
            self._channel.exit(FAILED)
