"""Errors of sessions, their owners and containers."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError


@dataclass(eq=False)
class LaunchFailed(CoditectError):
    """A container did not become ready."""

    code = "launch_failed"
    retryable = True
    text = "container {container_id} did not start: {reason}"

    container_id: str
    reason: str


@dataclass(eq=False)
class Fenced(CoditectError):
    """An owner acted with ``epoch`` after ``current`` had been given out; it must end itself."""

    code = "fenced"
    text = "session {session_id}: epoch {epoch} is over, {current} rules"

    session_id: str
    epoch: int
    current: int


@dataclass(eq=False)
class NotBound(CoditectError):
    """The actor that was asked does not hold that session; look the owner up again."""

    code = "not_bound"
    retryable = True
    text = "actor {actor_id} does not hold session {session_id}"

    actor_id: str
    session_id: str


@dataclass(eq=False)
class SlotGone(CoditectError):
    """The warm container that was picked is no longer warm; pick another."""

    code = "slot_gone"
    retryable = True
    text = "container {container_id} is {status}, not warm"

    container_id: str
    status: str


@dataclass(eq=False)
class ActorTaken(CoditectError):
    """The warm actor that was picked owns a session by now; pick another."""

    code = "actor_taken"
    retryable = True
    text = "actor {actor_id} owns session {session_id}"

    actor_id: str
    session_id: str


@dataclass(eq=False)
class SessionEnded(CoditectError):
    """The session was ended; open a new one."""

    code = "session_ended"
    text = "session {session_id} has ended"

    session_id: str
