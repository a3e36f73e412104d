"""`coditect exec -i` and `-t`: a program with this terminal, or these pipes, for its own."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence

from coditect.cli.local_terminal import follow_size, local_size, raw_mode
from coditect.errors import ClientError
from coditect.sync import Client, Program


def run_program(
    client: Client,
    session_id: str,
    argv: Sequence[str],
    *,
    cwd: str | None,
    reads: bool,
    tty: bool,
) -> int:
    """Run a program to its end and return its exit code, -N after signal N.

    ``reads``: it is given standard input, as it comes; ``tty``: it has a terminal, of the size of this one.
    """
    size = local_size()
    wanted = (size.columns, size.lines) if tty else None
    with client.program(session_id, argv, cwd=cwd, tty=wanted) as program:
        with contextlib.ExitStack() as stack:
            if tty:
                stack.enter_context(raw_mode())
                stack.enter_context(follow_size(program.resize))
            if reads:
                threading.Thread(target=_give_input, args=(program,), daemon=True).start()
            else:
                program.end_input()
            _show(program)
        end = program.end
    return 0 if end is None or end.exit_code is None else end.exit_code


def _show(program: Program) -> None:
    """Print what it prints; Ctrl-C is for it, and a second one for this command."""
    interrupted = False
    while True:
        try:
            for output in program:
                stream = sys.stdout if output.stream == "stdout" else sys.stderr
                stream.buffer.write(output.data)
                stream.buffer.flush()
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            program.signal("INT")
        else:
            return


def _give_input(program: Program) -> None:
    descriptor = sys.stdin.fileno()
    with contextlib.suppress(ClientError, RuntimeError):
        while data := os.read(descriptor, 65536):
            program.write(data)
        program.end_input()
