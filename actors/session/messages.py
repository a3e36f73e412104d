"""Events that a session's machine takes, and commands that it gives: plain frozen data.

``work`` numbers the one piece of asynchronous work that a machine has under way. Every command with
a ``work`` number is answered by exactly one event with the same number, whatever happens to it,
unless the machine said ``Abandon`` first; an answer to an older number is late, and the machine
knows it by the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from actors.core.errors.limits import ContainersExceeded
from actors.core.records.containers import ContainerHandle
from actors.core.records.sessions import SessionPhase


class ReleaseReason(StrEnum):
    """Reasons for which an actor lets go of a session."""

    PASSIVATED = "passivated"
    ENDED = "ended"
    FENCED = "fenced"


class DiscardReason(StrEnum):
    """Reasons for which a container is stopped that is not, or no longer, the session's."""

    LOST = "lost"
    UNREACHABLE = "unreachable"
    LATE = "late"


class FailureReason(StrEnum):
    """Reasons for which a session is FAILED; its record's ``failure`` begins with this word."""

    LAUNCH_FAILED = "launch_failed"
    CRASH_LOOP = "crash_loop"
    QUOTA_EXCEEDED = "quota_exceeded"


# ---- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bound:
    """The actor holds the session from now on; the first event of every machine.

    ``container_id`` is the container that the record names; ``handle`` is given when the caller
    has it at hand, and ``ready_for``, the seconds since it was ready. ``failure`` is the record's, and so
    are ``restarts``, its count of replaced containers, and ``short_lives``, of those in a row that ended
    at once. ``rest_after``, in seconds, takes the place of the rule's until somebody asks for something.
    """

    phase: SessionPhase
    epoch: int
    container_id: str | None = None
    handle: ContainerHandle | None = None
    ready_for: float | None = None
    failure: str | None = None
    restarts: int = 0
    short_lives: int = 0
    rest_after: float | None = None


@dataclass(frozen=True, slots=True)
class ContainerReady:
    """A container serves the session under ``epoch``: the answer to Adopt and Launch."""

    work: int
    handle: ContainerHandle
    epoch: int


@dataclass(frozen=True, slots=True)
class AdoptFailed:
    """The container could not be taken over; ``dead`` when there is nothing left to take over."""

    work: int
    reason: str
    dead: bool


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """No container was started, and nothing of the attempt is left.

    ``refused``: none may be, so that trying again does not help.
    """

    work: int
    reason: str
    refused: ContainersExceeded | None = None


@dataclass(frozen=True, slots=True)
class ContainerLost:
    """A container ended, or does not answer any more, without having been asked to."""

    container_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class HibernateRequested:
    """Somebody wants the container stopped and the session kept."""


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """Somebody wants to use the session: a client attached, or asked for it."""


@dataclass(frozen=True, slots=True)
class Called:
    """Somebody asked the session for something that needs no decision; more may come at once."""


@dataclass(frozen=True, slots=True)
class EndRequested:
    """Somebody wants the session gone, with its workspace."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The container is gone: the answer to Stop."""

    work: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The store says that the session has ended: the answer to EndSession."""

    work: int


@dataclass(frozen=True, slots=True)
class Passivated:
    """The store says that nobody owns the session: the answer to Passivate."""

    work: int


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """Stop, EndSession or Passivate did not succeed; nothing is known of how far it came."""

    work: int
    reason: str


@dataclass(frozen=True, slots=True)
class FencedOff:
    """The store or CODI refused this owner's epoch: somebody newer acts for the session."""

    current: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; due at ``SessionMachine.deadline`` and harmless at any other time."""


Event = (
    Bound
    | ContainerReady
    | AdoptFailed
    | LaunchFailed
    | ContainerLost
    | HibernateRequested
    | ResumeRequested
    | Called
    | EndRequested
    | Stopped
    | Ended
    | Passivated
    | WorkFailed
    | FencedOff
    | Tick
)

# ---- commands -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take a running container over: ContainerReady or AdoptFailed. Look the handle up if absent."""

    work: int
    container_id: str
    handle: ContainerHandle | None


@dataclass(frozen=True, slots=True)
class Launch:
    """Raise the epoch and start a container with the known terminals: ContainerReady or LaunchFailed."""

    work: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the session's container: Stopped or WorkFailed. ``forced``: leave it to the pool's sweep."""

    work: int
    container_id: str
    handle: ContainerHandle | None
    forced: bool


@dataclass(frozen=True, slots=True)
class EndSession:
    """Remove container and workspace, then mark the session ended: Ended or WorkFailed.

    ``forced``: leave container and workspace behind; only the store's word counts.
    """

    work: int
    container_id: str | None
    handle: ContainerHandle | None
    forced: bool


@dataclass(frozen=True, slots=True)
class Passivate:
    """Write the record without an owner: Passivated or WorkFailed."""

    work: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """End the work of that number; its answer is not wanted any more."""

    work: int


@dataclass(frozen=True, slots=True)
class Watch:
    """Report this container's end by ContainerLost; stop watching any other."""

    handle: ContainerHandle


@dataclass(frozen=True, slots=True)
class Discard:
    """Stop a container in the background, whatever becomes of it."""

    container_id: str
    handle: ContainerHandle | None
    reason: DiscardReason


@dataclass(frozen=True, slots=True)
class Save:
    """Bring the record up to the machine's state soon, and again until it is committed."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Publish an event to the session's followers."""

    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Release:
    """Forget the session; the last command of every machine."""

    reason: ReleaseReason


Command = (
    Adopt
    | Launch
    | Stop
    | EndSession
    | Passivate
    | Abandon
    | Watch
    | Discard
    | Save
    | Emit
    | Release
)
