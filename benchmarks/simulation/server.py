"""A server in virtual time: the product's own code decides, and what it asks for takes a drawn time.

Each activation is a `SessionMachine` with a `Lease`; the pool's plans fill its slots; `verdict` says what
follows from a container's end, and the rules of idleness when it sleeps. Not modelled: that processes which
start beside one another slow each other down, and failures of the store. While somebody types, samples are
left out: the next one covers the longer time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from actors.core.lease import Lease, LeaseRules
from actors.core.records.containers import ContainerRecord, ContainerStatus, Health
from actors.core.records.idleness import Activity
from actors.core.records.sessions import Cause, SessionPhase
from actors.core.settings import ActorSettings
from actors.health.checker import REVIVAL_PAUSE
from actors.health.verdict import HealthRules, ReportLoss, Revive, Vitals, decide, exited, reported
from actors.idleness.rules import Sample, Watch, begun, is_due, observe, sleeps_at
from actors.pool.claims import FLAPPING_FACTOR, FLAPPING_SECONDS
from actors.pool.slots import Slot
from actors.session import messages
from actors.session.host import rules_from
from actors.session.machine import SessionMachine
from actors.session.state import COMING_UP
from benchmarks.simulation.pool import LAUNCH_SECONDS, Pool
from benchmarks.simulation.seat import Held, Seat
from benchmarks.simulation.timeline import Gauge, Timeline
from tests.fakes.pool_fakes import container_record, session_record

ADOPT_SECONDS, STOP_SECONDS, PASSIVATE_SECONDS, CLAIM_SECONDS = 0.010, 1.000, 0.005, 0.008
RELAY_SECONDS, SEAL_SECONDS = 0.100, 0.010
LAUNCH_FAILURES = 0.001
REVIVALS_PER_CORE = 2
P = SessionPhase


class Server:
    """The sessions of one node, from midnight on."""

    def __init__(self, timeline: Timeline, settings: ActorSettings, cores: int) -> None:
        self.timeline, self.settings = timeline, settings
        self.pool = Pool(timeline, settings, cores, self._record)
        self.health = HealthRules(settings.probe_interval, settings.probe_failures)
        self.containers: dict[str, ContainerRecord] = {}
        self.dead: set[str] = set()
        self.attached, self.bound = Gauge(timeline), Gauge(timeline)
        self.activations: Counter[tuple[Cause, int]] = Counter()
        self.commits: Counter[int] = Counter()
        self.waits: list[float] = []
        self.ready_after: list[float] = []
        self.back_after: list[float] = []
        self.at_rest_at_once = 0
        self._rules = rules_from(settings)
        self._lease = LeaseRules(settings.owner_lease)
        self._revivals = REVIVALS_PER_CORE * cores
        self._to_revive: dict[str, Seat] = {}
        self._reviving: set[str] = set()

    # ---- what people do -------------------------------------------------------------------------

    def types(self, seat: Seat, until: float) -> None:
        """Somebody comes, or begins to type again; what sleeps is brought up, what is missing made."""
        self.attach(seat, attached=True)
        seat.typed_until = until
        record, container_id = seat.record, seat.container_id
        if record is not None and record.phase is P.READY and container_id not in self.dead:
            return
        seat.came_at = self.timeline.now
        if record is None:
            self._sign_in(seat)
        elif record.phase in {P.HIBERNATED, P.FAILED, P.HIBERNATING}:
            self.ask(seat, Cause.CALL, messages.ResumeRequested())
        elif container_id is not None:
            self.timeline.after(RELAY_SECONDS, self._relay_asks, seat, container_id)

    def attach(self, seat: Seat, *, attached: bool) -> None:
        """Open or close the page."""
        self.attached.set(self.attached.value + attached - seat.attached)
        seat.attached = attached

    def ask(self, seat: Seat, cause: Cause, event: messages.Event) -> None:
        """Give a session's owner an event; who is sent away comes again."""
        if not self._open(seat, cause, lambda held: self._step(seat, held, event)):
            pause = PASSIVATE_SECONDS if seat.held else self.pool.retry_after
            self.timeline.at(self.timeline.now + pause, self.ask, seat, cause, event)

    def _sign_in(self, seat: Seat) -> None:
        slot = self.pool.claim_container()
        if slot is None:
            self.ask(seat, Cause.LOGIN, messages.Called())
        else:
            self.at_rest_at_once += 1
            self._make(seat, slot)
            self._serves(seat)

    def _make(self, seat: Seat, slot: Slot | None) -> None:
        """Make a session, with a warm container if there is one."""
        fields = {"user_id": seat.name, "phase": P.READY if slot else P.STARTING}
        container_id = slot.slot_id if slot else None
        seat.record = session_record(f"s-{seat.name}", container_id=container_id, **fields)
        self._change(seat)
        if container_id is not None:
            self._record(container_id, seat)

    def _change(self, seat: Seat, **changes: Any) -> None:
        assert seat.record is not None
        seat.record = seat.record.model_copy(update=changes | {"updated_at": self.timeline.now})

    def _record(self, container_id: str, seat: Seat | None = None) -> None:
        self.containers[container_id] = container_record(
            container_id,
            ContainerStatus.READY if seat else ContainerStatus.WARM,
            session_id=seat.record.session_id if seat and seat.record else None,
            health=Health.HEALTHY,
            ready_at=self.timeline.now,
        )

    def _remove(self, container_id: str | None) -> None:
        self.containers.pop(container_id or "", None)
        self.dead.discard(container_id or "")

    # ---- activations ----------------------------------------------------------------------------

    def _open(self, seat: Seat, cause: Cause, wish: Callable[[Held], None]) -> bool:
        """Ask the owner, which a session at rest gets for it; false when it lets go, or too many wait."""
        if seat.held is not None:
            if seat.held.machine.passivating:
                return False
            wish(seat.held)
            return True
        seat.wishes.append(wish)
        first = len(seat.wishes) == 1
        if first and not self.pool.claim(lambda *given: self._claimed(seat, cause, *given)):
            seat.wishes.clear()
            return False
        return True

    def _claimed(self, seat: Seat, cause: Cause, slot: Slot, wait: float) -> None:
        self.waits.append(wait)
        self.timeline.after(CLAIM_SECONDS, self._bind, seat, cause, slot)

    def _bind(self, seat: Seat, cause: Cause, slot: Slot) -> None:
        if seat.record is None:
            self._make(seat, self.pool.claim_container())
        assert seat.record is not None
        self.pool.actors.take(slot.slot_id)
        self.pool.note_claim()
        self._change(seat, owner_actor_id=slot.slot_id, epoch=seat.record.epoch + 1)
        machine = SessionMachine(self._rules, self.timeline.random.random)
        held = seat.held = Held(slot.slot_id, machine, Lease(self._lease))
        self.bound.set(self.bound.value + 1)
        self.activations[cause, int(self.timeline.now // 60)] += 1
        self._renew(held)
        self._step(seat, held, self._bound(seat, cause))
        wishes, seat.wishes = seat.wishes, []
        for wish in wishes:
            wish(held)

    def _bound(self, seat: Seat, cause: Cause) -> messages.Bound:
        record, now = seat.record, self.timeline.now
        assert record is not None
        again, seat.activated_at = now - seat.activated_at < FLAPPING_SECONDS, now
        rest_after = FLAPPING_FACTOR * self.settings.rest_after if again else None
        container = self.containers.get(record.container_id or "")
        return messages.Bound(
            phase=record.phase,
            epoch=record.epoch,
            container_id=record.container_id,
            handle=container.handle if container else None,
            ready_for=now - (container.ready_at or now) if container else None,
            failure=record.failure,
            restarts=record.restarts,
            short_lives=record.short_lives,
            rest_after=0.0 if cause is Cause.LOSS else rest_after,
        )

    def _renew(self, held: Held) -> None:
        if held.machine.released is None:
            now = self.timeline.now
            self.commits[int(now)] += 1
            held.lease.renewed(now)
            self.timeline.at(now + self._lease.renew_every, self._renew, held)

    def _step(self, seat: Seat, held: Held, event: messages.Event) -> None:
        machine = held.machine
        commands = machine.step(event, self.timeline.now)
        machine.validate()
        for command in commands:
            self._carry_out(seat, held, command)
        due = machine.deadline
        if due is not None and due != held.due:
            held.due = due
            self.timeline.at(due, self._tick, seat, held)

    def _tick(self, seat: Seat, held: Held) -> None:
        due = held.machine.deadline
        if due is not None and due <= self.timeline.now:
            self._step(seat, held, messages.Tick())

    def _carry_out(self, seat: Seat, held: Held, command: messages.Command) -> None:
        after = self.timeline.after
        match command:
            case messages.Adopt():
                after(ADOPT_SECONDS, self._adopted, seat, held, command)
            case messages.Launch():
                self._launch(seat, held, command.work)
            case messages.Stop():
                stopped = messages.Stopped(command.work)
                after(STOP_SECONDS, self._stopped, seat, held, command.container_id, stopped)
            case messages.EndSession():
                ended = messages.Ended(command.work)
                after(STOP_SECONDS, self._stopped, seat, held, command.container_id, ended)
            case messages.Passivate():
                after(PASSIVATE_SECONDS, self._step, seat, held, messages.Passivated(command.work))
            case messages.Discard():
                self._remove(command.container_id)
            case messages.Save():
                self._change(seat, **held.machine.persistent())
            case messages.Watch():
                self._serves(seat)
            case messages.Release():
                self._released(seat, held, command.reason)

    def _adopted(self, seat: Seat, held: Held, asked: messages.Adopt) -> None:
        record = self.containers.get(asked.container_id)
        if record is None or record.handle is None or asked.container_id in self.dead:
            self._step(seat, held, messages.AdoptFailed(asked.work, "it is gone", dead=True))
        else:
            ready = messages.ContainerReady(asked.work, record.handle, held.machine.epoch)
            self._step(seat, held, ready)

    def _launch(self, seat: Seat, held: Held, work: int) -> None:
        assert seat.record is not None
        epoch = seat.record.epoch + 1
        self._change(seat, epoch=epoch)

        def begin() -> None:
            assert held.lease.holds(self.timeline.now), "no container is started without a lease"
            self.timeline.after(LAUNCH_SECONDS, self._launched, seat, held, work, epoch)

        self.pool.turns.take(begin)

    def _launched(self, seat: Seat, held: Held, work: int, epoch: int) -> None:
        self.pool.turns.give_back()
        if self.timeline.random.random() < LAUNCH_FAILURES:
            self._step(seat, held, messages.LaunchFailed(work, "drawn"))
            return
        container_id = self.timeline.new_id("c")
        self._record(container_id, seat)
        handle = self.containers[container_id].handle
        assert handle is not None
        self._step(seat, held, messages.ContainerReady(work, handle, epoch))

    def _stopped(
        self, seat: Seat, held: Held, container_id: str | None, answer: messages.Event
    ) -> None:
        self._remove(container_id)
        self._step(seat, held, answer)

    def _released(self, seat: Seat, held: Held, reason: messages.ReleaseReason) -> None:
        assert reason is not messages.ReleaseReason.FENCED, "nobody is fenced off here"
        seat.held = None
        self.bound.set(self.bound.value - 1)
        self._change(seat, owner_actor_id=None)
        if reason is messages.ReleaseReason.ENDED:
            seat.record = None
        self.timeline.after(PASSIVATE_SECONDS, self.pool.give_back, held.actor_id)

    # ---- containers: health and idleness --------------------------------------------------------

    def _serves(self, seat: Seat) -> None:
        """Begin to look after the container that serves a session; one that was adopted is known."""
        container_id, now = seat.container_id, self.timeline.now
        if container_id is None or (seat.vitals and seat.vitals.container_id == container_id):
            return
        seat.vitals, seat.watch = Vitals(container_id, Health.HEALTHY), None
        if seat.lost_at is not None and seat.attached:
            self.back_after.append(now - seat.lost_at)
        elif seat.came_at is not None:
            self.ready_after.append(now - seat.came_at)
        seat.lost_at = seat.came_at = None
        first = now + self.timeline.random.uniform(0, self.settings.idle.pause)
        self.timeline.at(first, self._sample, seat, container_id)

    def dies(self, seat: Seat) -> None:
        """End a session's container, if it has one."""
        container_id, vitals = seat.container_id, seat.vitals
        if container_id not in self.containers or container_id in self.dead or vitals is None:
            return
        self.dead.add(container_id)
        seat.vitals, seat.lost_at = exited(vitals, "killed"), self.timeline.now
        if seat.held is not None:
            self._step(seat, seat.held, messages.ContainerLost(container_id, "killed"))
        elif seat.attached:
            self.timeline.after(RELAY_SECONDS, self._relay_asks, seat, container_id)
        self._check(seat, container_id)

    def _relay_asks(self, seat: Seat, container_id: str) -> None:
        if seat.attached and seat.container_id == container_id:
            self.ask(seat, Cause.CALL, messages.Called())

    def _check(self, seat: Seat, container_id: str) -> None:
        """Do what the verdict on an ended container asks for, until the session has another or none."""
        record, vitals, now = self.containers.get(container_id), seat.vitals, self.timeline.now
        if record is None or vitals is None or vitals.container_id != container_id:
            return
        match decide(vitals, record, seat.record, self.health, now):
            case Revive() if container_id not in self._reviving:
                self._to_revive[container_id] = seat
                self._revive()
            case ReportLoss() if seat.held is not None:
                seat.vitals = reported(vitals, now)
                self._step(seat, seat.held, messages.ContainerLost(container_id, "killed"))
        self.timeline.at(now + self.settings.reconcile_interval, self._check, seat, container_id)

    def _revive(self) -> None:
        """Open the sessions whose containers ended at rest, a few at once, the attended ones first."""
        while self._to_revive and len(self._reviving) < self._revivals:
            waiting = self._to_revive.items()
            container_id, seat = min(waiting, key=lambda each: not each[1].attached)
            del self._to_revive[container_id]
            self._reviving.add(container_id)
            wanted = seat.held is None and seat.container_id == container_id
            opened = wanted and self._open(seat, Cause.LOSS, lambda _: None)
            until = self.timeline.now + (self.settings.launch_limit if opened else 0.0)
            self._until_replaced(seat, container_id, until)

    def _until_replaced(self, seat: Seat, container_id: str, until: float) -> None:
        waits = seat.record is not None and seat.record.phase in COMING_UP | {P.READY}
        if waits and seat.container_id in {None, container_id} and self.timeline.now < until:
            again = self.timeline.now + REVIVAL_PAUSE
            self.timeline.at(again, self._until_replaced, seat, container_id, until)
            return
        self._reviving.discard(container_id)
        if seat.vitals is not None and seat.vitals.container_id == container_id:
            seat.vitals = reported(seat.vitals, self.timeline.now)
        self.timeline.at(self.timeline.now, self._revive)

    def _sample(self, seat: Seat, container_id: str) -> None:
        """Look whether a container may sleep, as long as it serves the session."""
        if seat.record is None or seat.container_id != container_id or container_id in self.dead:
            return
        now, rules, pause = self.timeline.now, self.settings.idle, self.settings.idle.pause
        if seat.record.phase is P.READY:
            seat.watch = self._observed(seat, container_id)
            if is_due(seat.watch, rules, None):
                self._open(seat, Cause.SLEEP, lambda held: self._seal(seat, held, container_id))
            pause = max(pause, seat.typed_until - now, (sleeps_at(seat.watch, rules) or now) - now)
        self.timeline.at(now + pause, self._sample, seat, container_id)

    def _observed(self, seat: Seat, container_id: str) -> Watch:
        now = self.timeline.now
        activity = Activity(at=now, input_age=max(0.0, now - seat.typed_until))
        sample = Sample(now, now, activity, int(seat.attached))
        if seat.watch is None:
            return begun(container_id, sample)
        return observe(seat.watch, sample, self.settings.idle)

    def _seal(self, seat: Seat, held: Held, container_id: str) -> None:
        """Hibernate once the owner has the container, unless somebody types again."""
        machine = held.machine
        if machine.phase in COMING_UP and machine.released is None:
            self.timeline.after(SEAL_SECONDS, self._seal, seat, held, container_id)
        elif (
            machine.ready
            and machine.container_id == container_id
            and seat.typed_until < self.timeline.now
        ):
            quiet = self.timeline.now - seat.typed_until
            assert quiet >= self.settings.idle.hibernate_after, "nobody sleeps too early"
            self._step(seat, held, messages.HibernateRequested())
