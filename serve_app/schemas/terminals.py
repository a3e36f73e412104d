"""Bodies of terminals."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from actors.core.records.terminals import TerminalSizing
from serve_app.schemas.base import Asked
from serve_app.schemas.text import SystemText

TERMINAL_NAME: dict[str, Any] = {
    "pattern": r"^(?!\.{1,2}$)[ -.0-~]{1,64}$",
    "description": "printable characters, other than ASCII as well, no slash, and not only dots",
}
"""Names of terminals, for the document; CODI checks them."""


class NewTerminal(Asked):
    """A terminal to start."""

    name: Annotated[
        str, Field(min_length=1, max_length=64, examples=["main"], json_schema_extra=TERMINAL_NAME)
    ]
    cols: int | None = Field(None, ge=1, le=1000)
    rows: int | None = Field(None, ge=1, le=1000)
    cwd: SystemText | None = None


class Terminal(BaseModel):
    """A terminal. Offsets are bytes of output since it began."""

    model_config = ConfigDict(extra="ignore")

    name: str
    cols: int
    rows: int
    sizing: TerminalSizing = "latest"
    start_offset: int
    end_offset: int
    cwd: str | None
    clients: int
    exited: bool


class Terminals(BaseModel):
    """The terminals of a session."""

    terminals: list[Terminal]
