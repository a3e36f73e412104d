"""A program that runs, with its ends of pipes or of a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from collections.abc import Mapping

from cluster.codi.agent.programs import starting
from cluster.codi.agent.programs.children import Child, Children
from cluster.codi.agent.programs.starting import Wanted
from cluster.codi.agent.programs.terminal import open_terminal, read_size
from cluster.codi.programs.frames import STDERR, STDOUT

MAX_ONE_SHOT = 16
MAX_STREAMS = 48
MAX_NAMED = 32


class Running:
    """A program in a session of its own. Its descriptors here do not block, and are this one's to close.

    ``outputs`` are descriptors to read by their channel; ``input`` is the one to write to, -1 for none.
    """

    def __init__(self, child: Child, outputs: dict[int, int], stdin: int, *, tty: bool) -> None:
        self.child = child
        self.outputs = outputs
        self.input = stdin
        self.tty = tty
        self.adopted = False
        """True if a former CODI has started it: with which code it ends nobody learns."""

    @classmethod
    def adopt(cls, child: Child, output: int, *, tty: bool) -> Running:
        """Go on with a program of a former CODI."""
        adopted = cls(child, {STDOUT: output}, output if tty else -1, tty=tty)
        adopted.adopted = True
        return adopted

    @classmethod
    def with_pipes(
        cls,
        children: Children,
        wanted: Wanted,
        workspace: str,
        environment: Mapping[str, str],
        *,
        reads: bool = True,
        apart: bool = True,
    ) -> Running:
        """Start a program on pipes. ``reads``: it has input; ``apart``: two outputs, else one for both."""
        ends: list[int] = []
        try:
            out, out_writer = _pipe(ends)
            err, err_writer = _pipe(ends) if apart else (out, out_writer)
            source: str | int = os.devnull
            stdin = -1
            if reads:
                source, stdin = _pipe(ends)
            descriptors = ((0, source), (1, out_writer), (2, err_writer))
            child = starting.start(children, wanted, workspace, environment, descriptors)
        except BaseException:
            for end in ends:
                os.close(end)
            raise
        for end in {out_writer, err_writer, *([source] if isinstance(source, int) else [])}:
            os.close(end)
        outputs = {STDOUT: out, STDERR: err} if apart else {STDOUT: out}
        for fd in (*outputs.values(), *([stdin] if stdin >= 0 else [])):
            os.set_blocking(fd, False)
        return cls(child, outputs, stdin, tty=False)

    @classmethod
    def on_terminal(
        cls,
        children: Children,
        wanted: Wanted,
        workspace: str,
        environment: Mapping[str, str],
        size: tuple[int, int],
    ) -> Running:
        """Start a program on a pseudo-terminal of that size, in columns and rows."""
        master, slave = open_terminal(*size)
        try:
            terminal = os.ttyname(slave)
            descriptors = ((0, terminal), (1, 0), (2, 0))
            child = starting.start(children, wanted, workspace, environment, descriptors)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return cls(child, {STDOUT: master}, master, tty=True)

    def signal(self, number: int) -> None:
        """Signal the process group in the foreground; without a terminal, the program's own."""
        group = 0
        if self.tty and self.input >= 0:
            with contextlib.suppress(OSError):
                group = os.tcgetpgrp(self.input)
        if group > 1 and group != self.child.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        else:
            self.child.signal_group(number)

    def kill(self) -> None:
        """Kill the program's process group, and the one in the foreground."""
        self.signal(signal.SIGKILL)
        self.child.signal_group(signal.SIGKILL)

    def hang_up(self) -> None:
        """Have the program end, as when the line is cut."""
        self.child.signal_group(signal.SIGHUP)
        self.child.signal_group(signal.SIGCONT)

    def resize(self, cols: int, rows: int) -> None:
        """Set the terminal's size, if there is one."""
        if self.tty and self.input >= 0:
            with contextlib.suppress(OSError):
                termios.tcsetwinsize(self.input, (rows, cols))

    def end_of_input(self) -> bytes:
        """Return the character that ends input on the terminal; without one the pipe is to be closed."""
        if not self.tty:
            return b""
        with contextlib.suppress(termios.error, OSError):
            found = termios.tcgetattr(self.input)[6][termios.VEOF]
            return found if isinstance(found, bytes) else bytes([found])
        return b"\x04"

    def waiting(self, channel: int) -> int:
        """Return how many bytes of output can be read this moment."""
        with contextlib.suppress(OSError):
            return read_size(self.outputs[channel])
        return 0

    def close_input(self) -> None:
        """Let the program see the end of its input. Idempotent; a terminal stays open."""
        if self.input >= 0 and not self.tty:
            os.close(self.input)
            self.input = -1

    def take_output(self, channel: int) -> int:
        """Return an output's descriptor, which is the caller's from now on."""
        fd = self.outputs.pop(channel)
        if fd == self.input:
            self.input = -1
        return fd


def _pipe(ends: list[int]) -> tuple[int, int]:
    """Open a pipe for a program; return the end to read from and the one to write to."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    ends += (reader, writer)
    return reader, writer
