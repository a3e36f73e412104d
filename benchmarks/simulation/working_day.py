"""A server and its people for one day, and what looks at all sessions there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from actors.core.names import session_actor
from actors.core.records.sessions import Cause, SessionPhase, SessionRecord
from actors.pool.sweep_plan import Facts, Sweep, plan_sweep, validate_sweep
from actors.session import messages
from actors.supervisor.plan import Judgement, SupervisorRules, World, judge, phase_limits
from benchmarks.simulation.people import Plan, arrival, spells
from benchmarks.simulation.seat import Seat
from benchmarks.simulation.server import Server
from benchmarks.simulation.timeline import HOUR, Timeline
from cluster.settings import Settings
from cluster.wiring.node import actor_settings
from tests.fakes.pool_fakes import session_record

OPENS, NOON = 7 * HOUR, 12 * HOUR
LOOK_SECONDS = 600.0


class WorkingDay:
    """One day of a server and its people; every ten minutes the scanners look, and find nothing to do."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.timeline = Timeline(plan.seed)
        self.settings = actor_settings(Settings(pool_size=plan.warm), "node-1")
        self.server = Server(self.timeline, self.settings, plan.cores)
        self._suspects: dict[str, float] = {}
        self.seats = [Seat(f"u{number}") for number in range(plan.people)]
        for number, seat in enumerate(self.seats):
            self._invite(number, seat)
        self.timeline.at(OPENS, self.server.pool.refill)
        self.timeline.at(OPENS, self._look)
        self.timeline.at(NOON, self._many_die)
        self._schedule_death()

    def run(self, until: float) -> None:
        """Let everything happen up to that time of the day."""
        self.timeline.run(until)

    def _invite(self, number: int, seat: Seat) -> None:
        draw = self.timeline.random
        if draw.random() >= self.plan.new:
            seat.record = session_record(
                f"s-{seat.name}", user_id=seat.name, phase=SessionPhase.HIBERNATED
            )
        self._next(seat, spells(arrival(self.plan, number, draw), draw))

    def _next(self, seat: Seat, coming: Iterator[tuple[float, float]]) -> None:
        """Wait for somebody's next spell, some with the page closed; after the last they go home."""
        spell, draw = next(coming, None), self.timeline.random
        if spell is not None:
            self.timeline.at(spell[0], self._types, seat, spell[1], coming)
        if spell is None or draw.random() < self.plan.closing:
            self.server.attach(seat, attached=False)
        if spell is None and seat.record is not None and draw.random() < self.plan.ending:
            self.server.ask(seat, Cause.CALL, messages.EndRequested())

    def _types(self, seat: Seat, until: float, coming: Iterator[tuple[float, float]]) -> None:
        self.server.types(seat, until)
        self.timeline.at(until, self._next, seat, coming)

    def _many_die(self) -> None:
        alive = [seat for seat in self.seats if seat.container_id in self.server.containers]
        count = min(len(alive), self.plan.die_at_noon)
        for seat in self.timeline.random.sample(alive, count):
            self.server.dies(seat)

    def _schedule_death(self) -> None:
        draw, rate = self.timeline.random, self.plan.deaths_an_hour * len(self.seats) / HOUR
        self.timeline.at(self.timeline.now + draw.expovariate(rate), self._one_dies)

    def _one_dies(self) -> None:
        self.server.dies(self.timeline.random.choice(self.seats))
        self._schedule_death()

    # ---- the scanners ---------------------------------------------------------------------------

    @property
    def sessions(self) -> list[SessionRecord]:
        """The records of all sessions."""
        return [seat.record for seat in self.seats if seat.record is not None]

    def judge(self) -> Judgement:
        """Make the supervisor's pass."""
        now, settings = self.timeline.now, self.settings
        limits = phase_limits(launch_timeout=settings.launch_limit, stop_grace=settings.stop_grace)
        listed = {session_actor(actor_id) for actor_id in self.server.pool.alive}
        return judge(World(now, now, (), listed, self.sessions), SupervisorRules(limits))

    def sweep(self) -> Sweep:
        """Make the pool's pass."""
        server = self.server
        running = [
            record.handle
            for container_id, record in server.containers.items()
            if record.handle is not None and container_id not in server.dead
        ]
        sessions = {session.session_id: session for session in self.sessions}
        records = list(server.containers.values())
        facts = Facts(self.timeline.now, records, running, sessions, (), self._suspects)
        return plan_sweep(facts, server.pool.containers, server.pool.rules)

    def _look(self) -> None:
        judgement, sweep = self.judge(), self.sweep()
        validate_sweep(sweep, self.server.pool.containers)
        self._suspects = sweep.suspects
        assert not judgement.actions, judgement.actions
        assert not judgement.stuck, judgement.stuck
        assert not judgement.missing, judgement.missing
        assert not sweep.actions, sweep.actions
        self.timeline.at(self.timeline.now + LOOK_SECONDS, self._look)

    def validate_night(self) -> None:
        """Check what must hold once all have gone home and slept; raises AssertionError."""
        server = self.server
        phases = Counter(session.phase for session in self.sessions)
        assert set(phases) <= {SessionPhase.HIBERNATED}, phases
        assert server.bound.value == server.attached.value == server.pool.waiting.value == 0
        assert all(seat.held is None and not seat.wishes for seat in self.seats)
        slots = {slot.slot_id for slot in server.pool.actors}
        assert server.pool.alive == slots, "no actor is lost"
        warm = {slot.slot_id for slot in server.pool.containers}
        assert server.containers.keys() == warm, "no container is left"
        server.pool.actors.validate()
        server.pool.containers.validate()
