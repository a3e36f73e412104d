"""Bodies of programs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serve_app.schemas.base import Asked
from serve_app.schemas.terminals import TERMINAL_NAME
from serve_app.schemas.text import AnyText, SystemText, VariableName


class Command(Asked):
    """A program to run to its end. It is killed after ``timeout_seconds``.

    ``stdin`` is all that it may read, up to the size of a request's body; more goes through a file. What it
    leaves running in the background goes on. U+DC80 to U+DCFF (escaped, as JSON allows)
    stand for the bytes 0x80 to 0xFF that are no UTF-8.
    """

    argv: Annotated[
        list[SystemText],
        Field(
            min_length=1,
            max_length=1024,
            examples=[["ls", "-l"]],
            json_schema_extra={"prefixItems": [{"type": "string", "pattern": "^[^\\u0000]+$"}]},
        ),
    ]
    cwd: SystemText | None = Field(None, description="relative to the workspace")
    env: dict[VariableName, SystemText] | None = Field(
        None, json_schema_extra={"propertyNames": {"pattern": "^[^=\\u0000]+$"}}
    )
    stdin: AnyText | None = None
    timeout_seconds: float | None = Field(None, gt=0, le=3600)


class CommandResult(BaseModel):
    """The outcome of a program. ``exit_code`` is negative when a signal ended it.

    ``stdout`` and ``stderr`` are what it printed at first, of ``stdout_bytes`` and ``stderr_bytes``.
    ``truncated``: one of them is not all; all of it, up to 256 MiB, is in the file of the workspace that
    ``stdout_file`` or ``stderr_file`` names. The newest 16 of these are kept, and none is archived.
    """

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    truncated: bool
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_file: str | None = None
    stderr_file: str | None = None
    duration_seconds: float


class TtySize(Asked):
    """The size of a terminal, in characters."""

    cols: int = Field(80, ge=1, le=1000)
    rows: int = Field(24, ge=1, le=1000)


class NewProcess(Asked):
    """A program to start under a name, which outlives this call. The same request again starts nothing."""

    name: Annotated[
        str, Field(min_length=1, max_length=64, examples=["web"], json_schema_extra=TERMINAL_NAME)
    ]
    argv: Annotated[
        list[SystemText],
        Field(
            min_length=1,
            max_length=1024,
            examples=[["sleep", "1"]],
            json_schema_extra={"prefixItems": [{"type": "string", "pattern": "^[^\\u0000]+$"}]},
        ),
    ]
    cwd: SystemText | None = Field(None, description="relative to the workspace")
    env: dict[VariableName, SystemText] | None = Field(
        None, json_schema_extra={"propertyNames": {"pattern": "^[^=\\u0000]+$"}}
    )
    tty: TtySize | None = Field(None, description="null: it has no terminal")


class NamedProcess(BaseModel):
    """A program by name. ``lost``: its container died, or was stopped, before its end.

    Its output, both streams as written, is kept as a terminal's is: bytes ``start_offset`` to ``end_offset``.
    ``exit_code`` is negative when a signal ended it, and null while it runs or when nobody knows it.
    """

    name: str
    command: str
    state: Literal["running", "exited", "lost"]
    exit_code: int | None
    tty: bool
    started_at: float
    start_offset: int
    end_offset: int


class ProcessSignal(Asked):
    """A signal for a program's process group in the foreground."""

    signal: Annotated[
        str,
        Field(max_length=16, examples=["TERM"], json_schema_extra={"pattern": "^(SIG)?[A-Z0-9]+$"}),
    ]


class Process(BaseModel):
    """A process in the container."""

    pid: int
    ppid: int
    command: str
    cpu_seconds: float
    rss_bytes: int
    state: str


class Processes(BaseModel):
    """The processes of a container, or a page of the programs by name; ``next`` is what to go on behind."""

    processes: list[Process]
    named: list[NamedProcess] = []
    next: str | None = None
