"""The journal of the terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.core.ports.codi import TerminalOpened, TerminalPrinted
from actors.core.records.terminals import TerminalRecord, TerminalSizing

Output = tuple[TerminalRecord, TerminalPrinted]
"""What a terminal has printed, with its record as it was known then."""


class Journal(Protocol):
    """The journal of the terminals. Every method is one transaction, retried on conflict."""

    async def open_terminal(
        self, container_id: str, opened: TerminalOpened, now: float
    ) -> TerminalRecord:
        """Take a terminal's shell as the one that prints from now on, and return its record.

        Raises Fenced when the container is not, or not yet, its session's.
        """
        ...

    async def append(self, outputs: Sequence[Output], now: float) -> list[TerminalRecord | None]:
        """Keep output, all or nothing; None for each that another container's shell has replaced.

        None also for a deleted terminal. Idempotent: what is kept already is left out.
        """
        ...

    async def note(
        self,
        session_id: str,
        name: str,
        container_id: str,
        *,
        now: float,
        cwd: str | None = None,
        exit_code: int | None = None,
        sizing: TerminalSizing | None = None,
    ) -> None:
        """Note what is given, unless another container's shell has replaced this one."""
        ...

    async def terminals(self, session_id: str) -> list[TerminalRecord]:
        """Return the session's terminals by name, without the deleted ones."""
        ...

    async def programs(self, session_id: str) -> list[TerminalRecord]:
        """Return the session's programs by name, without the deleted ones."""
        ...

    async def terminal(self, session_id: str, name: str) -> TerminalRecord | None:
        """Return a terminal."""
        ...

    async def output(
        self, session_id: str, name: str, offset: int, limit: int
    ) -> list[tuple[int, bytes]]:
        """Return kept output from ``offset`` on, in pieces with their offsets, about ``limit`` bytes."""
        ...

    async def state(self, session_id: str, name: str, offset: int) -> bytes:
        """Return what brings a terminal to where its output from ``offset`` begins; empty: not known."""
        ...

    async def delete_terminal(self, session_id: str, name: str, now: float) -> None:
        """Forget what is kept of a terminal, but for its numbering. Idempotent."""
        ...

    async def trim(self) -> int:
        """Forget the oldest output of users who have more than they may; return how many bytes."""
        ...
