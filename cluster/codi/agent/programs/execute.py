"""Running one program to its end, with limits on its time and its output."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.codi.agent.errors import AgentError, invalid, not_found
from cluster.codi.agent.programs.children import Child, Children
from cluster.codi.agent.programs.output import LeftOpen, Output

MAX_TIMEOUT_SECONDS = 3600.0
_MAX_ARGUMENT = (128 << 10) - 1
"""Bytes of one argument or variable: the kernel's MAX_ARG_STRLEN without the NUL (execve(2))."""

_MAX_ARGUMENTS = 1 << 20
_LEFT_OPEN_SECONDS = 0.2


async def execute(
    children: Children,
    left_open: LeftOpen,
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
    left behind with its output open is not waited for, and goes on: ``left_open`` reads its output.
    """
    started = time.monotonic()
    program = _find(argv[0], environment.get("PATH", os.defpath), directory)
    out, err = Output(output_limit), Output(output_limit)
    try:
        child = _spawn(children, program, argv, directory, environment, stdin, out, err)
        timed_out = await _end(child, timeout_seconds)
        await asyncio.wait((out.ended, err.ended), timeout=_LEFT_OPEN_SECONDS)
        return {
            "exit_code": child.exited.result() if child.exited.done() else -signal.SIGKILL,
            "stdout": out.text(),
            "stderr": err.text(),
            "timed_out": timed_out,
            "truncated": out.truncated or err.truncated,
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
    program: str,
    argv: Sequence[str],
    directory: int,
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
        return children.spawn(program, argv, environment, directory, descriptors)
    except ValueError as error:
        raise invalid(f"argv, env: {error}") from None
    except OSError as error:
        refused = _refused(error, argv[0], program, directory)
        if refused is None:
            raise
        raise refused from None
    finally:
        os.close(source)
        out.close_writer()
        err.close_writer()


def _refused(  # noqa: PLR0911 - a table
    error: OSError, name: str, program: str, directory: int
) -> AgentError | None:
    """Return what is wrong with a program that cannot be started (execve(2)); None: it is not that."""
    match error.errno:
        case errno.ENOENT if _exists(program, directory):
            return invalid(f"argv: {name!r} names an interpreter that is not there")
        case errno.ENOENT:
            return _no_program(name)
        case errno.ENOTDIR:
            return invalid(f"argv: a part of {name!r} is not a directory")
        case errno.EACCES | errno.EPERM:
            return AgentError(403, "forbidden", f"argv: {name!r} is not executable")
        case errno.ENOEXEC:
            return invalid(f"argv: {name!r} is no program of this machine, nor begins with #!")
        case errno.E2BIG:
            return invalid("argv, env: too large together")
        case errno.ELOOP | errno.ENAMETOOLONG | errno.ELIBBAD | errno.EINVAL | errno.ETXTBSY:
            return invalid(f"argv: {name!r}: {error.strerror}")
    return None


def _no_program(name: str) -> AgentError:
    error = not_found(f"program {name!r}")
    error.fields |= {"kind": "program", "identity": ascii(name)[1:-1]}
    return error


def _exists(program: str, directory: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        os.stat(program, dir_fd=directory)
        return True
    return False


def _find(program: str, path: str, directory: int) -> str:
    """Find a program as a shell would, in the environment and the directory that it will have.

    What cannot be run is returned where nothing else has its name: the kernel says why it cannot.
    """
    if not program:
        raise invalid("argv: names a program")
    if "/" in program:
        return program
    unusable = None
    for place in path.split(":"):
        found = os.path.join(place or ".", program)
        try:
            mode = os.stat(found, dir_fd=directory).st_mode
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(mode):
            if os.access(found, os.X_OK, dir_fd=directory, effective_ids=True):
                return found
            unusable = unusable or found
    if unusable is None:
        raise _no_program(program)
    return unusable


def check_argv(value: Any) -> list[str]:
    """Return ``argv`` if it is one. Raises AgentError."""
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise invalid("argv: a list of texts, the program first")
    _check_sizes("argv", value)
    return value


def check_environment(value: Any) -> dict[str, str]:
    """Return ``env`` if it is one. Raises AgentError."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise invalid("env: an object of texts")
    for name in value:
        if not name or "=" in name:
            raise invalid(f"env: {name!r} is no name: it is empty or has a =")
    _check_sizes("env", [f"{name}={text}" for name, text in value.items()])
    return value


def check_directory(value: Any) -> str:
    """Return ``cwd`` if it is one, empty for none. Raises AgentError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid("cwd: a text")
    _check_sizes("cwd", [value])
    return value


def open_directory(path: str) -> int:
    """Open a program's working directory, wherever it lies. Raises AgentError that names ``cwd``."""
    try:
        directory = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise invalid(f"cwd: there is no directory {path!r}") from None
    except NotADirectoryError:
        raise invalid(f"cwd: {path!r} is not a directory") from None
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG}:
            raise
        raise invalid(f"cwd: {path!r}: {error.strerror}") from None
    if not os.access(".", os.X_OK, dir_fd=directory, effective_ids=True):
        os.close(directory)
        raise invalid(f"cwd: {path!r} may not be entered")
    return directory


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


def _check_sizes(field: str, texts: Sequence[str]) -> None:
    """Check what a program is given. Lone surrogates stand for bytes that are no UTF-8 (PEP 383)."""
    total = 0
    for text in texts:
        if "\0" in text:
            raise invalid(f"{field}: {text[:80]!r} has a NUL")
        try:
            size = len(os.fsencode(text))
        except UnicodeEncodeError:
            raise invalid(f"{field}: {text[:80]!r} is neither text nor bytes in it") from None
        if size > _MAX_ARGUMENT:
            raise invalid(f"{field}: each has up to {_MAX_ARGUMENT} bytes, {text[:40]!r}… {size}")
        total += size + 1
    if total > _MAX_ARGUMENTS:
        raise invalid(f"{field}: up to {_MAX_ARGUMENTS} bytes in all")
