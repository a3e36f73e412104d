"""A pseudo-terminal, and what programs on one expect of their environment."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from collections.abc import Mapping

from cluster.codi.agent.errors import AgentError

_IUTF8 = 0o40000  # termios(3); Python has no name for it


def open_terminal(cols: int, rows: int) -> tuple[int, int]:
    """Open a pseudo-terminal of that size; return its two ends, of which the first does not block."""
    try:
        master, slave = os.openpty()
    except OSError as error:
        if error.errno != errno.ENOSPC:  # of all errors, the one that means a full disk elsewhere
            raise
        detail = "the container has as many pseudo-terminals open as it may have"
        raise AgentError(503, "exhausted", detail) from error
    termios.tcsetwinsize(slave, (rows, cols))
    attributes = termios.tcgetattr(slave)
    attributes[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    os.set_blocking(master, False)
    return master, slave


def read_size(descriptor: int) -> int:
    """Return how many bytes can be read from a terminal or a pipe this moment. Raises OSError."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of what runs in a terminal."""
    return {"LANG": "C.UTF-8", **own, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
