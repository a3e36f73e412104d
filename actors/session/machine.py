"""The life of a session: events in, commands out. No Ray, no I/O, no clock, no randomness of its own.

Theory of operation
-------------------
A machine lives as long as one *activation*: from ``Bound``, when an actor becomes the session's
owner, to ``Release``. It holds the session's phase, its container, and at most one piece of
asynchronous *work*. ``state`` has the tables of the phases that may follow one another, and of the work
that each may have under way; everything that decides about the session is in this file::

                    ┌──────────── resume ─────────────┐
                    ▼                                 │
    Bound ──► STARTING ──────► READY ──► HIBERNATING ──► HIBERNATED
       │        │  ▲             │ ▲          ▲
       │     failed│resume    lost ready      │ hibernate, from anywhere but the end
       │        ▼  │             ▼ │
       │       FAILED ◄─────── RECOVERING          ENDING ──► ENDED   (from anywhere)
       └─ continues what the record says was under way

* **Nothing is kept for nothing.** A phase either rests (READY, HIBERNATED, FAILED) or has work with a
  time limit. At rest the machine lets go of the session ``rest_after`` its last decision or call, whoever
  is attached: what they use is the container. One that was bound because its container was lost lets go
  as soon as it is ready, unless somebody asked for something meanwhile. Work that fails waits
  (BACKOFF) and is tried again: adopting and launching a bounded number of times, stopping and ending
  for ever, but after ``max_stops`` failures by force, which needs nothing but the store.
* **Lateness is decided by number.** An answer is accepted only with the number of the work under way;
  a container that comes with any other answer is discarded. ``ContainerLost`` names a container and
  counts only for the current one.
* **Loops are damped.** A container that dies within ``stable_after`` of being ready is a short life;
  the record counts them, so that a session which rests in between is no exception. The first in a row
  is replaced at once, the next ones after growing pauses, and after ``max_short_lives`` the session is
  FAILED, from which a resume leaves. So it is at once when its user may not have another container
  (``refused`` says why).
* **Fencing ends everything.** Once refused, the machine lets go without touching the container: it
  belongs to somebody newer.

Time is the ``now`` of each step, in seconds of a monotonic clock. The caller gives a ``Tick`` when
``deadline`` has passed, carries the commands out in their order, and feeds the answers back.
"""

from __future__ import annotations

from typing import assert_never

from actors.core.errors.limits import ContainersExceeded
from actors.core.records.sessions import SessionPhase
from actors.session.messages import (
    Adopt,
    AdoptFailed,
    Bound,
    Called,
    Command,
    ContainerLost,
    ContainerReady,
    DiscardReason,
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
    ReleaseReason,
    ResumeRequested,
    Save,
    Stop,
    Stopped,
    Tick,
    Watch,
    WorkFailed,
)
from actors.session.state import COMING_UP, RESTING, SessionState, Work

P = SessionPhase


class SessionMachine(SessionState):
    """Decides for one session, from Bound to Release; see the top of this file."""

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
            case Called():
                self._wished()
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
        self.short_lives, self._last_wish = event.short_lives, self._now
        if event.rest_after is not None:
            self._rest_after = event.rest_after
        match event.phase:
            case P.STARTING | P.RECOVERING | P.HIBERNATING | P.ENDING:
                self.phase = event.phase
            case P.READY:
                self.phase = P.STARTING
                self._taking_over = event.container_id is not None
                if event.ready_for is not None:
                    self._ready_since = self._now - event.ready_for
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
        if not self._taking_over:
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
        if not self._taking_over or self._ready_since is None:
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
        self._wished()
        self._resume_after_stop = False
        if self.phase in (P.HIBERNATING, P.HIBERNATED, P.ENDING):
            return
        self._abandon()
        self.failures = 0
        self._enter(P.HIBERNATING)
        self._pursue()

    def _on_resume(self) -> None:
        self._wished()
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

    def _wished(self) -> None:
        """Stay for a while: who asks for one thing often asks for another."""
        self._rest_after = max(self._rest_after, self._rules.rest_after)
        self._last_wish = self._now

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
        self._abandon()
        if self._buried(DiscardReason.LOST):
            self.restarts += 1
            self._enter(P.RECOVERING)
            self._launch_again()

    def _buried(self, reason: DiscardReason) -> bool:
        """Give the container up; False when it is one short life too many, and the session has failed."""
        if self._ready_since is not None:
            short = self._now - self._ready_since < self._rules.stable_after
            self.short_lives = self.short_lives + 1 if short else 0
        self._discard_current(reason)
        if self.short_lives > self._rules.max_short_lives:
            self._fail(FailureReason.CRASH_LOOP, f"{self.short_lives} containers ended at once")
            return False
        return True

    def _launch_again(self) -> None:
        if self.short_lives <= 1:
            self._pursue()
        else:
            self._pause(self.short_lives - 1)

    def _adopt_failed(self, *, dead: bool) -> None:
        self.failures += 1
        self._show_as_it_is()
        if not dead and self.failures < self._rules.max_adopts:
            self._pause(self.failures)
            return
        self._replace(DiscardReason.LOST if dead else DiscardReason.UNREACHABLE)

    def _show_as_it_is(self) -> None:
        """Let the container that is taken over count as ready no more."""
        if self._taking_over:
            self._taking_over = False
            self._commands.append(Save())
            self._emit_status()

    def _replace(self, reason: DiscardReason) -> None:
        """Give up the container that was to be adopted, and launch another."""
        self.failures = 0
        self._show_as_it_is()
        if self._buried(reason):
            self.restarts += 1
            self._launch_again()
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
        """Pause before the next try; a session at rest simply waits its time again."""
        if self.phase in RESTING:
            self._wished()
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
