"""A shell on a pseudo-terminal, as a program: no clients, no numbering."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios

from cluster.codi.agent.programs.children import Child, Children
from cluster.codi.agent.programs.terminal import environment, open_terminal, read_size

_TIOCPKT = 0x5420  # ioctl_tty(2); Python has no name for it
_RCFILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bashrc.sh")


class Shell:
    """An open pseudo-terminal (``master``) and the shell behind it."""

    def __init__(self, master: int, child: Child) -> None:
        self.master = master
        self.child = child

    def resize(self, cols: int, rows: int) -> None:
        """Set the size; programs get SIGWINCH if it is another one."""
        if self.master >= 0:
            termios.tcsetwinsize(self.master, (rows, cols))

    def size(self) -> tuple[int, int]:
        """Return columns and rows."""
        rows, cols = termios.tcgetwinsize(self.master)
        return cols, rows

    def waiting(self) -> int:
        """Return how many bytes can be read this moment, all of them at once. Raises OSError."""
        return read_size(self.master)

    def directory(self) -> str | None:
        """Return the shell's working directory, None when it has ended."""
        try:
            return os.readlink(f"/proc/{self.child.pid}/cwd")
        except OSError:
            return None

    def hang_up(self) -> None:
        """Close the terminal: the kernel sends SIGHUP to whoever has it. Idempotent."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
        self.child.signal_group(signal.SIGHUP)
        self.child.signal_group(signal.SIGCONT)


def start(children: Children, directory: int, cols: int, rows: int) -> Shell:
    """Start an interactive shell in ``directory``, an open descriptor. Raises OSError."""
    master, slave = open_terminal(cols, rows)
    try:
        fcntl.ioctl(master, _TIOCPKT, struct.pack("i", 1))  # as ``Ring`` expects
        program = _program()
        arguments = [os.path.basename(program)]
        if arguments[0] == "bash":
            arguments += ["--rcfile", _RCFILE]
        terminal = os.ttyname(slave)
        descriptors = ((0, terminal), (1, 0), (2, 0))
        child = children.spawn(
            program, [*arguments, "-i"], environment(os.environ), directory, descriptors
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        with contextlib.suppress(OSError):
            os.close(slave)
    return Shell(master, child)


def _program() -> str:
    for path in (os.environ.get("SHELL", ""), "/bin/bash"):
        if path.startswith("/") and os.access(path, os.X_OK, effective_ids=True):
            return path
    return "/bin/sh"
