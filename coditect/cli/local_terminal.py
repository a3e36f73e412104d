"""The terminal that a command runs in: its size, and raw mode. Needs a POSIX system."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator

from coditect.errors import ClientError


def local_size() -> os.terminal_size:
    """Return the terminal's own size; LINES and COLUMNS may be an older window's."""
    for stream in (sys.stdout, sys.stdin, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(stream.fileno())
    return shutil.get_terminal_size()


@contextlib.contextmanager
def raw_mode() -> Iterator[None]:
    """Pass keys on as they are; nothing where standard input is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    saved = termios.tcgetattr(descriptor)
    # TCSADRAIN: what was typed while the connection was made is kept.
    tty.setraw(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


@contextlib.contextmanager
def follow_size(resize: Callable[[int, int], None]) -> Iterator[None]:
    """Report the terminal's new size, in columns and rows, whenever it has another one."""
    changed = threading.Event()
    done = threading.Event()

    def follow() -> None:
        while changed.wait() and not done.is_set():
            changed.clear()
            size = local_size()
            with contextlib.suppress(ClientError, RuntimeError):
                resize(size.columns, size.lines)

    # The handler only sets a flag: a call into the event loop from a signal handler could deadlock.
    previous = signal.signal(signal.SIGWINCH, lambda *_: changed.set())
    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, previous)
        done.set()
        changed.set()
        follower.join(timeout=1)
