"""What a user's programs find in their environment: variables, secrets, and preferences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from actors.core.records.base import Frozen, Record


class VariableRecord(Record):
    """``(tenant, "variables", user_id, name)``. Times are Unix seconds."""

    name: str
    value: str
    created_at: float
    updated_at: float

    @property
    def size(self) -> int:
        """The bytes that it counts for in its user's quota."""
        return size_of(self.name, self.value)


class SecretUse(StrEnum):
    """How a secret stands in a request's header (RFC 6750, RFC 7617, or as it is)."""

    BEARER = "bearer"
    BASIC = "basic"
    HEADER = "header"


class Binding(Frozen):
    """How the egress gateway adds a secret to requests to its host.

    ``username`` belongs to ``BASIC``, ``header`` names that of ``HEADER``. ``https``: the host is asked by
    HTTPS, and the gateway opens those connections; else by plain HTTP.
    """

    use: SecretUse = SecretUse.BEARER
    username: str = ""
    header: str = "Authorization"
    https: bool = False

    def place(self, host: str) -> tuple[str, int]:
        """Return name and port of a host as a secret has it: the usual port where it names none."""
        name, _, port = host.partition(":")
        return name, int(port) if port else (443 if self.https else 80)


class SecretRecord(Record):
    """``(tenant, "secrets", user_id, name)``: a value that is sealed with the server's key ``key_id``.

    ``sealed`` is hexadecimal, ``size`` what the value and its name count for. ``host``, with a port where it
    is not the usual one: no program finds it, and the egress gateway adds it to requests to that host, as
    ``binding`` says; without one, nowhere.
    """

    name: str
    host: str | None = None
    binding: Binding | None = None
    key_id: str
    sealed: str
    size: int
    created_at: float
    updated_at: float


class PreferencesRecord(Record):
    """``(tenant, "preferences", user_id)``; None: the server's default.

    ``dotfiles_since``: when the repository was chosen; workspaces that were made before do without.
    """

    dotfiles_repository: str | None = None
    dotfiles_since: float = 0.0
    shell: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """What programs of a session are started with from now on, as of one version of it.

    ``version`` grows with every change; 0: the user has set nothing. ``dotfiles``: a repository that is yet
    to be installed in the session's workspace.
    """

    version: int = 0
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    shell: str | None = None
    dotfiles: str | None = None


def size_of(name: str, value: str) -> int:
    """Return the bytes that a variable takes in the environment of a program, its ``=`` and NUL included."""
    return len(name) + len(value.encode()) + 2
