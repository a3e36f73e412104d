"""The life of a session: events in, commands out. No Ray, no I/O, no clock, no randomness of its own.

Theory of operation
-------------------
A machine lives as long as one *activation*: from ``Bound``, when an actor becomes the session's
owner, to ``Release``. It holds the session's phase, its container, and at most one piece of
asynchronous *work*. ``MOVES`` says which phase may follow which, ``WORKS`` which work a phase may have
under way; everything that decides about the session is in this file::

                    ┌──────────── resume ─────────────┐
                    ▼                                 │
    Bound ──► STARTING ──────► READY ──► HIBERNATING ──► HIBERNATED
       │        │  ▲             │ ▲          ▲
       │     failed│resume    lost ready      │ hibernate, from anywhere but the end
       │        ▼  │             ▼ │
       │       FAILED ◄─────── RECOVERING          ENDING ──► ENDED   (from anywhere)
       └─ continues what the record says was under way

* **Nothing is stuck.** A phase either rests (READY, HIBERNATED, FAILED: until somebody asks, or until
  nobody was attached for ``passivate_after``) or has work with a time limit. Work that fails waits
  (BACKOFF) and is tried again: adopting and launching a bounded number of times, stopping and ending
  for ever, but after ``max_stops`` failures by force, which needs nothing but the store.
* **Lateness is decided by number.** An answer is accepted only with the number of the work under way;
  a container that comes with any other answer is discarded. ``ContainerLost`` names a container and
  counts only for the current one.
* **Loops are damped.** A container that dies within ``stable_after`` of being ready is a short life.
  The first in a row is replaced at once, the next ones after growing pauses, and after
  ``max_short_lives`` the session is FAILED, from which a resume leaves. So it is at once when its user
  may not have another container (``refused`` says why).
* **Fencing ends everything.** Once refused, the machine lets go without touching the container: it
  belongs to somebody newer.

Time is the ``now`` of each step, in seconds of a monotonic clock. The caller gives a ``Tick`` when
``deadline`` has passed, carries the commands out in their order, and feeds the answers back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, assert_never

from actors.core.backoff import doubled
from actors.core.errors.base import IllegalTransition
from actors.core.errors.limits import ContainersExceeded
from actors.core.records.containers import ContainerHandle, ContainerStatus
from actors.core.records.sessions import SessionPhase
from actors.session.messages import (
    Abandon,
    Adopt,
    AdoptFailed,
    AttachmentsChanged,
    Bound,
    Command,
    ContainerLost,
    ContainerReady,
    Discard,
    DiscardReason,
    Emit,
    Ended,
    EndRequested,
    EndSession,
    Event,
    FailureReason,
    FencedOff,
    HibernateRequested,
    Launch,
    LaunchFailed,
    Passivate,
    Passivated,
    Release,
    ReleaseReason,
    ResumeRequested,
    Save,
    Stop,
    Stopped,
    Tick,
    Watch,
    WorkFailed,
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
    passivate_after: float
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


class SessionMachine:
    """Decides for one session, from Bound to Release; see the top of this file.

    ``jitter`` gives numbers in [0, 1). Everything public may be read, nothing be set from outside.
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
        self.attached = False
        self.released: ReleaseReason | None = None
        self._rules = rules
        self._jitter = jitter
        self._bound = False
        self._resume_after_stop = False
        self._due: float | None = None
        self._idle_since: float | None = None
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
        return None if self._idle_since is None else self._idle_since + self._rules.passivate_after

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
        """Return the fields of the SessionRecord that this machine decides."""
        return {
            "phase": self.phase,
            "container_id": self.container_id,
            "container_url": None if self.handle is None else self.handle.address,
            "container_status": CONTAINER_STATUS[self.phase],
            "restarts": self.restarts,
            "failure": self.failure,
        }

    # ---- one step -------------------------------------------------------------------------------

    def step(self, event: Event, now: float) -> tuple[Command, ...]:
        """Take one event and return what is to be done, in order. Raises IllegalTransition."""
        self._now = max(now, self._now)
        self._note(type(event).__name__)
        self._commands = []
        if self.released is None:
            self._dispatch(event)
        elif isinstance(event, ContainerReady) and self.released is not ReleaseReason.FENCED:
            self._discard_late(event.handle)
        return tuple(self._commands)

    def _dispatch(self, event: Event) -> None:  # noqa: C901, PLR0912 - one exhaustive table
        if self._bound is isinstance(event, Bound):
            raise self._illegal(type(event).__name__)
        match event:
            case Bound():
                self._on_bound(event)
            case ContainerReady():
                self._on_ready(event)
            case AdoptFailed():
                if self._answers(event.work, Work.ADOPT):
                    self._adopt_failed(dead=event.dead)
            case LaunchFailed():
                if self._answers(event.work, Work.LAUNCH):
                    self._launch_failed(event.reason, event.refused)
            case ContainerLost():
                self._on_lost(event)
            case HibernateRequested():
                self._on_hibernate()
            case ResumeRequested():
                self._on_resume()
            case EndRequested():
                self._on_end()
            case Stopped():
                if self._answers(event.work, Work.STOP):
                    self._stopped()
            case Ended():
                if self._answers(event.work, Work.END):
                    self._forget_container()
                    self._enter(P.ENDED)
                    self._release(ReleaseReason.ENDED)
            case Passivated():
                if self._answers(event.work, Work.PASSIVATE):
                    self._release(ReleaseReason.PASSIVATED)
            case WorkFailed():
                if self._answers(event.work, Work.STOP, Work.END, Work.PASSIVATE):
                    self._work_failed()
            case FencedOff():
                self._abandon()
                self._release(ReleaseReason.FENCED)
            case AttachmentsChanged(attached):
                self._on_attachments(attached=attached)
            case Tick():
                self._on_tick()
            case _:
                assert_never(event)

    # ---- events ---------------------------------------------------------------------------------

    def _on_bound(self, event: Bound) -> None:
        self._bound = True
        self.epoch = event.epoch
        self.container_id, self.handle = event.container_id, event.handle
        self.failure, self.restarts = event.failure, event.restarts
        match event.phase:
            case P.STARTING | P.RECOVERING | P.HIBERNATING | P.ENDING:
                self.phase = event.phase
            case P.READY:
                self.phase = P.STARTING
            case P.HIBERNATED | P.FAILED:
                self.phase = event.phase
                self._discard_current(DiscardReason.LATE)
            case P.ENDED:
                self.phase = event.phase
                self._release(ReleaseReason.ENDED)
                return
            case _:
                assert_never(event.phase)
        self._note(f"→ {self.phase}")
        self._idle_since = self._now
        self._emit_status()
        if self.phase not in RESTING:
            self._pursue()

    def _on_ready(self, event: ContainerReady) -> None:
        if not self._answers(event.work, Work.ADOPT, Work.LAUNCH):
            if event.handle.container_id != self.container_id:
                self._discard_late(event.handle)
            return
        if event.epoch < self.epoch:
            raise self._illegal(f"ContainerReady of epoch {event.epoch} after {self.epoch}")
        self.epoch = event.epoch
        self.handle = event.handle
        self.container_id = event.handle.container_id
        self.failure = self.refused = None
        self.failures = 0
        self._ready_since = self._now
        self._enter(P.READY)
        self._commands.append(Watch(event.handle))

    def _on_lost(self, event: ContainerLost) -> None:
        if event.container_id != self.container_id:
            return
        if self.phase is P.READY:
            self._recover()
        elif self.phase in COMING_UP:
            self._abandon()
            self._replace(DiscardReason.LOST)

    def _on_hibernate(self) -> None:
        self._resume_after_stop = False
        if self.phase in (P.HIBERNATING, P.HIBERNATED, P.ENDING):
            return
        self._abandon()
        self.failures = 0
        self._enter(P.HIBERNATING)
        self._pursue()

    def _on_resume(self) -> None:
        if self.phase is P.HIBERNATING:
            self._resume_after_stop = True
        elif self.phase in (P.HIBERNATED, P.FAILED):
            self._abandon()
            self._start()

    def _on_end(self) -> None:
        if self.phase is P.ENDING:
            return
        self._abandon()
        self.failures = 0
        self._enter(P.ENDING)
        self._pursue()

    def _on_attachments(self, *, attached: bool) -> None:
        if attached is self.attached:
            return
        self.attached = attached
        self._idle_since = None if attached else self._now

    def _on_tick(self) -> None:
        if self.deadline is None or self._now < self.deadline:
            return
        work = self.work
        match work:
            case Work.NONE:
                if self.phase in RESTING:
                    self._begin(Work.PASSIVATE, self._rules.passivate_timeout)
                    self._commands.append(Passivate(self.work_number))
            case Work.BACKOFF:
                self._settle()
                self._pursue()
            case Work.ADOPT:
                self._abandon()
                self._adopt_failed(dead=False)
            case Work.LAUNCH:
                self._abandon()
                self._launch_failed("not ready in time")
            case Work.STOP | Work.END | Work.PASSIVATE:
                self._abandon()
                self._work_failed()
            case _:
                assert_never(work)

    # ---- decisions ------------------------------------------------------------------------------

    def _pursue(self) -> None:
        """Begin the work that the phase asks for."""
        if self.phase in COMING_UP:
            if self.container_id is None:
                self._begin(Work.LAUNCH, self._rules.launch_timeout)
                self._commands.append(Launch(self.work_number))
            else:
                self._begin(Work.ADOPT, self._rules.adopt_timeout)
                self._commands += [Adopt(self.work_number, self.container_id, self.handle)]
            return
        forced = self.failures >= self._rules.max_stops
        if self.phase is P.HIBERNATING:
            if self.container_id is None:
                self._hibernated()
                return
            self._begin(Work.STOP, self._rules.stop_timeout)
            self._commands += [Stop(self.work_number, self.container_id, self.handle, forced)]
        elif self.phase is P.ENDING:
            self._begin(Work.END, self._rules.end_timeout)
            self._commands += [EndSession(self.work_number, self.container_id, self.handle, forced)]
        else:
            raise self._illegal("work")

    def _start(self) -> None:
        self.failures = self.short_lives = 0
        self.failure = self.refused = None
        self._resume_after_stop = False
        self._enter(P.STARTING)
        self._pursue()

    def _recover(self) -> None:
        """Replace the container that was lost; at once, after a pause, or not any more."""
        assert self._ready_since is not None
        self._abandon()
        lived = self._now - self._ready_since
        self.short_lives = 0 if lived >= self._rules.stable_after else self.short_lives + 1
        self._discard_current(DiscardReason.LOST)
        if self.short_lives > self._rules.max_short_lives:
            self._fail(FailureReason.CRASH_LOOP, f"{self.short_lives} containers ended at once")
            return
        self.restarts += 1
        self._enter(P.RECOVERING)
        if self.short_lives <= 1:
            self._pursue()
        else:
            self._pause(self.short_lives - 1)

    def _adopt_failed(self, *, dead: bool) -> None:
        self.failures += 1
        if not dead and self.failures < self._rules.max_adopts:
            self._pause(self.failures)
            return
        self._replace(DiscardReason.LOST if dead else DiscardReason.UNREACHABLE)

    def _replace(self, reason: DiscardReason) -> None:
        """Give up the container that was to be adopted, and launch another."""
        self._discard_current(reason)
        self.failures = 0
        self.restarts += 1
        self._pursue()
        self._commands.append(Save())

    def _launch_failed(self, reason: str, refused: ContainersExceeded | None = None) -> None:
        self.failures += 1
        if refused is not None:
            self.refused = refused
            self._fail(FailureReason.QUOTA_EXCEEDED, reason)
            return
        if self.failures >= self._rules.max_launches:
            self._fail(FailureReason.LAUNCH_FAILED, reason)
        else:
            self._pause(self.failures)

    def _work_failed(self) -> None:
        """Pause before the next try; an idle session simply waits its time again."""
        if self.phase in RESTING:
            if not self.attached:
                self._idle_since = self._now
            return
        self.failures += 1
        self._pause(self.failures)

    def _stopped(self) -> None:
        self._forget_container()
        self._hibernated()

    def _hibernated(self) -> None:
        self.failures = 0
        self.failure = None
        self._enter(P.HIBERNATED)
        if self._resume_after_stop:
            self._start()

    def _fail(self, reason: FailureReason, detail: str) -> None:
        self.failure = f"{reason.value}: {detail}"[:500]
        self._enter(P.FAILED)

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
        self._note(f"→ {phase}")
        if not self.attached:
            self._idle_since = self._now
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
        kind = "ended" if reason is ReleaseReason.ENDED else "released"
        self._commands += [Emit(kind, {"reason": reason.value}), Release(reason)]

    def _note(self, what: str) -> None:
        if self._history and self._history[-1] == what == "Tick":
            return
        self._history.append(what)

    def _illegal(self, what: str) -> IllegalTransition:
        return IllegalTransition("session", f"{self.phase}/{self.work}", what, self.history)


def validate(machine: SessionMachine) -> None:
    """Check what must hold between any two steps; raises AssertionError."""
    if machine.released is not None:
        assert machine.work is Work.NONE, "a released session has no work"
        assert machine.deadline is None, "a released session waits for nothing"
        return
    if not machine.history:
        return
    assert machine.phase is not P.ENDED, "an ended session is released"
    assert machine.work in WORKS[machine.phase], f"{machine.phase} with {machine.work}"
    if machine.work is not Work.NONE or not machine.attached:
        assert machine.deadline is not None, f"{machine.phase} has no time limit"
    if machine.phase is P.READY:
        assert machine.handle is not None, "ready means a container"
        assert machine.handle.container_id == machine.container_id, "one container, one name"
        assert machine.failure is None, "a failure is over once a container serves"
    if machine.phase in (P.HIBERNATED, P.FAILED):
        assert machine.container_id is None, f"{machine.phase} means no container"
    if machine.work is Work.LAUNCH:
        assert machine.container_id is None, "nothing is launched beside a container"
    if machine.work is Work.ADOPT:
        assert machine.container_id is not None, "something is adopted"
    assert machine.handle is None or machine.container_id is not None, "a handle has a container"
