"""The state of a session's machine, what may follow what in it, and its steps. Pure, as ``machine`` is.

``MOVES`` says which phase may follow which, ``WORKS`` which work a phase may have under way. Whatever
``machine`` decides is done by the steps here, which refuse what the tables do not allow, collect the
commands, and keep the history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from actors.core.backoff import doubled
from actors.core.errors.base import IllegalTransition
from actors.core.errors.limits import ContainersExceeded
from actors.core.records.containers import ContainerHandle, ContainerStatus
from actors.core.records.sessions import SessionPhase
from actors.session.messages import (
    Abandon,
    Command,
    Discard,
    DiscardReason,
    Emit,
    Release,
    ReleaseReason,
    Save,
)

HISTORY = 32
P = SessionPhase


class Work(StrEnum):
    """The one thing a machine waits for; ``BACKOFF`` is a pause before the next try."""

    NONE = "none"
    ADOPT = "adopt"
    LAUNCH = "launch"
    STOP = "stop"
    END = "end"
    PASSIVATE = "passivate"
    BACKOFF = "backoff"


MOVES: Mapping[SessionPhase, frozenset[SessionPhase]] = MappingProxyType(
    {
        P.STARTING: frozenset({P.READY, P.FAILED, P.HIBERNATING, P.ENDING}),
        P.READY: frozenset({P.RECOVERING, P.FAILED, P.HIBERNATING, P.ENDING}),
        P.RECOVERING: frozenset({P.READY, P.FAILED, P.HIBERNATING, P.ENDING}),
        P.HIBERNATING: frozenset({P.HIBERNATED, P.ENDING}),
        P.HIBERNATED: frozenset({P.STARTING, P.ENDING}),
        P.FAILED: frozenset({P.STARTING, P.HIBERNATING, P.ENDING}),
        P.ENDING: frozenset({P.ENDED}),
        P.ENDED: frozenset(),
    }
)
WORKS: Mapping[SessionPhase, frozenset[Work]] = MappingProxyType(
    {
        P.STARTING: frozenset({Work.ADOPT, Work.LAUNCH, Work.BACKOFF}),
        P.READY: frozenset({Work.NONE, Work.PASSIVATE}),
        P.RECOVERING: frozenset({Work.ADOPT, Work.LAUNCH, Work.BACKOFF}),
        P.HIBERNATING: frozenset({Work.STOP, Work.BACKOFF}),
        P.HIBERNATED: frozenset({Work.NONE, Work.PASSIVATE}),
        P.FAILED: frozenset({Work.NONE, Work.PASSIVATE}),
        P.ENDING: frozenset({Work.END, Work.BACKOFF}),
        P.ENDED: frozenset({Work.NONE}),
    }
)
RESTING = frozenset({P.READY, P.HIBERNATED, P.FAILED})
COMING_UP = frozenset({P.STARTING, P.RECOVERING})
CONTAINER_STATUS: Mapping[SessionPhase, ContainerStatus] = MappingProxyType(
    {
        P.STARTING: ContainerStatus.STARTING,
        P.READY: ContainerStatus.READY,
        P.RECOVERING: ContainerStatus.STARTING,
        P.HIBERNATING: ContainerStatus.STOPPING,
        P.HIBERNATED: ContainerStatus.STOPPED,
        P.FAILED: ContainerStatus.FAILED,
        P.ENDING: ContainerStatus.STOPPING,
        P.ENDED: ContainerStatus.STOPPED,
    }
)


@dataclass(frozen=True, slots=True)
class SessionRules:
    """The numbers a machine decides with. Times are seconds; ``*_timeout`` limit one piece of work."""

    adopt_timeout: float
    launch_timeout: float
    stop_timeout: float
    end_timeout: float
    passivate_timeout: float
    rest_after: float
    backoff_base: float = 0.5
    backoff_limit: float = 10.0
    max_adopts: int = 3
    max_launches: int = 5
    max_stops: int = 3
    stable_after: float = 5.0
    max_short_lives: int = 5

    def backoff(self, failures: int, jitter: float) -> float:
        """Return the pause after that many failures in a row; ``jitter`` in [0, 1) halves it at most."""
        full = doubled(self.backoff_base, self.backoff_limit, failures - 1)
        return full * (0.5 + 0.5 * jitter)


class SessionState:
    """What one machine knows. ``jitter`` gives numbers in [0, 1).

    Everything public may be read, nothing be set from outside.
    """

    def __init__(self, rules: SessionRules, jitter: Callable[[], float]) -> None:
        self.phase = P.STARTING
        self.work = Work.NONE
        self.work_number = 0
        self.epoch = 0
        self.container_id: str | None = None
        self.handle: ContainerHandle | None = None
        self.failure: str | None = None
        self.refused: ContainersExceeded | None = None
        self.restarts = 0
        self.short_lives = 0
        self.failures = 0
        self.released: ReleaseReason | None = None
        self._rules = rules
        self._jitter = jitter
        self._bound = False
        self._resume_after_stop = False
        self._due: float | None = None
        self._rest_after = rules.rest_after
        self._last_wish = 0.0
        self._taking_over = False
        self._ready_since: float | None = None
        self._now = 0.0
        self._commands: list[Command] = []
        self._history: deque[str] = deque(maxlen=HISTORY)

    # ---- what others may ask --------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """The time of the next Tick; None while nothing but an event changes anything."""
        if self.released is not None:
            return None
        if self.work is not Work.NONE:
            return self._due
        return self._last_wish + self._rest_after

    @property
    def ready(self) -> bool:
        """True while a container serves the session under ``epoch``."""
        return self.phase is P.READY and self.released is None

    @property
    def passivating(self) -> bool:
        """True while ownership is being given back."""
        return self.work is Work.PASSIVATE and self.released is None

    @property
    def history(self) -> tuple[str, ...]:
        """The last events and moves, oldest first."""
        return tuple(self._history)

    def persistent(self) -> dict[str, Any]:
        """Return the fields of the SessionRecord that this machine decides.

        A container that is taken over as ready counts as that until it is known not to be.
        """
        phase = P.READY if self._taking_over else self.phase
        fields: dict[str, Any] = {
            "phase": phase,
            "container_id": self.container_id,
            "container_status": CONTAINER_STATUS[phase],
            "restarts": self.restarts,
            "short_lives": self.short_lives,
            "failure": self.failure,
        }
        if self.handle is not None or not self._taking_over:
            fields["container_url"] = None if self.handle is None else self.handle.address
        return fields

    # ---- small steps ----------------------------------------------------------------------------

    def _begin(self, work: Work, timeout: float) -> None:
        self.work = work
        self.work_number += 1
        self._due = self._now + timeout

    def _pause(self, failures: int) -> None:
        self.work = Work.BACKOFF
        self._due = self._now + self._rules.backoff(max(1, failures), self._jitter())

    def _settle(self) -> None:
        self.work = Work.NONE
        self._due = None

    def _abandon(self) -> None:
        if self.work not in (Work.NONE, Work.BACKOFF):
            self._commands.append(Abandon(self.work_number))
        self._settle()

    def _answers(self, number: int, *works: Work) -> bool:
        """Return whether an answer is to the work under way, which is then settled; a late one is not."""
        if number != self.work_number or self.work in (Work.NONE, Work.BACKOFF):
            return False
        if self.work not in works:
            raise self._illegal(f"an answer for {'/'.join(works)}")
        self._settle()
        return True

    def _enter(self, phase: SessionPhase) -> None:
        if phase not in MOVES[self.phase]:
            raise self._illegal(f"→ {phase}")
        self.phase = phase
        self._taking_over = False
        self._note(f"→ {phase}")
        self._last_wish = self._now
        self._commands.append(Save())
        self._emit_status()

    def _emit_status(self) -> None:
        data = {
            "phase": self.phase.value,
            "container_status": CONTAINER_STATUS[self.phase].value,
            "container_id": self.container_id,
            "epoch": self.epoch,
            "failure": self.failure,
        }
        self._commands.append(Emit("status", data))

    def _forget_container(self) -> None:
        self.container_id = None
        self.handle = None
        self._ready_since = None

    def _discard_current(self, reason: DiscardReason) -> None:
        if self.container_id is not None:
            self._commands.append(Discard(self.container_id, self.handle, reason))
        self._forget_container()

    def _discard_late(self, handle: ContainerHandle) -> None:
        self._commands.append(Discard(handle.container_id, handle, DiscardReason.LATE))

    def _release(self, reason: ReleaseReason) -> None:
        self._settle()
        self.released = reason
        if reason is ReleaseReason.ENDED:
            self._commands.append(Emit("ended", {"reason": reason.value}))
        self._commands.append(Release(reason))

    def _note(self, what: str) -> None:
        if self._history and self._history[-1] == what == "Tick":
            return
        self._history.append(what)

    def _illegal(self, what: str) -> IllegalTransition:
        return IllegalTransition("session", f"{self.phase}/{self.work}", what, self.history)

    def validate(self) -> None:
        """Check what must hold between any two steps; raises AssertionError."""
        if self.released is not None:
            assert self.work is Work.NONE, "a released session has no work"
            assert self.deadline is None, "a released session waits for nothing"
            return
        if not self.history:
            return
        assert self.phase is not P.ENDED, "an ended session is released"
        assert self.work in WORKS[self.phase], f"{self.phase} with {self.work}"
        assert self.deadline is not None, f"{self.phase} has no time limit"
        if self.phase is P.READY:
            assert self.handle is not None, "ready means a container"
            assert self.handle.container_id == self.container_id, "one container, one name"
            assert self.failure is None, "a failure is over once a container serves"
        if self.phase in (P.HIBERNATED, P.FAILED):
            assert self.container_id is None, f"{self.phase} means no container"
        if self.work is Work.LAUNCH:
            assert self.container_id is None, "nothing is launched beside a container"
        if self.work is Work.ADOPT:
            assert self.container_id is not None, "something is adopted"
        assert self.handle is None or self.container_id is not None, "a handle has a container"
