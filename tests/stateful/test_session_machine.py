"""A session's machine under any order of events, lateness, failure and time.

The rules play the world: they answer the work that was asked for, well or badly, late or never, and
let people ask for things. After every step the machine validates itself, and two more things hold: the
commands make sense as a whole, and from where it is now success and time alone bring it to rest.
"""

from __future__ import annotations

from collections import deque
from copy import copy

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.core.records.sessions import SessionPhase
from actors.session.machine import SessionMachine
from actors.session.messages import (
    Abandon,
    Adopt,
    AdoptFailed,
    Bound,
    Called,
    ContainerLost,
    ContainerReady,
    Discard,
    Ended,
    EndRequested,
    EndSession,
    Event,
    FencedOff,
    HibernateRequested,
    Launch,
    LaunchFailed,
    Passivate,
    Passivated,
    Release,
    ResumeRequested,
    Save,
    Stop,
    Stopped,
    Tick,
    Watch,
    WorkFailed,
)
from actors.session.state import RESTING, SessionRules, Work
from tests.fakes.pool_fakes import handle

RULES = SessionRules(
    adopt_timeout=10.0,
    launch_timeout=20.0,
    stop_timeout=10.0,
    end_timeout=30.0,
    passivate_timeout=5.0,
    rest_after=60.0,
    max_launches=3,
    max_short_lives=3,
)
WORK = (Adopt, Launch, Stop, EndSession, Passivate)
Asked = Adopt | Launch | Stop | EndSession | Passivate


def jitter() -> float:
    return 0.5


def twin(machine: SessionMachine) -> SessionMachine:
    """Return a machine that goes on from here by itself; cheaper than a deep copy."""
    other = copy(machine)
    other._history = deque(machine._history, maxlen=machine._history.maxlen)
    return other


def good_answer(asked: Asked, epoch: int, container_id: str) -> Event:
    """Return the world's answer when all goes well."""
    match asked:
        case Adopt():
            return ContainerReady(asked.work, handle(asked.container_id), epoch)
        case Launch():
            return ContainerReady(asked.work, handle(container_id), epoch + 1)
        case Stop():
            return Stopped(asked.work)
        case EndSession():
            return Ended(asked.work)
        case Passivate():
            return Passivated(asked.work)


def bad_answer(asked: Asked, *, dead: bool) -> Event:
    """Return the world's answer when it goes wrong."""
    match asked:
        case Adopt():
            return AdoptFailed(asked.work, "bad", dead)
        case Launch():
            return LaunchFailed(asked.work, "bad")
        case _:
            return WorkFailed(asked.work, "bad")


class SessionWorld(RuleBasedStateMachine):
    """Drives one machine; ``asked`` is the work under way, ``late`` work that was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = SessionMachine(RULES, jitter)
        self.now = 0.0
        self.asked: Asked | None = None
        self.late: list[Asked] = []
        self.launched = 0
        self.epochs: list[int] = []
        self.discarded: set[str] = set()

    def do(self, event: Event) -> None:
        before = self.machine.container_id
        record = self.machine.persistent()
        commands = self.machine.step(event, self.now)
        if self.machine.persistent() != record and not isinstance(event, Bound):
            assert Save() in commands, "what the record says has changed, and is not saved"
        launches = sum(isinstance(command, Launch | Adopt) for command in commands)
        assert launches <= 1, "one container is brought up at a time"
        for command in commands:
            letting_go = isinstance(commands[-1], Release)
            assert not (letting_go and isinstance(command, WORK)), "nothing is begun on the way out"
            match command:
                case Adopt() | Launch() | Stop() | EndSession() | Passivate():
                    assert self.asked is None, f"{command} beside {self.asked}"
                    self.asked = command
                case Abandon(work):
                    assert self.asked is not None
                    assert self.asked.work == work
                    self.late.append(self.asked)
                    self.asked = None
                case Discard(container_id):
                    assert container_id != self.machine.container_id, "the current one is kept"
                    assert not isinstance(event, FencedOff), "it belongs to somebody newer"
                    self.discarded.add(container_id)
                case Watch(watched):
                    assert watched.container_id == self.machine.container_id
                case _:
                    pass
            if isinstance(command, Stop | EndSession) and command.container_id is not None:
                assert command.container_id == before or isinstance(event, Bound)
                assert self.machine.phase in {SessionPhase.HIBERNATING, SessionPhase.ENDING}
        self.epochs.append(self.machine.epoch)

    @initialize(
        phase=st.sampled_from(SessionPhase),
        container=st.booleans(),
        epoch=st.integers(1, 9),
        ready_for=st.sampled_from([None, 0.0, 4.0, 100.0]),
        short_lives=st.integers(0, 4),
        rest_after=st.sampled_from([None, 0.0, 300.0]),
    )
    def bind(
        self,
        phase: SessionPhase,
        container: bool,
        epoch: int,
        ready_for: float | None,
        short_lives: int,
        rest_after: float | None,
    ) -> None:
        self.do(
            Bound(
                phase,
                epoch,
                "c0" if container else None,
                ready_for=ready_for,
                short_lives=short_lives,
                rest_after=rest_after,
            )
        )

    def answer(self, event: Event) -> None:
        self.asked = None
        self.do(event)

    @precondition(lambda self: self.asked is not None)
    @rule()
    def work_succeeds(self) -> None:
        assert self.asked is not None
        self.launched += 1
        self.answer(good_answer(self.asked, self.machine.epoch, f"c{self.launched}"))

    @precondition(lambda self: self.asked is not None)
    @rule(dead=st.booleans())
    def work_fails(self, dead: bool) -> None:
        assert self.asked is not None
        self.answer(bad_answer(self.asked, dead=dead))

    @precondition(lambda self: self.late)
    @rule(data=st.data(), well=st.booleans())
    def late_answer_comes(self, data: st.DataObject, well: bool) -> None:
        late = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        state = (self.machine.phase, self.machine.work, self.machine.container_id)
        self.launched += 1
        container_id = f"c{self.launched}"
        self.do(
            good_answer(late, self.machine.epoch, container_id)
            if well
            else bad_answer(late, dead=True)
        )
        assert state == (self.machine.phase, self.machine.work, self.machine.container_id)
        fenced = self.machine.released is not None and self.machine.released.value == "fenced"
        if well and isinstance(late, Launch) and not fenced:
            assert container_id in self.discarded, "nobody else would stop it"

    @rule(which=st.integers(0, 20), current=st.booleans())
    def container_is_lost(self, which: int, current: bool) -> None:
        container_id = self.machine.container_id if current else f"c{which}"
        if container_id is not None:
            self.do(ContainerLost(container_id, "killed"))

    @rule(
        wish=st.sampled_from([HibernateRequested(), ResumeRequested(), EndRequested(), Called()]),
        often=st.integers(1, 2),
    )
    def somebody_asks(self, wish: Event, often: int) -> None:
        for _ in range(often):
            self.do(wish)

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(Tick())

    @precondition(lambda self: self.machine.deadline is not None)
    @rule()
    def the_deadline_comes(self) -> None:
        assert self.machine.deadline is not None
        self.now = max(self.now, self.machine.deadline)
        self.do(Tick())

    @rule(luck=st.integers(0, 30))
    def somebody_newer_takes_over(self, luck: int) -> None:
        if luck == 0:
            self.do(FencedOff(self.machine.epoch + 1))

    @invariant()
    def the_machine_is_valid(self) -> None:
        self.machine.validate()

    @invariant()
    def epochs_only_rise(self) -> None:
        assert self.epochs == sorted(self.epochs)

    @invariant()
    def the_machine_knows_what_is_under_way(self) -> None:
        waiting = self.machine.work not in {Work.NONE, Work.BACKOFF}
        assert waiting == (self.asked is not None)

    @invariant()
    def success_and_time_alone_bring_it_to_rest(self) -> None:
        if not self.machine.history:
            return
        machine, asked, now = twin(self.machine), self.asked, self.now
        for step in range(10):
            if machine.released is not None or (machine.phase in RESTING and asked is None):
                return
            event: Event
            if asked is not None:
                event = good_answer(asked, machine.epoch, f"rest{step}")
            else:
                assert machine.deadline is not None
                now = max(now, machine.deadline)
                event = Tick()
            found = [c for c in machine.step(event, now) if isinstance(c, WORK)]
            asked = found[0] if found else None
        raise AssertionError(f"stuck in {machine.phase}/{machine.work}: {machine.history}")

    @invariant()
    def silence_brings_it_to_rest_too(self) -> None:
        """Nothing ever answers: time limits alone end every piece of work that has an end."""
        if not self.machine.history:
            return
        machine, now = twin(self.machine), self.now
        for _ in range(30):
            ending = machine.phase in {SessionPhase.ENDING, SessionPhase.HIBERNATING}
            if machine.released is not None or machine.phase in RESTING or ending:
                return
            assert machine.deadline is not None
            now = max(now, machine.deadline)
            machine.step(Tick(), now)
        raise AssertionError(f"stuck in {machine.phase}/{machine.work}: {machine.history}")


SessionWorld.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestSessionWorld = SessionWorld.TestCase
