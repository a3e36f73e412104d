"""The root of the error tree, and what any call to another component may raise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar


class CoditectError(Exception):
    """Root of the tree. ``code`` is stable and public; ``retryable`` means the same call may work later.

    ``text`` is a format of the fields; an error without one has the text that it is raised with.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    text: ClassVar[str] = ""

    def __post_init__(self) -> None:
        # Exceptions are pickled by their arguments, however they were given.
        self.args = tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.text.format_map(vars(self)) if self.text else super().__str__()


@dataclass(eq=False)
class Busy(CoditectError):
    """The server has as much under way as it accepts; wait ``retry_after_seconds``."""

    code = "busy"
    retryable = True
    text = "{what}: the server is busy; try again in {retry_after_seconds:.0f} s"

    what: str
    retry_after_seconds: float


@dataclass(eq=False)
class Unavailable(CoditectError):
    """A component does not answer."""

    code = "unavailable"
    retryable = True
    text = "{component} is unavailable: {reason}"

    component: str
    reason: str


@dataclass(eq=False)
class ActorGone(Unavailable):
    """No actor of that name lives, and nothing restarts one: look the owner up again."""

    reason: str = "no such actor"


class Unreached(Unavailable):
    """A component could not be reached, or took nothing: nothing was done, so it may be tried again."""


@dataclass(eq=False)
class DeadlineExceeded(CoditectError):
    """``what`` did not finish within ``seconds``."""

    code = "deadline_exceeded"
    retryable = True
    text = "{what} did not finish within {seconds:g} s"

    what: str
    seconds: float


@dataclass(eq=False)
class IllegalTransition(CoditectError):
    """A machine was given an event that its table does not allow: a bug, reported with its history."""

    code = "illegal_transition"

    machine: str
    phase: str
    event: str
    history: tuple[str, ...]

    def __str__(self) -> str:
        trail = " → ".join(self.history) or "nothing before"
        return f"{self.machine}: {self.event} is not allowed in {self.phase} (history: {trail})"
