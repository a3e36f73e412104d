"""Calls of actors to CODI, the agent in a container, and its messages on terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.core.records.containers import ContainerHandle
from actors.core.records.idleness import Activity, Quiet
from actors.core.records.terminals import TerminalSizing


class CodiClient(Protocol):
    """The control calls an actor makes to CODI. Errors: Unavailable, DeadlineExceeded, Fenced."""

    async def raise_epoch(
        self, handle: ContainerHandle, session_id: str, epoch: int, email: str | None = None
    ) -> None:
        """Make CODI refuse every request of an older epoch."""
        ...

    async def create_terminal(
        self,
        handle: ContainerHandle,
        epoch: int,
        name: str,
        *,
        cwd: str | None,
        session_id: str,
    ) -> None:
        """Start a shell. Idempotent by name."""
        ...

    async def activity(self, handle: ContainerHandle, session_id: str, epoch: int) -> Activity:
        """Return what goes on in the container."""
        ...

    async def seal(
        self, handle: ContainerHandle, session_id: str, epoch: int, quiet: Quiet, seconds: float
    ) -> None:
        """Have it take nothing new for some seconds, after which it opens by itself.

        Raises PreconditionFailed when it is not quiet (any more). A raise of the epoch opens it.
        """
        ...

    async def connect_journal(self, handle: ContainerHandle) -> JournalConnection:
        """Connect to all terminals of a container; this connection replaces a former one."""
        ...


@dataclass(frozen=True, slots=True)
class TerminalOpened:
    """A terminal has a shell. ``kept``: output that it knows to be kept, None before it is numbered."""

    terminal: int
    name: str
    cols: int
    rows: int
    cwd: str | None
    kept: int | None


@dataclass(frozen=True, slots=True)
class TerminalPrinted:
    """Output from ``offset`` on, with the counts of accepted input at that moment."""

    terminal: int
    offset: int
    data: bytes
    inputs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TerminalCheckpoint:
    """A state that brings a terminal to where its output from ``offset`` on begins; precedes that output."""

    terminal: int
    offset: int
    state: bytes


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


JournalMessage = (
    TerminalOpened
    | TerminalCheckpoint
    | TerminalPrinted
    | TerminalMoved
    | TerminalSized
    | TerminalExited
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

    async def keep(self, ends: Sequence[tuple[int, int]]) -> None:
        """Send the offsets up to which the output of these terminals is kept."""
        ...

    async def close(self) -> None:
        """End it."""
        ...
