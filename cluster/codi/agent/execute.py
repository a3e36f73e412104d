"""Running one program to its end, with limits on its time and its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.codi.agent.children import Child, Children
from cluster.codi.agent.errors import AgentError, invalid, not_found

MAX_TIMEOUT_SECONDS = 3600.0
_MAX_ARGUMENTS = 128 << 10
_LEFT_OPEN_SECONDS = 0.2
_READ_SIZE = 64 << 10


class _Output:
    """Keeps the first bytes of a pipe and throws the rest away."""

    def __init__(self, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._kept = bytearray()
        self.truncated = False
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._fd, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._readable)

    def close_writer(self) -> None:
        """Close our end of the program's side."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        """Stop reading. Idempotent."""
        self.close_writer()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def text(self) -> str:
        """Return what was kept; what is no UTF-8 is replaced."""
        return self._kept.decode("utf-8", "replace")

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, _READ_SIZE)
            room = self._limit - len(self._kept)
            self._kept += data[:room]
            self.truncated = self.truncated or len(data) > room
            if not data:
                self._loop.remove_reader(self._fd)
                if not self.ended.done():
                    self.ended.set_result(None)


async def execute(
    children: Children,
    argv: Sequence[str],
    *,
    directory: int,
    environment: Mapping[str, str],
    stdin: bytes,
    timeout_seconds: float,
    output_limit: int,
) -> dict[str, Any]:
    """Run ``argv`` and return the answer of ``POST /exec``.

    At the limit, and when the caller goes, its whole process group is killed. A program that it
    left behind with its output open is not waited for.
    """
    started = time.monotonic()
    program = _find(argv[0], environment.get("PATH", os.defpath))
    out, err = _Output(output_limit), _Output(output_limit)
    try:
        child = _spawn(children, program, argv, directory, environment, stdin, out, err)
        timed_out = await _end(child, timeout_seconds)
        await asyncio.wait((out.ended, err.ended), timeout=_LEFT_OPEN_SECONDS)
        return {
            "exit_code": child.exited.result() if child.exited.done() else 128 + signal.SIGKILL,
            "stdout": out.text(),
            "stderr": err.text(),
            "timed_out": timed_out,
            "truncated": out.truncated or err.truncated,
            "duration_seconds": round(time.monotonic() - started, 6),
        }
    finally:
        out.close()
        err.close()


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
    program: str,
    argv: Sequence[str],
    directory: int,
    environment: Mapping[str, str],
    stdin: bytes,
    out: _Output,
    err: _Output,
) -> Child:
    source = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with open(source, "wb", closefd=False) as file:
            file.write(stdin)
        os.lseek(source, 0, os.SEEK_SET)
        descriptors = ((0, source), (1, out.writer), (2, err.writer))
        return children.spawn(program, argv, environment, directory, descriptors)
    except (FileNotFoundError, NotADirectoryError):
        raise not_found(f"program {argv[0]!r}") from None
    except PermissionError:
        raise AgentError(403, "forbidden", f"{argv[0]!r} cannot be run") from None
    except ValueError as error:
        raise invalid(f"argv, env: {error}") from None
    finally:
        os.close(source)
        out.close_writer()
        err.close_writer()


def _find(program: str, path: str) -> str:
    """Find a program as a shell would, in the environment that it will have."""
    if not program or "\0" in program:
        raise invalid("argv: names a program")
    if "/" in program:
        return program
    for place in path.split(":"):
        found = os.path.join(place or ".", program)
        if os.access(found, os.X_OK) and not os.path.isdir(found):
            return found
    raise not_found(f"program {program!r}")


def check_argv(value: Any) -> list[str]:
    """Return ``argv`` if it is one. Raises AgentError."""
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise invalid("argv: a list of texts, the program first")
    if sum(len(part) for part in value) > _MAX_ARGUMENTS:
        raise invalid(f"argv: up to {_MAX_ARGUMENTS} characters in all")
    return value


def check_environment(value: Any) -> dict[str, str]:
    """Return ``env`` if it is one. Raises AgentError."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise invalid("env: an object of texts")
    if any(not name or "=" in name or "\0" in name + text for name, text in value.items()):
        raise invalid("env: a name is not empty and has no =, nothing has a NUL")
    if sum(len(name) + len(text) for name, text in value.items()) > _MAX_ARGUMENTS:
        raise invalid(f"env: up to {_MAX_ARGUMENTS} characters in all")
    return value


def check_timeout(value: Any, default: float) -> float:
    """Return a time limit in seconds. Raises AgentError."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid("timeout_seconds: a number")
    if not 0 < value <= MAX_TIMEOUT_SECONDS:
        raise invalid(f"timeout_seconds: more than 0, up to {MAX_TIMEOUT_SECONDS:g}")
    return float(value)
