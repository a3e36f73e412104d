"""`coditect shell`: the local terminal, in raw mode, on a workspace's shell."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator

from coditect.errors import ClientError, TerminalClosed
from coditect.sync import Client, Terminal

_MAX_LABEL = 64
DETACH_KEY = b"\x1d"  # Ctrl-], as in telnet(1)


def run_shell(client: Client, session_id: str, name: str, sizing: str | None = None) -> int:
    """Attach until the shell exits or the person detaches; return the exit code.

    ``sizing``: the rule by which the terminal is sized from now on, if it is to be another one.
    """
    size = _size()
    label = f"coditect shell, {platform.node()}"[:_MAX_LABEL]
    with (
        client.terminal(
            session_id, name, cols=size.columns, rows=size.lines, emulator=True, label=label
        ) as terminal,
        _raw_mode(),
        _follow_size(terminal),
    ):
        if sizing is not None:
            terminal.set_sizing(sizing)
        threading.Thread(target=_forward_input, args=(terminal,), daemon=True).start()
        code, message = _show_output(terminal)
    sys.stderr.write(f"\r\n{message}\r\n")
    return code


def _size() -> os.terminal_size:
    """Return the terminal's own size; LINES and COLUMNS may be an older window's."""
    for stream in (sys.stdout, sys.stdin, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(stream.fileno())
    return shutil.get_terminal_size()


def _show_output(terminal: Terminal) -> tuple[int, str]:
    out = sys.stdout.buffer
    while True:
        try:
            out.write(terminal.read(timeout_seconds=3600))
            out.flush()
        except TimeoutError:
            continue
        except TerminalClosed as closed:
            if closed.exit_code is None and closed.close_code is None:
                return 0, "detached; the shell goes on"
            return closed.exit_code or 0, str(closed)
        except ClientError as error:
            return 1, str(error)


def _forward_input(terminal: Terminal) -> None:
    descriptor = sys.stdin.fileno()
    with contextlib.suppress(ClientError, RuntimeError):
        while data := os.read(descriptor, 65536):
            before, found, _ = data.partition(DETACH_KEY)
            if before:
                terminal.send(before)
            if found:
                break
        terminal.close()


@contextlib.contextmanager
def _raw_mode() -> Iterator[None]:
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
def _follow_size(terminal: Terminal) -> Iterator[None]:
    changed = threading.Event()
    done = threading.Event()

    def follow() -> None:
        while changed.wait() and not done.is_set():
            changed.clear()
            size = _size()
            with contextlib.suppress(ClientError, RuntimeError):
                terminal.resize(size.columns, size.lines)

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
