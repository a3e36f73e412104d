"""Running one program to its end, with limits on its time and its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from cluster.codi.agent.errors import invalid
from cluster.codi.agent.programs import starting
from cluster.codi.agent.programs.children import Child, Children
from cluster.codi.agent.programs.output import LeftOpen, Output
from cluster.codi.agent.programs.starting import Wanted

MAX_TIMEOUT_SECONDS = 3600.0
_ROUNDS = 3  # what a pipe holds is read at once: a file is behind by two writes at most
LEFT_OPEN_SECONDS = 0.2
"""Time for what a program has left behind to close its output, after its end."""


async def execute(
    children: Children,
    left_open: LeftOpen,
    wanted: Wanted,
    *,
    workspace: str,
    environment: Mapping[str, str],
    stdin: bytes,
    timeout_seconds: float,
    outputs: tuple[Output, Output],
) -> dict[str, Any]:
    """Run a program and return the answer of ``POST /exec``.

    At the limit, and when the caller goes, its whole process group is killed. A program that it
    left behind with its output open is not waited for, and goes on: ``left_open`` reads its output.
    """
    started = time.monotonic()
    out, err = outputs
    try:
        child = _spawn(children, wanted, workspace, environment, stdin, out, err)
        timed_out = await _end(child, timeout_seconds)
        for _ in range(_ROUNDS):
            await asyncio.wait((out.ended, err.ended), timeout=LEFT_OPEN_SECONDS)
            if not (out.writing or err.writing):
                break
            await asyncio.gather(out.settle(), err.settle())
        return {
            "exit_code": child.exited.result() if child.exited.done() else -signal.SIGKILL,
            "stdout": out.text(),
            "stderr": err.text(),
            "timed_out": timed_out,
            "truncated": out.truncated or err.truncated,
            "stdout_bytes": out.size,
            "stderr_bytes": err.size,
            "stdout_file": out.file,
            "stderr_file": err.file,
            "duration_seconds": round(time.monotonic() - started, 6),
        }
    finally:
        out.leave(left_open)
        err.leave(left_open)


async def _end(child: Child, timeout_seconds: float) -> bool:
    """Wait for the end, or make it; say whether it had to be made."""
    try:
        await child.wait(timeout_seconds)
    except TimeoutError:
        child.signal_group(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await child.wait(5.0)
        return True
    except asyncio.CancelledError:
        child.signal_group(signal.SIGKILL)
        raise
    return False


def _spawn(
    children: Children,
    wanted: Wanted,
    workspace: str,
    environment: Mapping[str, str],
    stdin: bytes,
    out: Output,
    err: Output,
) -> Child:
    source = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with open(source, "wb", closefd=False) as file:
            file.write(stdin)
        os.lseek(source, 0, os.SEEK_SET)
        descriptors = ((0, source), (1, out.writer), (2, err.writer))
        return starting.start(children, wanted, workspace, environment, descriptors)
    finally:
        os.close(source)
        out.close_writer()
        err.close_writer()


def check_stdin(value: Any) -> bytes:
    """Return the bytes of ``stdin`` if it is one. Raises AgentError."""
    if value is not None and not isinstance(value, str):
        raise invalid("stdin: a text")
    try:
        return os.fsencode(value or "")
    except UnicodeEncodeError:
        raise invalid("stdin: it is neither text nor bytes in it") from None


def check_timeout(value: Any, default: float) -> float:
    """Return a time limit in seconds. Raises AgentError."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid("timeout_seconds: a number")
    if not 0 < value <= MAX_TIMEOUT_SECONDS:
        raise invalid(f"timeout_seconds: more than 0, up to {MAX_TIMEOUT_SECONDS:g}")
    return float(value)
