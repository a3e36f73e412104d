"""Answers of the client, as frozen dataclasses; fields the server adds later are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


class FromJson:
    """Makes a dataclass out of a JSON object, ignoring what it does not know."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Build from the server's JSON."""
        known = [each for each in fields(cls) if each.name in value]  # type: ignore[arg-type]
        return cls(
            **{each.name: _made(each.metadata.get("kind"), value[each.name]) for each in known}
        )


def _made(kind: type[FromJson] | None, value: Any) -> Any:
    if kind is None or value is None:
        return value
    return tuple(map(kind.from_json, value)) if isinstance(value, list) else kind.from_json(value)


def _part(kind: type[FromJson], default: Any = None) -> Any:
    """Return a field that is an object itself, or a list of them."""
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, slots=True)
class Login(FromJson):
    """A successful login: the session is opened and on its way or there already.

    ``ticket`` opens one socket within 30 s.
    """

    session_id: str
    workspace_url: str
    container_status: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: float
    ticket: str = field(default="", repr=False)
    token_type: str = "Bearer"  # noqa: S105 - a scheme, not a secret


@dataclass(frozen=True, slots=True)
class Port(FromJson):
    """A port of a session: what listens on it, if anything does, and with whom it is shared.

    ``url`` is its own origin; ``open_url`` leads somebody who is signed in in a browser to it.
    """

    port: int
    listening: bool
    visibility: str
    wake: bool
    label: str
    url: str
    open_url: str
    address: str | None = None
    pid: int | None = None
    program: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class PortLink(FromJson):
    """A link that lets in whoever has it, until ``expires_at`` (Unix seconds)."""

    url: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Idle(FromJson):
    """The reason for which a session is awake, or when it will sleep (``sleeps_at``, Unix seconds).

    Signals are ``input``, ``cpu``, ``output``, ``listeners``, ``clients``. A session never sleeps by
    itself when ``hibernate_after`` is 0, nor before ``keep_awake_until``.
    """

    awake: bool
    awake_because: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    sleeps_at: float | None = None
    keep_awake_until: float | None = None
    hibernate_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Used(FromJson):
    """Use of a resource; ``limit`` None: unlimited."""

    used: int
    limit: int | None = None


_NOTHING = Used(0)


@dataclass(frozen=True, slots=True)
class RefusedHost(FromJson):
    """A host that a session was refused: when at last (Unix time), by which rule, in words, how often."""

    at: float
    host: str
    port: int
    rule: str
    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class NetworkToday(FromJson):
    """What a session did outside on a day of UTC: bytes both ways, connections, refusals."""

    day: str
    sent: int = 0
    received: int = 0
    connections: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class NetworkLimits(FromJson):
    """Limits of a session outside; None: no limit."""

    connections: int
    bytes_per_second: int | None = None
    bytes_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Network(FromJson):
    """What a session may reach: ``none``, ``allow-list`` (the hosts in ``allow``) or ``internet``.

    ``chosen``: by its owner, else by default. ``limit``: the most that may be chosen. ``server_hosts`` are
    reached whatever the list is. ``refusals``: the newest first.
    """

    policy: str
    allow: list[str] = field(default_factory=list)
    chosen: bool = False
    limit: str = "internet"
    server_allow: list[str] = field(default_factory=list)
    server_hosts: list[str] = field(default_factory=list)
    limits: NetworkLimits | None = _part(NetworkLimits)
    today: NetworkToday | None = _part(NetworkToday)
    refusals: tuple[RefusedHost, ...] = _part(RefusedHost, ())


@dataclass(frozen=True, slots=True)
class Usage(FromJson):
    """Use of a user's quotas, over all sessions, and their limits.

    ``files`` are files, directories and links, ``file_bytes`` their contents, ``journal_bytes`` kept
    output of terminals, ``variables`` variables and secrets, ``variable_bytes`` their names and values.
    """

    file_bytes: Used = _part(Used, _NOTHING)
    files: Used = _part(Used, _NOTHING)
    journal_bytes: Used = _part(Used, _NOTHING)
    containers: Used = _part(Used, _NOTHING)
    sessions: Used = _part(Used, _NOTHING)
    variables: Used = _part(Used, _NOTHING)
    variable_bytes: Used = _part(Used, _NOTHING)


@dataclass(frozen=True, slots=True)
class LeftOut(FromJson):
    """A path that is not archived, or not put back, and why; ``encoded``: its bytes if they are no UTF-8."""

    path: str
    reason: str
    size: int = 0
    encoded: str | None = None


@dataclass(frozen=True, slots=True)
class NotArchived(FromJson):
    """Part of a workspace that is not archived, and in the container only, since the Unix time ``since``.

    ``paths`` would take ``size`` bytes more; ``resource``: the quota that is a reason, if one is.
    ``by_design`` are further ones that are excluded or no files. ``left_out`` names the first of all.
    """

    resource: str | None
    paths: int
    size: int
    since: float = 0.0
    by_design: int = 0
    left_out: tuple[LeftOut, ...] = _part(LeftOut, ())


@dataclass(frozen=True, slots=True)
class NotRestored(FromJson):
    """Part of a workspace that cannot be put back for now; with no ``paths`` it is being put back."""

    paths: int
    left_out: tuple[LeftOut, ...] = _part(LeftOut, ())


@dataclass(frozen=True, slots=True)
class Disk(FromJson):
    """Use of a workspace's disk, and its limits: bytes, and files of every kind."""

    bytes: Used = _part(Used, _NOTHING)
    files: Used = _part(Used, _NOTHING)


@dataclass(frozen=True, slots=True)
class Session(FromJson):
    """Details of a session. ``workspace_state`` is JSON; ``idle`` is there for one that runs.

    ``life``, in lists: ``active`` (its actor has something to decide), ``attached`` (somebody uses it),
    ``at_rest`` (nobody does), or ``asleep`` (it has no container).

    ``unarchived`` (None: everything is archived), ``unrestored`` (None: everything is there) and
    ``usage``, of its user, come with the details of one session.
    """

    session_id: str
    status: str
    container_status: str
    epoch: int
    name: str = "default"
    user_id: str | None = None
    actor: str | None = None
    container_id: str | None = None
    workspace_state: dict[str, Any] = field(default_factory=dict)
    save_version: int = 0
    restarts: int = 0
    failure: str | None = None
    created_at: str | float | None = None
    last_activity: str | float | None = None
    life: str | None = None
    idle: Idle | None = _part(Idle)
    unarchived: NotArchived | None = _part(NotArchived)
    unrestored: NotRestored | None = _part(NotRestored)
    usage: Usage | None = _part(Usage)
    disk: Disk | None = _part(Disk)


@dataclass(frozen=True, slots=True)
class ExecResult(FromJson):
    """The outcome of a command. ``exit_code`` is negative when a signal ended it, as in subprocess.

    ``truncated``: it printed more than ``stdout`` or ``stderr`` has; ``stdout_file`` and ``stderr_file`` are
    the files of the workspace that have all of it, of which few are kept.
    """

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    truncated: bool = False
    duration_seconds: float = 0.0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_file: str | None = None
    stderr_file: str | None = None


@dataclass(frozen=True, slots=True)
class NamedProcess(FromJson):
    """A program by name: ``state`` is ``running``, ``exited`` or, when its container went first, ``lost``.

    Offsets are bytes of output since it began, of which those from ``start_offset`` on are kept.
    ``exit_code`` is negative when a signal ended it, and None while it runs or when nobody knows it.
    """

    name: str
    command: str
    state: str
    exit_code: int | None = None
    tty: bool = False
    started_at: float = 0.0
    start_offset: int = 0
    end_offset: int = 0


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """Bytes of output; the first of them is number ``offset``."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RunResult:
    """Output of a command in a terminal, its line ends as one newline, and its exit status.

    ``truncated``: it printed more than the first 16 MiB that are here.
    """

    exit_code: int
    output: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Process(FromJson):
    """A process in a container; ``state`` is the letter of proc(5)."""

    pid: int
    ppid: int
    command: str
    cpu_seconds: float
    rss_bytes: int
    state: str


@dataclass(frozen=True, slots=True)
class Node(FromJson):
    """A machine of the server; ``status`` is ready, starting, draining, drained or lost."""

    node_id: str
    address: str
    is_head: bool
    status: str
    version: str
    warm_containers: int
    containers: int
    cpus: int
    memory_free: float
    labels: dict[str, str] = field(default_factory=dict)
    joined_at: float | None = None


@dataclass(frozen=True, slots=True)
class Container(FromJson):
    """A container; times are Unix seconds."""

    container_id: str
    status: str
    health: str = "unknown"
    session_id: str | None = None
    user_id: str | None = None
    runtime: str | None = None
    node_id: str | None = None
    workspace_url: str | None = None
    created_at: float | None = None
    ready_at: float | None = None
    assigned_at: float | None = None


@dataclass(frozen=True, slots=True)
class TreeEntry(FromJson):
    """One line of a directory: ``type`` is file, directory, link or other; ``size`` bytes.

    ``name`` is as ``os.fsdecode`` makes it, bytes that are no UTF-8 included: every call takes it so.
    """

    name: str
    type: str
    size: int
    mtime: float
    mode: int = 0
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt(FromJson):
    """The proof that a save is durable; what is not archived is not, for a ``reason``."""

    path: str
    size: int
    version: int
    durable: bool = True
    etag: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Match(FromJson):
    """Something that a search has found: a name with its ``type``, or a ``line`` of a file, its ``text``."""

    path: str
    type: str | None = None
    line: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class FileChange(FromJson):
    """Something that has changed. ``type``: ``file``, ``directory``, ``link``, ``other`` or ``gone``.

    ``lost``: changes below ``path`` may have been missed.
    """

    path: str
    type: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class NotMade(FromJson):
    """An entry of an archive that was not made, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unpacked(FromJson):
    """What became of an archive: ``made`` entries, durable as of ``version``; those that failed, by name.

    Of very many that failed the first are listed, and ``more_failed`` counts the others.
    """

    path: str
    version: int = 0
    made: int = 0
    bytes: int = 0
    failed: tuple[NotMade, ...] = _part(NotMade, ())
    more_failed: int = 0


@dataclass(frozen=True, slots=True)
class FileVersion(FromJson):
    """A path's state from a version on: ``type`` is file, directory, link or deleted."""

    version: int
    at: float
    type: str
    size: int
    mode: int = 0
    content: str | None = None


@dataclass(frozen=True, slots=True)
class TerminalWindow(FromJson):
    """A window that shows a terminal. ``sets``: the size follows it; ``own``: it is this client."""

    label: str
    cols: int
    rows: int
    sets: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class TerminalInfo(FromJson):
    """A terminal of a session. Offsets are bytes of output since the terminal began.

    ``sizing``: by which of several windows it is sized, the ``latest`` used, the ``smallest`` or ``largest``.
    """

    name: str
    cols: int = 80
    rows: int = 24
    sizing: str = "latest"
    start_offset: int = 0
    end_offset: int = 0
    cwd: str | None = None
    clients: int = 0
    exited: bool = False


@dataclass(frozen=True, slots=True)
class Backup(FromJson):
    """A backup of a server; times are Unix seconds, ``size`` bytes. ``damaged`` says why it is none."""

    backup_id: str
    created_at: float | None = None
    finished_at: float | None = None
    sessions: int = 0
    users: int = 0
    packs: int = 0
    size: int = 0
    copied_bytes: int = 0
    damaged: str | None = None


@dataclass(frozen=True, slots=True)
class Backups(FromJson):
    """The backups of a server, the newest first, and the one that is being made."""

    running: bool
    progress: str
    error: str | None
    backups: tuple[Backup, ...] = _part(Backup, ())


@dataclass(frozen=True, slots=True)
class User(FromJson):
    """A user account. ``quotas`` are limits of its own (0: unlimited); ``usage`` is not always there."""

    user_id: str
    email: str
    role: str = "user"
    disabled: bool = False
    created_at: str | float | None = None
    quotas: dict[str, int] = field(default_factory=dict)
    usage: Usage | None = _part(Usage)


@dataclass(frozen=True, slots=True)
class Variable(FromJson):
    """A variable that programs find in their environment. Times are Unix seconds."""

    name: str
    value: str
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Secret(FromJson):
    """A secret, without its value. ``host``: the host it is for; programs do not find it then.

    ``use``: ``bearer``, ``basic`` or ``header``, as it is added to requests to that host, by HTTPS if
    ``https``, else by plain HTTP; None: it is not. ``locked``: the server does not have its key (any more),
    and nobody gets it until it is set anew.
    """

    name: str
    host: str | None = None
    use: str | None = None
    username: str | None = None
    header: str | None = None
    https: bool = False
    locked: bool = False
    created_at: float = 0.0
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Preferences(FromJson):
    """What an account prefers for its workspaces; None: as the server has it."""

    dotfiles_repository: str | None = None
    shell: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class SshKey(FromJson):
    """A public key of an account. Times are Unix seconds."""

    key_id: str
    name: str
    public_key: str
    fingerprint: str
    created_at: float
    last_used_at: float | None = None


@dataclass(frozen=True, slots=True)
class SshServer(FromJson):
    """The server as SSH clients see it: no ``port`` while it starts; ``host_key`` as in ``known_hosts``."""

    host: str
    port: int | None
    host_key: str
    fingerprint: str
