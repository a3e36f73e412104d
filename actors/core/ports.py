"""Protocols of what the actors need from outside; the layers above implement them.

``Services`` is handed to each actor as a picklable function that makes it
(``cluster.wiring.services``), so that nothing here imports a layer above.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from actors.core.quotas import Quotas
from actors.core.records import (
    Activity,
    Claim,
    ContainerHandle,
    ContainerRecord,
    ContainerSpec,
    ContainerStatus,
    Health,
    Idleness,
    Quiet,
    SessionRecord,
    TerminalOutput,
    TerminalRecord,
    TerminalSizing,
)
from actors.core.settings import ActorSettings


class Clock(Protocol):
    """Time. ``now`` is the Unix time in seconds; ``monotonic`` never jumps."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that only goes forward."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class ContainerRuntime(Protocol):
    """Starts, watches and stops containers. All methods may be called from any process of the node."""

    name: str

    def turn(self, limit_seconds: float) -> AbstractAsyncContextManager[None]:
        """Hold a turn to launch: so many at once as the node can start in time.

        Raises DeadlineExceeded.
        """
        ...

    async def prepare(self, workspace_id: str) -> None:
        """See to what a workspace needs before a launch and what may take minutes: repairs, growth.

        For somebody who holds no turn. Raises DeadlineExceeded; LaunchFailed when there can be no launch.
        """
        ...

    async def launch(self, spec: ContainerSpec) -> ContainerHandle:
        """Start a container and return when CODI answers. For somebody who holds a turn.

        The container outlives the calling process. Raises LaunchFailed with nothing left
        behind but the workspace directory.
        """
        ...

    async def probe(self, handle: ContainerHandle) -> Health:
        """Say how it is: DEAD when the process is gone, UNHEALTHY when CODI does not answer."""
        ...

    async def wait_exit(self, handle: ContainerHandle) -> str:
        """Return the reason when the container's process has ended (at once if it already has).

        Works for containers that another process started. Cancellable, holds no thread.
        """
        ...

    async def stop(self, handle: ContainerHandle, grace_seconds: float) -> None:
        """Ask it to end, kill it after the grace time, remove what it held. Idempotent."""
        ...

    async def list(self) -> Sequence[ContainerHandle]:
        """Return every container of this server on this node that is running, known or not."""
        ...

    async def delete_workspace(self, workspace_id: str) -> None:
        """Remove a workspace directory whose session has ended. Idempotent."""
        ...


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
        """Say where a terminal's numbering goes on, and by which rule it is sized."""
        ...

    async def keep(self, ends: Sequence[tuple[int, int]]) -> None:
        """Say up to where the output of these terminals is kept."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """An actor, and for a new session a warm container, that are to be bound to a user's session.

    ``lapsed`` is the token of the dead owner's lease that ran out; with another one now the owner lives,
    and keeps the session. None: the process is known to have ended. ``quotas``: the limits of users who
    have no others; without it nothing is limited. ``now`` is Unix time.
    """

    user_id: str
    name: str
    new_session_id: str
    new_workspace_id: str
    actor_id: str
    node_id: str
    container_id: str | None
    now: float
    dead_actor_id: str | None = None
    lapsed: str | None = None
    quotas: Quotas | None = None


class SessionRecords(Protocol):
    """Sessions as they are stored."""

    async def session(self, session_id: str) -> SessionRecord | None:
        """Return a session's record."""
        ...

    async def session_of_user(self, user_id: str, name: str) -> SessionRecord | None:
        """Return the live (not ended) session of that name."""
        ...

    async def sessions(self, *, after: str | None = None, limit: int = 1000) -> list[SessionRecord]:
        """Return a page of all sessions that have not ended, ordered by id, after ``after``."""
        ...


class ContainerRecords(Protocol):
    """Containers as they are stored."""

    async def container(self, container_id: str) -> ContainerRecord | None:
        """Return a container's record."""
        ...

    async def containers(self, node_id: str | None = None) -> list[ContainerRecord]:
        """Return all container records that are not stopped, of one node or of all."""
        ...


class Ownership(Protocol):
    """Which actor owns a session: claims, leases, and giving it back."""

    async def bound_session(self, actor_id: str) -> SessionRecord | None:
        """Return the session that the store says this actor owns."""
        ...

    async def claim(self, request: ClaimRequest) -> Claim:
        """Bind an actor, and for a new session a warm container, to a user's session.

        One transaction: an existing session that an actor other than the request's ``dead_actor_id``
        owns is returned as it is (``won=False``); a passive one gets the owner and a raised epoch; a
        missing one is created, taking over the container and its workspace. Raises SlotGone when
        the container is no longer warm, TooManyRequests when the user would have more sessions than
        allowed, one place of which is kept for the default session, and ContainersExceeded likewise:
        the default session is then made without a container.
        """
        ...

    async def activate(
        self,
        session_id: str,
        *,
        actor_id: str,
        node_id: str,
        now: float,
        dead_actor_id: str | None,
        lapsed: str | None = None,
    ) -> SessionRecord:
        """Make the actor the owner and raise the epoch. Raises Fenced if another live actor owns it.

        ``dead_actor_id`` is the owner that the caller knows to be dead, or the actor itself after
        its restart. ``lapsed``: as in ``ClaimRequest``; Fenced if the lease was renewed meanwhile.
        """
        ...

    async def renew_lease(self, record: SessionRecord, number: int) -> None:
        """Renew the owner's lease. ``number`` is another one each time. Raises Fenced."""
        ...

    async def lease(self, session_id: str) -> str:
        """Return the token of a session's lease, which each renewal and each new epoch changes."""
        ...

    async def passivate(self, record: SessionRecord, *, lapsed: str | None = None) -> None:
        """Give ownership back; the record is saved without an owner. Raises Fenced.

        ``lapsed``: done for an owner that says nothing, whose lease has this token still.
        """
        ...


class SessionChanges(Protocol):
    """What the owner of a session writes."""

    async def save_session(self, record: SessionRecord, *, key: str | None = None) -> SessionRecord:
        """Write the record if its epoch still rules and its owner is unchanged. Raises Fenced.

        Under a ``key`` that was used before nothing is written, and the record is returned as it is
        stored: its revision shows that.
        """
        ...

    async def new_container_epoch(self, record: SessionRecord) -> SessionRecord:
        """Raise the epoch by one for a new container of the session. Raises Fenced."""
        ...

    async def end_session(self, record: SessionRecord, *, left_on: str | None = None) -> None:
        """Mark it ended, free its name and its owner. Idempotent. Raises Fenced.

        ``left_on`` is the node where its workspace has yet to be removed, which is noted with it.
        """
        ...


class ContainerChanges(Protocol):
    """What a node writes of its containers."""

    async def put_container(self, record: ContainerRecord, *, quotas: Quotas | None = None) -> None:
        """Write a container record and, when it has a user, its ``user_containers`` entry.

        With ``quotas``: raises ContainersExceeded when the user's other sessions have as many as allowed.
        """
        ...

    async def require_container(self, session: SessionRecord, quotas: Quotas) -> None:
        """Raise ContainersExceeded if the session may not have a container now."""
        ...

    async def set_container_status(
        self,
        container_id: str,
        status: ContainerStatus,
        *,
        expected: Sequence[ContainerStatus],
        health: Health | None = None,
        reason: str | None = None,
    ) -> bool:
        """Change the status if it is one of ``expected``; false if it was not. Cannot race a claim."""
        ...

    async def remove_container(self, container_id: str) -> None:
        """Forget a container that is gone. Idempotent."""
        ...


class LeftWorkspaces(Protocol):
    """Workspaces that ended sessions have left on a node."""

    async def left_workspaces(self, node_id: str, limit: int = 100) -> dict[str, float]:
        """Return workspaces that ended sessions left on a node, and the Unix time of each end."""
        ...

    async def forget_workspace(self, node_id: str, workspace_id: str) -> None:
        """Take note that a workspace which was left is removed. Idempotent."""
        ...


class IdleTimes(Protocol):
    """Why sessions are awake, and when they will sleep."""

    async def idleness(self, session_id: str) -> Idleness | None:
        """Return why a session is awake or when it will sleep; None when nothing is known of it."""
        ...

    async def tell_idleness(self, told: Idleness) -> Idleness | None:
        """Write what was seen of a session, with the veto that stands; None when the session is gone."""
        ...


class Ledger(
    SessionRecords,
    ContainerRecords,
    Ownership,
    SessionChanges,
    ContainerChanges,
    LeftWorkspaces,
    IdleTimes,
    Protocol,
):
    """The store as actors use it. Every method is one transaction, retried on conflict.

    Every write of a session checks its epoch and raises Fenced when a newer one rules.
    ``key`` arguments are idempotency keys: the same call again answers the same.
    """

    async def email_of(self, user_id: str) -> str | None:
        """Return the address of an account, None when there is no such account."""
        ...


class Journal(Protocol):
    """The journal of the terminals. Every method is one transaction, retried on conflict."""

    async def open_terminal(
        self, container_id: str, opened: TerminalOpened, now: float
    ) -> TerminalRecord:
        """Take a terminal's shell as the one that prints from now on, and return its record.

        Raises Fenced when the container is not, or not yet, its session's.
        """
        ...

    async def append(
        self, outputs: Sequence[TerminalOutput], now: float
    ) -> list[TerminalRecord | None]:
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


class Archive(Protocol):
    """The keeper of a node's workspaces, as a session uses it."""

    async def flush(self, session_id: str) -> None:
        """Return when all that is in the session's workspace is kept.

        Raises Unavailable, DeadlineExceeded, StoreFull.
        """
        ...

    async def whole(self, session_id: str) -> None:
        """Return when all that is kept of the session's workspace is in its container's directory.

        Waits for as long as that takes: the caller has a limit. Raises Unavailable.
        """
        ...


class JournalWatch(Protocol):
    """The node's journal, as those see it who start containers."""

    async def watch(self, handle: ContainerHandle) -> None:
        """Have the journal connect to a container now; it would find it by itself a little later.

        Ends within its limit and raises nothing of this server.
        """
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything an actor shell works with."""

    settings: ActorSettings
    ledger: Ledger
    journal: Journal
    journal_watch: JournalWatch
    archive: Archive
    runtime: ContainerRuntime
    codi: CodiClient
    clock: Clock
    new_id: Callable[[str], str]
    new_secret: Callable[[], str]


ServicesFactory = Callable[[], Awaitable[Services]]
