"""Errors of sessions, their owners and containers."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError


@dataclass(eq=False)
class LaunchFailed(CoditectError):
    """A container did not become ready."""

    code = "launch_failed"
    retryable = True

    container_id: str
    reason: str

    def __str__(self) -> str:
        return f"container {self.container_id} did not start: {self.reason}"


@dataclass(eq=False)
class Fenced(CoditectError):
    """An owner acted with ``epoch`` after ``current`` had been given out; it must end itself."""

    code = "fenced"

    session_id: str
    epoch: int
    current: int

    def __str__(self) -> str:
        return f"session {self.session_id}: epoch {self.epoch} is over, {self.current} rules"


@dataclass(eq=False)
class NotBound(CoditectError):
    """The actor that was asked does not hold that session; look the owner up again."""

    code = "not_bound"
    retryable = True

    actor_id: str
    session_id: str

    def __str__(self) -> str:
        return f"actor {self.actor_id} does not hold session {self.session_id}"


@dataclass(eq=False)
class SlotGone(CoditectError):
    """The warm container that was picked is no longer warm; pick another."""

    code = "slot_gone"
    retryable = True

    container_id: str
    status: str

    def __str__(self) -> str:
        return f"container {self.container_id} is {self.status}, not warm"


@dataclass(eq=False)
class SessionEnded(CoditectError):
    """The session was ended; open a new one."""

    code = "session_ended"

    session_id: str

    def __str__(self) -> str:
        return f"session {self.session_id} has ended"
