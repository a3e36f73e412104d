"""Python client and command line of CODITECT Server.

>>> from coditect import Client
>>> with Client("http://127.0.0.1:8080") as client:           # doctest: +SKIP
...     session = client.login("me@example.com", "secret")
...     print(client.exec(session.session_id, ["uname", "-a"]).stdout)
"""

from coditect.client import AsyncClient
from coditect.errors import (
    ApiError,
    ClientError,
    Conflict,
    ConnectionFailed,
    DiskQuotaExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    ServerBusy,
    ServerError,
    ShellRestarted,
    TerminalClosed,
    TooLarge,
    TooManyRequests,
    Unauthorized,
)
from coditect.models import (
    Container,
    Disk,
    ExecResult,
    FileVersion,
    Idle,
    LeftOut,
    Login,
    NotArchived,
    NotRestored,
    Process,
    Receipt,
    RunResult,
    Session,
    TerminalInfo,
    TerminalWindow,
    TreeEntry,
    Usage,
    Used,
    User,
)
from coditect.program import AsyncProgram, ProgramEnd, ProgramOutput
from coditect.sync import Client, Program, Terminal
from coditect.terminal import AsyncTerminal

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncProgram",
    "AsyncTerminal",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Container",
    "Disk",
    "DiskQuotaExceeded",
    "ExecResult",
    "FileVersion",
    "Forbidden",
    "Idle",
    "InvalidRequest",
    "LeftOut",
    "Login",
    "NotArchived",
    "NotFound",
    "NotRestored",
    "PreconditionFailed",
    "Process",
    "Program",
    "ProgramEnd",
    "ProgramOutput",
    "QuotaExceeded",
    "Receipt",
    "RunResult",
    "ServerBusy",
    "ServerError",
    "Session",
    "ShellRestarted",
    "Terminal",
    "TerminalClosed",
    "TerminalInfo",
    "TerminalWindow",
    "TooLarge",
    "TooManyRequests",
    "TreeEntry",
    "Unauthorized",
    "Usage",
    "Used",
    "User",
]
