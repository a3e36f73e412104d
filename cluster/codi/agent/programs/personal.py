"""What the session's user adds to the environment of programs that start from now on.

It is in the environment of CODI itself, which every program starts from: so it is in no file, and what runs
already keeps what it had. Nobody inside reads CODI's memory (``kernel.close_to_others``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from cluster.codi.agent.errors import AgentError, invalid

_MAX_VERSION = (1 << 53) - 1
_SHELLS = "/etc/shells"


class PersonalEnvironment:
    """The user's variables over the container's own; 0 is the version of none."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self.version = 0
        self._environment = environment
        self._own: dict[str, str | None] = {}

    def require(self, headers: Mapping[str, str]) -> None:
        """Raise AgentError ``environment_missing`` for a request that needs a newer version."""
        needed = headers.get("x-codi-environment", "0")
        if not (needed.isascii() and needed.isdigit() and len(needed) <= 16):
            raise invalid("x-codi-environment: a number")
        if int(needed) > self.version:
            detail = f"version {needed} of the environment is needed, {self.version} is here"
            raise AgentError(409, "environment_missing", detail)

    def take(self, document: Any) -> None:
        """Take over a version; an older one than is here changes nothing. Raises AgentError."""
        version, variables, shell = _checked(document)
        if version < self.version:
            return
        for name, value in self._own.items():
            if value is None:
                self._environment.pop(name, None)
            else:
                self._environment[name] = value
        self._own.clear()
        if shell is not None and _is_shell(shell):
            variables |= {"SHELL": shell}
        for name, value in variables.items():
            self._own[name] = self._environment.get(name)
            self._environment[name] = value
        self.version = version


def _checked(document: Any) -> tuple[int, dict[str, str], str | None]:
    if not isinstance(document, dict):
        raise invalid("environment: an object")
    version, variables = document.get("version"), document.get("variables")
    if type(version) is not int or not 0 <= version <= _MAX_VERSION:
        raise invalid("environment: a version")
    if not isinstance(variables, dict):
        raise invalid("environment: variables, an object of texts")
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name or not isinstance(value, str) or "\0" in value:
            raise invalid(f"environment: {name!r} cannot be set")
    shell = document.get("shell")
    if shell is not None and not isinstance(shell, str):
        raise invalid("environment: shell, a path")
    return version, dict(variables), shell


def _is_shell(path: str) -> bool:
    """Return whether the container has a shell, and allows people to have it (shells(5))."""
    try:
        with open(_SHELLS, encoding="utf-8", errors="replace") as file:
            lines = file.read(64 << 10).splitlines()
    except OSError:
        return False
    allowed = path.startswith("/") and path in (line.strip() for line in lines)
    return allowed and os.access(path, os.X_OK, effective_ids=True)
