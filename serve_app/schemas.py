"""Bodies of requests and answers, as OpenAPI describes them. Times are seconds since the Unix epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from actors.core.errors.requests import InvalidArgument
from actors.core.names import session_actor
from actors.core.quotas import Resource, Usage
from actors.core.records.accounts import Role, UserRecord
from actors.core.records.archive import LeftOut, Unarchived, Unrestored
from actors.core.records.containers import ContainerRecord
from actors.core.records.idleness import Idleness
from actors.core.records.sessions import SessionRecord
from actors.core.records.terminals import TerminalSizing
from cluster.emails import prepare

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# What anybody can write; of other scripts (RFC 6531) more is taken than a pattern can say.
_ASCII_EMAIL = rf"^[!-?A-~]{{1,64}}@{_LABEL}(\.{_LABEL})?$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$"


def _prepared(email: str) -> str:
    try:
        return prepare(email).shown
    except InvalidArgument as error:
        raise ValueError(error.reason) from None


Email = Annotated[
    str,
    Field(
        max_length=254, examples=["ada@example.com"], json_schema_extra={"pattern": _ASCII_EMAIL}
    ),
    AfterValidator(_prepared),
]
MIN_PASSWORD = 4  # ADR 9.2 signs in with one of four
MAX_PASSWORD = 1024
Password = Annotated[
    str, Field(min_length=1, max_length=MAX_PASSWORD, examples=["correct horse battery staple"])
]
NewPassword = Annotated[
    str,
    Field(
        min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, json_schema_extra={"pattern": "^[ -~]*$"}
    ),
]
SessionName = Annotated[str, Field(pattern=_NAME, examples=["default"])]


def _path(text: str) -> str:
    """Check a path. Bytes that are UTF-8 after all become their characters: a name is one text."""
    raw = _bytes_of(text).encode("utf-8", "surrogateescape")
    if not 0 < len(raw) <= MAX_PATH:
        raise ValueError(f"a path has 1 to {MAX_PATH} bytes")
    return raw.decode("utf-8", "surrogateescape")


def _bytes_of(text: str) -> str:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate stands for no byte, except U+DC80 to U+DCFF") from None
    return text


MAX_PATH = 16 << 10
WorkspacePath = Annotated[
    str,
    AfterValidator(_path),
    Field(
        examples=["src/main.py"],
        description="U+DC80 to U+DCFF, escaped, are bytes that are no UTF-8",
        json_schema_extra={"minLength": 1, "maxLength": MAX_PATH},
    ),
]
"""A path in the workspace, to the byte (PEP 383): pydantic's own limits would refuse lone surrogates."""


Limit = Annotated[int | None, Field(ge=0, lt=1 << 60)]


class Asked(BaseModel):
    """A request's body: what it does not know is an error, so that a misspelt field is noticed."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """A problem document (RFC 9457). ``code`` is stable; further members depend on it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "code": "not_found",
                "detail": "no session 's-abc'",
                "instance": "/api/v1/sessions/s-abc",
            }
        },
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    field: str | None = None
    retry_after: int | None = Field(None, description="seconds after which to try again")
    request_id: str | None = None


class Credentials(Asked):
    """An address and a password to sign in with."""

    email: Annotated[str, Field(min_length=1, max_length=254, examples=["ada@example.com"])]
    password: Password


class PasswordChange(Asked):
    """A new password for the account of whoever asks."""

    current_password: Password
    new_password: NewPassword


class Providers(BaseModel):
    """Names of identity providers that people may sign in with, and whether login cookies were sent."""

    providers: list[str]
    signed_in: bool


class Presented(Asked):
    """A refresh token; browsers leave it out, since their cookie has it."""

    refresh_token: str | None = Field(None, max_length=256)


class Tokens(BaseModel):
    """A pair of tokens. ``expires_in`` is the life of the access token in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a scheme, not a secret
    expires_in: float


class LoggedIn(Tokens):
    """A successful login; the user's session is there or on its way (``container_status``)."""

    session_id: str
    workspace_url: str
    container_status: str


class Ticket(BaseModel):
    """A ticket for one socket: ``?ticket=…``, once and soon."""

    ticket: str
    expires_in: float


class Used(BaseModel):
    """Use of a resource; ``limit`` null: unlimited."""

    used: int
    limit: int | None


class DiskOf(BaseModel):
    """Use of a workspace's disk, and its limits: bytes, and files of every kind."""

    bytes: Used
    files: Used

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> DiskOf | None:
        """Return CODI's answer; None where the disk is the machine's, without a limit."""
        if told.get("limit_bytes") is None:
            return None
        return cls(
            bytes=Used(used=told["used_bytes"], limit=told["limit_bytes"]),
            files=Used(used=told["used_files"], limit=told["limit_files"]),
        )


class UsageOf(BaseModel):
    """Use of a user's quotas, over all sessions, and their limits.

    ``files`` are files, directories and links that are archived, ``file_bytes`` their contents;
    ``journal_bytes`` is kept output of terminals. The oldest output goes when it is too much; of files
    what is too much is not archived.
    """

    file_bytes: Used
    files: Used
    journal_bytes: Used
    containers: Used
    sessions: Used

    @classmethod
    def of(cls, usage: Mapping[Resource, Usage]) -> UsageOf:
        """Return what is known."""
        return cls(
            **{each.value: Used(used=used, limit=limit) for each, (used, limit) in usage.items()}
        )


class QuotaChange(Asked):
    """Limits of one user. 0: unlimited; null: as the server's settings say."""

    file_bytes: Limit = None
    files: Limit = None
    journal_bytes: Limit = None
    containers: Limit = None
    sessions: Limit = None

    def changes(self) -> dict[Resource, int | None]:
        """Return what was sent."""
        return {Resource(name): getattr(self, name) for name in self.model_fields_set}


class User(BaseModel):
    """An account. ``quotas``: limits of its own; ``usage`` is there where an answer says so."""

    user_id: str
    email: str
    role: Role
    disabled: bool
    created_at: float
    quotas: dict[str, int] = {}
    usage: UsageOf | None = None

    @classmethod
    def of(
        cls,
        record: UserRecord,
        quotas: Mapping[str, int] | None = None,
        usage: Mapping[Resource, Usage] | None = None,
    ) -> User:
        """Return what may be shown of an account."""
        return cls(
            quotas=dict(quotas or {}),
            usage=None if usage is None else UsageOf.of(usage),
            user_id=record.user_id,
            email=record.email,
            role=record.role,
            disabled=record.disabled,
            created_at=record.created_at,
        )


class Users(BaseModel):
    """A page of accounts; ask again with ``after`` = ``next``."""

    users: list[User]
    next: str | None = None


class NewUser(Asked):
    """An account to make."""

    email: Email
    password: NewPassword
    role: Role = Role.USER


class UserChange(Asked):
    """A change of an account; what is left out stays."""

    password: NewPassword | None = None
    role: Role | None = None
    disabled: bool | None = None
    quotas: QuotaChange | None = None


class OpenSession(Asked):
    """A session to open; one of that name is made if there is none."""

    name: SessionName = "default"


class SessionChange(Asked):
    """A merge patch (RFC 7396) for the workspace state."""

    workspace_state: dict[str, Any]


class Idle(BaseModel):
    """The reason for which a session is awake, or the time when it will sleep.

    ``awake_because``: what was seen at last and is enough to keep it awake, of ``input``, ``cpu``,
    ``output``, ``listeners``, ``clients``; ``signals``: what was seen, enough or not. ``sleeps_at``: when
    it hibernates if nothing more happens, null while it is awake. ``keep_awake_until``: the owner's
    veto. ``hibernate_after``: seconds without a sign of life; 0: never.
    """

    awake: bool
    awake_because: list[str]
    signals: list[str]
    sleeps_at: float | None
    keep_awake_until: float | None
    hibernate_after: float

    @classmethod
    def of(cls, known: Idleness | None, hibernate_after: float, now: float) -> Idle:
        """Return what is known; a session that nobody has looked at yet counts as awake."""
        known = known or Idleness(session_id="")
        veto = known.keep_awake_until
        return cls(
            awake=known.due_at is None,
            awake_because=list(known.awake_because),
            signals=list(known.signals),
            sleeps_at=known.due_at,
            keep_awake_until=veto if veto is not None and veto > now else None,
            hibernate_after=hibernate_after,
        )


class KeepAwake(Asked):
    """For how many seconds the session must not hibernate by itself; 0 takes that back."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class NotArchived(BaseModel):
    """Part of a workspace that is not archived: it is in the container only.

    ``paths`` would take ``size`` bytes more; ``since``: Unix time. ``resource``: what its user has too much
    of, if that is a reason; it is archived by itself once there is room: files are deleted, or the quota is
    raised. ``by_design`` are further paths that nobody expects to be kept: excluded ones, and sockets and
    the like. ``left_out`` names the first of all of them, with the reason of each.
    """

    resource: str | None
    paths: int
    size: int
    since: float
    by_design: int
    left_out: list[LeftOut]

    @classmethod
    def of(cls, told: Unarchived | None) -> NotArchived | None:
        """Return what is known; None when everything is archived."""
        if told is None:
            return None
        return cls(**told.model_dump(exclude={"session_id", "schema_version"}))


class NotRestored(BaseModel):
    """Part of a workspace that cannot be put back into its container: ``paths``, and the first of them.

    With none it is still being put back. It is tried again, so it heals with what was missing.
    """

    paths: int
    left_out: list[LeftOut]

    @classmethod
    def of(cls, told: Unrestored | None) -> NotRestored | None:
        """Return what is known; None when everything is there."""
        if told is None:
            return None
        return cls(paths=told.paths, left_out=list(told.left_out))


class Session(BaseModel):
    """A session. ``status`` is its phase.

    ``idle`` and ``disk`` are there for one session that runs, ``usage`` (of its user),
    ``unarchived`` and ``unrestored`` for one session; not in lists. ``actor`` is the name in Ray's dashboard
    of the actor that holds it; null while it rests.
    """

    session_id: str
    user_id: str
    actor: str | None
    name: str
    status: str
    container_status: str
    container_id: str | None
    epoch: int
    workspace_url: str
    workspace_state: dict[str, Any]
    save_version: int
    restarts: int
    failure: str | None
    created_at: float
    updated_at: float
    last_activity: float
    idle: Idle | None = None
    unarchived: NotArchived | None = None
    unrestored: NotRestored | None = None
    usage: UsageOf | None = None
    disk: DiskOf | None = None

    @classmethod
    def of(cls, record: SessionRecord, base_url: str, **told: Any) -> Session:
        """Return what its owner sees of a session; ``told`` are fields that the record does not have."""
        return cls(
            session_id=record.session_id,
            user_id=record.user_id,
            actor=session_actor(record.owner_actor_id) if record.owner_actor_id else None,
            name=record.name,
            status=record.phase.value,
            container_status=record.container_status.value,
            container_id=record.container_id,
            epoch=record.epoch,
            workspace_url=workspace_url(base_url, record.session_id),
            workspace_state=record.workspace_state,
            save_version=record.save_version,
            restarts=record.restarts,
            failure=record.failure,
            created_at=record.created_at,
            updated_at=record.updated_at,
            last_activity=record.last_activity,
            **told,
        )


class Sessions(BaseModel):
    """The live sessions."""

    sessions: list[Session]
    next: str | None = None


class LaunchContainer(Asked):
    """A container comes with a session of its own; without a name one is made up."""

    name: SessionName | None = None


class Container(BaseModel):
    """A container."""

    container_id: str
    status: str
    health: str
    session_id: str | None
    user_id: str | None
    runtime: str
    node_id: str
    cloud_run_url: str | None
    created_at: float
    ready_at: float | None
    assigned_at: float | None

    @classmethod
    def of(cls, record: ContainerRecord) -> Container:
        """Return what may be shown of a container: never its secret."""
        return cls(
            container_id=record.container_id,
            status=record.status.value,
            health=record.health.value,
            session_id=record.session_id,
            user_id=record.user_id,
            runtime=record.runtime,
            node_id=record.node_id,
            cloud_run_url=record.cloud_run_url,
            created_at=record.created_at,
            ready_at=record.ready_at,
            assigned_at=record.assigned_at,
        )


class Containers(BaseModel):
    """Containers."""

    containers: list[Container]


class Launched(BaseModel):
    """A launched container, with the session that it serves."""

    container_id: str | None
    status: str
    session_id: str
    workspace_url: str


def _of_system(text: str) -> str:
    """Check what is given to a program: the system's strings have no NUL, and any other byte."""
    if "\0" in text:
        raise ValueError("it has a NUL")
    _bytes_of(text)
    return text


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError("the name of a variable is not empty and has no =")
    return _of_system(name)


SystemText = Annotated[
    str, AfterValidator(_of_system), Field(json_schema_extra={"pattern": "^[^\\u0000]*$"})
]
"""A string that a program is given; U+DC80 to U+DCFF are bytes that are no UTF-8 (PEP 383)."""


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
    env: dict[Annotated[str, AfterValidator(_variable)], SystemText] | None = Field(
        None, json_schema_extra={"propertyNames": {"pattern": "^[^=\\u0000]+$"}}
    )
    stdin: Annotated[str, AfterValidator(_bytes_of)] | None = None
    timeout_seconds: float | None = Field(None, gt=0, le=3600)


class CommandResult(BaseModel):
    """The outcome of a program. ``exit_code`` is negative when a signal ended it."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    truncated: bool
    duration_seconds: float


class Process(BaseModel):
    """A process in the container."""

    pid: int
    ppid: int
    command: str
    cpu_seconds: float
    rss_bytes: int
    state: str


class Processes(BaseModel):
    """The processes of a container."""

    processes: list[Process]


class Entry(BaseModel):
    """A line of a directory. Bytes of a name that are no UTF-8 are U+DC80 to U+DCFF, escaped (PEP 383).

    ``encoded``: such a name's bytes, percent-encoded, as they stand in a URL.
    """

    name: str
    type: Literal["file", "directory", "link", "other"]
    size: int
    mtime: float
    mode: int
    target: str | None = None
    encoded: str | None = None


class Tree(BaseModel):
    """A page of a directory, in the order of the names' bytes; ask again with ``after`` = ``next``.

    ``truncated``: more entries follow.
    """

    path: str
    entries: list[Entry]
    truncated: bool
    next: str | None = None


class FileVersion(BaseModel):
    """A path's state from a version on. ``content`` is the same for the same bytes."""

    version: int
    at: float
    type: Literal["file", "directory", "link", "deleted"]
    size: int
    mode: int
    content: str | None = None


class History(BaseModel):
    """The kept versions of a path, the newest first."""

    versions: list[FileVersion]


class Restore(Asked):
    """A file to be put back as it was at a version; ``target``: under another path."""

    path: WorkspacePath
    version: Annotated[int, Field(ge=1)]
    target: WorkspacePath | None = None


class Move(Asked):
    """A file or directory to rename."""

    source: WorkspacePath
    target: WorkspacePath
    overwrite: bool = False


class NewDirectory(Asked):
    """A directory to make, with its parents."""

    path: WorkspacePath


TERMINAL_NAME: dict[str, Any] = {
    "pattern": r"^(?!\.{1,2}$)[ -.0-~]{1,64}$",
    "description": "printable characters, other than ASCII as well, no slash, and not only dots",
}
"""What a terminal may be called, for the document; CODI checks it."""


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


class ComponentHealth(BaseModel):
    """The health of one component."""

    status: Literal["ok", "degraded", "down"]
    vital: bool
    latency_ms: float
    detail: str | None = None


class Alive(BaseModel):
    """A replica that answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Readiness to serve people; ``down`` names the vital components that are not there."""

    status: Literal["ok", "down"]
    down: list[str] = []


class ServerHealth(BaseModel):
    """The health of the server: ``down`` when a vital component is, ``degraded`` when another one is."""

    status: Literal["ok", "degraded", "down"]
    components: dict[str, ComponentHealth]


class BackupInfo(BaseModel):
    """A backup of the whole server. ``size`` is all that it needs, ``copied_bytes`` what it added."""

    backup_id: str
    created_at: float | None = None
    finished_at: float | None = None
    sessions: int = 0
    users: int = 0
    packs: int = 0
    size: int = 0
    copied_bytes: int = 0
    damaged: str | None = None


class Backups(BaseModel):
    """The backups, the newest first; ``error`` is why the last one that was begun is none."""

    running: bool
    progress: str
    error: str | None
    backups: list[BackupInfo]


class AuditLine(BaseModel):
    """A line of the audit trail. ``count``: how many like it the line stands for."""

    id: str
    timestamp: float
    user_id: str | None
    action: str
    resource: str
    ip_address: str | None
    user_agent: str | None
    result: str
    count: int


class Audit(BaseModel):
    """Lines of the audit trail, newest first. ``next``: the id to go on from, if there is more."""

    entries: list[AuditLine]
    next: str | None


def workspace_url(base_url: str, session_id: str) -> str:
    """Return the address of a session's page."""
    return f"{base_url}/workspaces/{session_id}"
