"""Installs a user's dotfiles in a new workspace, once, beside everything else; its log stays there."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from cluster.codi.agent.errors import invalid
from cluster.codi.agent.programs.children import Child, Children

LIMIT_SECONDS = 600.0
LOG = ".local/state/coditect/dotfiles.log"
_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dotfiles.sh")
_MAX_REPOSITORY = 1024


def begin(children: Children, home: str, repository: object) -> None:
    """Begin to install a repository, unless a log says that it was begun before. Raises AgentError.

    Whatever fails is in the log, or where there can be no log, in the container's.
    """
    if not isinstance(repository, str) or not 0 < len(repository) <= _MAX_REPOSITORY:
        raise invalid("dotfiles: the address of a repository")
    if repository.startswith("-") or "\0" in repository:
        raise invalid("dotfiles: the address of a repository")
    log = os.path.join(home, LOG)
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        writer = os.open(
            log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
    except FileExistsError:
        return
    except OSError as error:
        print("codi: no dotfiles:", error, file=sys.stderr)  # noqa: T201
        return
    try:
        child = _start(children, home, repository, writer)
    except OSError as error:
        os.write(writer, f"the installation did not start: {error.strerror}\n".encode())
    else:
        timer = asyncio.get_running_loop().call_later(LIMIT_SECONDS, _stop, child, log)
        child.exited.add_done_callback(lambda _exited: timer.cancel())
    finally:
        os.close(writer)


def _start(children: Children, home: str, repository: str, writer: int) -> Child:
    directory = os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        environment = {**os.environ, "TERM": "dumb", "GIT_TERMINAL_PROMPT": "0"}
        descriptors = ((0, nothing), (1, writer), (2, writer))
        arguments = ["sh", _SCRIPT, repository]
        return children.spawn("/bin/sh", arguments, environment, directory, descriptors)
    finally:
        os.close(nothing)
        os.close(directory)


def _stop(child: Child, log: str) -> None:
    child.signal_group(signal.SIGKILL)
    try:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"ended after {LIMIT_SECONDS:g} s: it took too long\n")
    except OSError as error:
        print("codi: dotfiles:", error, file=sys.stderr)  # noqa: T201
