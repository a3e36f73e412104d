"""Starting a program that somebody asks for: what is wrong with it is named. Blocking, and short."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.codi.agent.errors import AgentError, invalid, not_found
from cluster.codi.agent.programs.children import Child, Children
from cluster.codi.agent.programs.own import resolved

_MAX_ARGUMENT = (128 << 10) - 1
"""Bytes of one argument or variable: the kernel's MAX_ARG_STRLEN without the NUL (execve(2))."""

_MAX_ARGUMENTS = 1 << 20


class Wanted(NamedTuple):
    """A program that is asked for, checked. ``cwd`` is empty where none was given."""

    argv: list[str]
    cwd: str
    env: dict[str, str]

    @classmethod
    def parse(cls, argv: Any, cwd: Any, env: Any) -> Wanted:
        """Check what is asked for. Raises AgentError, which names the field."""
        checked = check_argv(argv)
        extra = check_environment(env)
        return cls(checked, check_directory(cwd), extra)


def start(
    children: Children,
    wanted: Wanted,
    workspace: str,
    environment: Mapping[str, str],
    descriptors: Sequence[tuple[int, str | int]],
) -> Child:
    """Start a program; ``cwd`` is relative to the workspace, ``env`` added to ``environment``.

    ``descriptors`` are those of ``Children.spawn``. Raises AgentError for what is wrong.
    """
    directory = open_directory(os.path.join(workspace, wanted.cwd))
    variables = {**environment, **wanted.env}
    try:
        argv = resolved(wanted.argv)
        program = _find(argv[0], variables.get("PATH", os.defpath), directory)
        try:
            return children.spawn(program, argv, variables, directory, descriptors)
        except ValueError as error:
            raise invalid(f"argv, env: {error}") from None
        except OSError as error:
            refused = _refused(error, wanted.argv[0], program, directory)
            if refused is None:
                raise
            raise refused from None
    finally:
        os.close(directory)


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
