"""Terminals as their journal keeps them."""

from __future__ import annotations

from typing import Literal

from actors.core.records.base import Record

TerminalSizing = Literal["latest", "smallest", "largest"]
"""By which of several windows a terminal is sized; see ``codi.terminals.sizing``."""


class TerminalRecord(Record):
    """``(tenant, "terminals", session_id, name)``: a terminal as its journal knows it.

    Output bytes ``start`` to ``end`` (exclusive) are kept; the numbering goes on from ``end`` whatever
    runs the shell. ``container_id`` is the only container whose output is taken. ``tail`` is the offset
    of the last segment. ``inputs`` counts the accepted input bytes of each client, the latest last.
    ``exit_code`` is that of a shell that ended by itself; a ``deleted`` terminal keeps only its numbering.
    What is kept counts as that of ``user_id``; empty: not counted yet. ``program``: it is no terminal but a
    program by name, and this was said of it when it began.
    """

    session_id: str
    name: str
    container_id: str
    user_id: str = ""
    start: int = 0
    end: int = 0
    tail: int = 0
    cols: int = 80
    rows: int = 24
    sizing: TerminalSizing = "latest"
    cwd: str | None = None
    inputs: dict[str, int] = {}
    exit_code: int | None = None
    program: str | None = None
    deleted: bool = False
    created_at: float
    updated_at: float
