"""Values that the store keeps and actors pass on: frozen pydantic models with a schema version.

Times are seconds since the Unix epoch (float, UTC). Identifiers are opaque strings
such as ``s-…`` (session), ``c-…`` (container), ``u-…`` (user), ``a-…`` (actor).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import quote_from_bytes

from pydantic import BaseModel, ConfigDict, model_validator


class Frozen(BaseModel):
    """An immutable value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(BaseModel):
    """A stored value. Unknown fields of a newer schema are kept out, not refused: old code reads on."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    SCHEMA_VERSION: ClassVar[int] = 1
    schema_version: int = 1


class SessionPhase(StrEnum):
    """Phases of a session's life. ``actors.session.machine`` holds the table of moves between them."""

    STARTING = "starting"
    READY = "ready"
    RECOVERING = "recovering"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    ENDING = "ending"
    ENDED = "ended"
    FAILED = "failed"


class ContainerStatus(StrEnum):
    """Stages of a container's life. ``WARM`` is ready without a user; ``READY`` has one."""

    PENDING = "pending"
    STARTING = "starting"
    WARM = "warm"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    LOST = "lost"
    FAILED = "failed"


class Health(StrEnum):
    """The verdict of probes on a container."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DEAD = "dead"


class Role(StrEnum):
    """Roles of users. ``ADMIN`` includes everything ``USER`` may."""

    USER = "user"
    ADMIN = "admin"


class ContainerSpec(Frozen):
    """An order to launch a container. ``workspace_id`` names the lasting directory, its /workspace."""

    container_id: str
    tenant_id: str
    workspace_id: str
    secret: str
    epoch: int = 0
    image: str = "coditect/workspace:latest"
    cpu: float = 2.0
    memory_bytes: int = 4 << 30
    pids: int = 512
    egress: str = "none"
    env: dict[str, str] = {}


class ContainerHandle(Frozen):
    """Finds a running container again, from any process of its node, after any restart.

    ``address`` is ``host:port`` of CODI. ``data`` is the runtime's own (for the sandbox: pid,
    the process's start time in clock ticks, cgroup paths); nobody else reads it.
    """

    container_id: str
    tenant_id: str
    node_id: str
    workspace_id: str
    runtime: str
    address: str
    secret: str
    data: dict[str, Any] = {}


class ContainerRecord(Record):
    """``(tenant, "containers", container_id)``. ``session_id`` is empty while the container is warm."""

    container_id: str
    tenant_id: str
    node_id: str
    workspace_id: str
    runtime: str
    status: ContainerStatus
    health: Health = Health.UNKNOWN
    session_id: str | None = None
    user_id: str | None = None
    handle: ContainerHandle | None = None
    cloud_run_url: str | None = None
    created_at: float
    ready_at: float | None = None
    assigned_at: float | None = None
    reason: str | None = None


class SessionRecord(Record):
    """``(tenant, "sessions", session_id)``: the lasting thing.

    ``epoch`` is the fencing number: raised by each activation and each new container.
    ``owner_actor_id`` is empty while the session is passive. ``workspace_state`` is JSON that a
    client may patch (open files, layout). ``revision`` counts the owner's saves, so that the answer of
    an earlier save is not taken for that of a new one. ``workspace_node_id`` is the node whose directory
    the session's last container had: elsewhere a directory of the workspace is an older one.
    """

    session_id: str
    tenant_id: str
    user_id: str
    name: str
    phase: SessionPhase
    epoch: int
    workspace_id: str
    workspace_node_id: str | None = None
    owner_actor_id: str | None = None
    owner_node_id: str | None = None
    container_id: str | None = None
    container_url: str | None = None
    container_status: ContainerStatus = ContainerStatus.PENDING
    workspace_state: dict[str, Any] = {}
    save_version: int = 0
    revision: int = 0
    restarts: int = 0
    failure: str | None = None
    created_at: float
    updated_at: float
    last_activity: float


class UserRecord(Record):
    """A person or service account. ``password_hash`` is argon2id in PHC form.

    A login is of the ``generation`` that the account had when it began. Every change of who may do
    what with the account raises that number, which ends all logins but ``kept_login``, the one by
    which the change was made.
    """

    user_id: str
    tenant_id: str
    email: str
    role: Role = Role.USER
    password_hash: str
    created_at: float
    disabled: bool = False
    generation: int = 0
    kept_login: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_release(cls, data: Any) -> Any:
        """Take over what said that logins had ended before there were generations."""
        if isinstance(data, dict) and data.get("logins_since") and "generation" not in data:
            return data | {"generation": 1}
        return data

    def admits(self, login: str, generation: int) -> bool:
        """Return whether a login of that generation goes on."""
        return not self.disabled and (generation == self.generation or login == self.kept_login)


class RefreshTokenRecord(Record):
    """One refresh token, by hash. A family is all the successors of one login.

    ``successor`` is the id of the token that replaced it, ``replaced_at`` when: a second use
    within the overlap returns the same successor, one after it revokes the family.
    ``successor_secret`` is the successor's secret, encrypted with the presented token as key, so
    that only whoever holds the old token can be given the same successor again. ``generation`` is
    the account's when the login began.
    """

    token_id: str
    tenant_id: str
    family_id: str
    user_id: str
    secret_hash: str
    created_at: float
    expires_at: float
    replaced_at: float | None = None
    successor_id: str | None = None
    successor_secret: str | None = None
    revoked: bool = False
    generation: int = 0


class AuditEntry(Record):
    """One line of the audit trail (ADR 10.4); ``count``: how many like it the line stands for."""

    timestamp: float
    tenant_id: str
    user_id: str | None
    action: str
    resource: str
    ip_address: str | None = None
    user_agent: str | None = None
    result: str = "ok"
    count: int = 1

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_release(cls, data: Any) -> Any:
        if isinstance(data, dict) and "at" in data and "timestamp" not in data:
            return data | {"timestamp": data["at"]}
        return data


class Claim(Frozen):
    """The outcome of a claim: the session, whether this claim made it, and whether it now owns it.

    ``won`` is false when a live actor owned the session already; ``session.owner_actor_id`` is
    then that actor.
    """

    session: SessionRecord
    created: bool
    won: bool


class Opened(Frozen):
    """The answer of PoolActor.open_session: the actor that holds the session now.

    ``record`` is the session as that actor had it when it was bound; None if it was bound before.
    """

    session_id: str
    actor_id: str
    created: bool
    warm_actor: bool
    warm_container: bool
    record: SessionRecord | None = None


class Route(Frozen):
    """The way to a session's container: CODI's address, its secret, and the epoch to speak with.

    ``node_id`` is the container's node; None where nobody asks for it.
    """

    session_id: str
    container_id: str
    epoch: int
    address: str
    secret: str
    node_id: str | None = None


TerminalSizing = Literal["latest", "smallest", "largest"]
"""By which of several windows a terminal is sized; see ``terminal_sizing`` of CODI."""


class TerminalRecord(Record):
    """``(tenant, "terminals", session_id, name)``: a terminal as its journal knows it.

    Output bytes ``start`` to ``end`` (exclusive) are kept; the numbering goes on from ``end`` whatever
    runs the shell. ``container_id`` is the only container whose output is taken. ``tail`` is the offset
    of the last segment. ``inputs`` counts the accepted input bytes of each client, the latest last.
    ``exit_code`` is that of a shell that ended by itself; a ``deleted`` terminal keeps only its numbering.
    What is kept counts as that of ``user_id``; empty: not counted yet.
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
    deleted: bool = False
    created_at: float
    updated_at: float


class TerminalOutput(Frozen):
    """Output of a terminal from ``offset`` on, and how much input of each client had been accepted.

    ``tail`` is where the terminal's last segment is believed to begin: right, it saves a read.
    ``checkpoints`` are offsets within it, by which a terminal's state is known (``terminal_modes``).
    """

    session_id: str
    name: str
    container_id: str
    offset: int
    data: bytes
    inputs: dict[str, int] = {}
    tail: int = 0
    checkpoints: dict[int, bytes] = {}

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + len(self.data)


class SessionEvent(Frozen):
    """One thing that happened to a session; ``seq`` grows by one per event of one activation.

    ``activation`` is the epoch at which the numbering began: a reader that sees it change starts over.
    """

    activation: int
    seq: int
    at: float
    type: str
    data: dict[str, Any] = {}


class Activity(Frozen):
    """CODI's report on its container at ``at`` (its own clock). Ages are seconds; None: never.

    ``cpu_seconds`` is what all programs have used so far; ``busy`` how many calls are being answered;
    ``unread`` how many typed bytes no program has read.
    """

    at: float = 0.0
    input_age: float | None = None
    output_age: float | None = None
    cpu_seconds: float = 0.0
    busy: int = 0
    unread: int = 0
    listeners: int = 0


class Quiet(Frozen):
    """Conditions in the moment in which a container is closed for sleep.

    No input after ``since`` (CODI's clock), and since then at most ``cpu_share`` of a processor beyond
    the ``cpu_seconds`` that its programs had used.
    """

    since: float
    cpu_seconds: float
    cpu_share: float


class Idleness(Record):
    """``(tenant, "idleness", session_id)``: why a session is awake, or when it will sleep.

    ``signals`` are what was seen at last; ``awake_because`` are the same when they weigh enough.
    ``sleeps_at``, when it would sleep without a veto, is None while a session is awake. The owner's veto
    ends at ``keep_awake_until``. Times are Unix seconds.
    """

    session_id: str
    awake_because: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    sleeps_at: float | None = None
    keep_awake_until: float | None = None
    updated_at: float = 0.0

    @property
    def due_at(self) -> float | None:
        """When it will sleep if nothing more happens; None while it is awake."""
        if self.sleeps_at is None:
            return None
        return max(self.sleeps_at, self.keep_awake_until or 0.0)


class Reason(StrEnum):
    """Reasons for which a path of a workspace is not archived, or cannot be put back."""

    QUOTA = "quota"
    UNREADABLE = "unreadable"  # its permissions keep the server's part of the container out, too
    TOO_LARGE = "too_large"
    PATH_TOO_LONG = "path_too_long"
    CHANGING = "changing"  # whenever it was read it changed meanwhile
    EXCLUDED = "excluded"  # by the setting ``workspace_excludes``
    SPECIAL = "special"  # a socket, a pipe or a device
    CONTENT_MISSING = "content_missing"  # the chunk store lacks its bytes, or has others
    NOT_WRITTEN = "not_written"  # the container's disk did not take it


class LeftOut(Frozen):
    """A path, and why it is left out. ``encoded``: its bytes, percent-encoded, if they are no UTF-8."""

    path: str
    encoded: str | None = None
    reason: Reason
    size: int = 0

    @classmethod
    def of(cls, path: bytes, reason: Reason, size: int = 0) -> LeftOut:
        """Return what is shown of a path."""
        try:
            return cls(path=path.decode(), reason=reason, size=size)
        except UnicodeDecodeError:
            text, encoded = path.decode("utf-8", "replace"), quote_from_bytes(path, safe="/")
            return cls(path=text, encoded=encoded, reason=reason, size=size)


class Unarchived(Record):
    """``(tenant, "unarchived", session_id)``: what of a workspace is not archived.

    ``paths`` of it, which would take ``size`` bytes more, have changed since the Unix time ``since`` and
    are kept by nothing but the container's disk. ``resource`` is what its user has too much of, if that
    is a reason. ``by_design`` are others that nobody expects to be kept. ``left_out`` names the first ones.
    """

    session_id: str
    resource: str | None = None
    paths: int
    size: int
    since: float
    by_design: int = 0
    left_out: tuple[LeftOut, ...] = ()


class Unrestored(Record):
    """``(tenant, "unrestored", session_id)``: what of a workspace cannot be put back for now.

    ``paths`` are how many; ``left_out`` names the first ones.
    """

    session_id: str
    paths: int
    left_out: tuple[LeftOut, ...] = ()


class Kept(NamedTuple):
    """The outcome of keeping paths: the version that has them, but for those ``left_out``."""

    version: int
    left_out: dict[bytes, Reason]


class Receipt(Frozen):
    """The proof that a save is durable: given after commit and never before.

    Of what is not archived it is none, and says so: ``durable`` is false, and ``reason`` why. Then the
    file lies in the workspace alone, and ``version`` is the newest of the workspace.
    """

    path: str
    size: int
    version: int
    etag: str
    durable: bool = True
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class SaveAnswer:
    """A save's receipt but for its version, to be written with the version; ``key`` is its place there."""

    key: str
    token: str
    path: str
    size: int
    etag: str
    digest: str

    def receipt(self, version: int) -> Receipt:
        """Return the receipt."""
        return Receipt(path=self.path, size=self.size, version=version, etag=self.etag)
