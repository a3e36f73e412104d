"""Calls of actors to CODI, the agent in a container, and its messages on terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.core.records.containers import ContainerHandle
from actors.core.records.environment import Environment
from actors.core.records.idleness import Activity, Quiet
from actors.core.records.ports import Listening
from actors.core.records.sessions import Route
from actors.core.records.terminals import TerminalSizing


class CodiClient(Protocol):
    """The control calls an actor makes to CODI. Errors: Unavailable, DeadlineExceeded, Fenced."""

    async def raise_epoch(
        self, route: Route, email: str | None = None, environment: Environment | None = None
    ) -> None:
        """Make CODI refuse every request of an older epoch; name its user's address and environment to it."""
        ...

    async def open_terminal(
        self, route: Route, name: str, *, cwd: str | None
    ) -> tuple[dict[str, Any], bool]:
        """Return a terminal, and true if it had to be started. Idempotent by name."""
        ...

    async def activity(self, route: Route) -> Activity:
        """Return what goes on in the container."""
        ...

    async def seal(self, route: Route, quiet: Quiet, seconds: float) -> None:
        """Have it take nothing new for some seconds, after which it opens by itself.

        Raises PreconditionFailed when it is not quiet (any more). A raise of the epoch opens it.
        """
        ...

    async def connect_journal(self, handle: ContainerHandle) -> JournalConnection:
        """Connect to all terminals of a container; this connection replaces a former one."""
        ...


@dataclass(frozen=True, slots=True)
class TerminalOpened:
    """A terminal has a shell. ``kept``: output that it knows to be kept, None before it is numbered.

    ``program``: it is a program by name, and this is to be kept of it (``cluster.codi.programs.background``).
    """

    terminal: int
    name: str
    cols: int
    rows: int
    cwd: str | None
    kept: int | None
    program: str | None = None


@dataclass(frozen=True, slots=True)
class TerminalPrinted:
    """Output from ``offset`` on, and how much input of each client had been accepted.

    ``states`` bring a terminal to where its output at these offsets begins (``codi.terminals.modes``).
    """

    terminal: int
    offset: int
    data: bytes
    inputs: Mapping[str, int]
    states: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TerminalMoved:
    """The shell is in another directory."""

    terminal: int
    cwd: str | None


@dataclass(frozen=True, slots=True)
class TerminalSized:
    """Somebody chose by which rule the terminal is sized."""

    terminal: int
    sizing: TerminalSizing


@dataclass(frozen=True, slots=True)
class TerminalExited:
    """The shell has ended and all of its output is kept."""

    terminal: int
    code: int | None


@dataclass(frozen=True, slots=True)
class PortsChanged:
    """Something began or ceased to listen; these are all that do."""

    ports: tuple[Listening, ...]


JournalMessage = (
    TerminalOpened | TerminalPrinted | TerminalMoved | TerminalSized | TerminalExited | PortsChanged
)


class JournalConnection(Protocol):
    """A container's terminals, as their journal hears them. ``terminal`` numbers are the connection's."""

    async def receive(self) -> JournalMessage:
        """Return the next message. Raises Unavailable at the connection's end."""
        ...

    async def number(
        self, terminal: int, end: int, inputs: Mapping[str, int], sizing: TerminalSizing
    ) -> None:
        """Send the number at which a terminal's output goes on, and the rule by which it is sized."""
        ...

    def keep(self, ends: Sequence[tuple[int, int]]) -> bool:
        """Send the offsets up to which the output of these terminals is kept; false: nobody listens."""
        ...

    async def close(self) -> None:
        """End it."""
        ...
