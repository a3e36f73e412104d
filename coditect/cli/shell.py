"""`coditect shell`: the local terminal, in raw mode, on a workspace's shell."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading

from coditect.cli.local_terminal import follow_size, local_size, raw_mode
from coditect.errors import ClientError, TerminalClosed
from coditect.sync import Client, Terminal

_MAX_LABEL = 64
DETACH_KEY = b"\x1d"  # Ctrl-], as in telnet(1)


def run_shell(client: Client, session_id: str, name: str, sizing: str | None = None) -> int:
    """Attach until the shell exits or the person detaches; return the exit code.

    ``sizing``: the rule by which the terminal is sized from now on, if it is to be another one.
    """
    size = local_size()
    label = f"coditect shell, {platform.node()}"[:_MAX_LABEL]
    with (
        client.terminal(
            session_id, name, cols=size.columns, rows=size.lines, emulator=True, label=label
        ) as terminal,
        raw_mode(),
        follow_size(terminal.resize),
    ):
        if sizing is not None:
            terminal.set_sizing(sizing)
        threading.Thread(target=_forward_input, args=(terminal,), daemon=True).start()
        code, message = _show_output(terminal)
    sys.stderr.write(f"\r\n{message}\r\n")
    return code


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
