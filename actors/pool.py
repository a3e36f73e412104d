"""What the warm pool does next: facts in, actions out. No Ray, no I/O, no clock.

Two pools, sized apart: actors without a session and containers without a user. Two plans:

* ``plan_refill`` looks at this process's slots only. It runs after every claim and every start.
* ``plan_sweep`` compares what the store says of this node's containers with what really runs
  and with the slots. It runs every few seconds and heals whatever an event missed.

Both reconcile levels, not edges: a plan that is lost, doubled, or carried out in part only means
that the next one is longer.

What is tolerated, and why it heals:

* More ready actors than wanted, by up to half the target and one: sessions that passivate give
  their actor back, and an idle actor (50 MB) is cheaper than the start of another (1.9 CPU-seconds).
  Claims use them up without a refill; beyond that the newest are retired.
* More ready containers than wanted, for as long as a stop takes: after the target was lowered, or
  when a claim ended without using its slot. The newest are stopped, never reserved ones, and the
  store's transaction decides between the stop and a claim.
* A refill that waits: while claims come, and for ``claim_quiet`` after the last, starting processes
  would take the processors from people who are logging in. ``refill_patience`` bounds the wait.
* A container that no record explains: it may be one that is being launched or handed over at this
  moment. Only what stays unexplained for ``orphan_lease`` is stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from actors.pool_slots import Slot, SlotState, SlotTable
from actors.records import (
    ContainerHandle,
    ContainerRecord,
    ContainerStatus,
    SessionPhase,
    SessionRecord,
)

STARTING_STATUSES = frozenset({ContainerStatus.PENDING, ContainerStatus.STARTING})
LOST_STATUSES = frozenset({ContainerStatus.LOST, ContainerStatus.FAILED})


@dataclass(frozen=True, slots=True)
class PoolRules:
    """The numbers the plans work with; seconds unless named."""

    orphan_lease: float
    launch_timeout: float
    claim_quiet: float = 0.5
    refill_patience: float = 5.0
    max_stops: int = 8


class StopReason(StrEnum):
    """Why the pool ends a container."""

    UNHEALTHY = "unhealthy"
    VANISHED = "vanished"
    SURPLUS = "surplus"
    UNFINISHED_STOP = "unfinished_stop"
    ABANDONED_LAUNCH = "abandoned_launch"
    NO_RECORD = "no_record"
    NO_SESSION = "no_session"
    SUPERSEDED = "superseded"


class RetireReason(StrEnum):
    """Why the pool ends an actor."""

    SURPLUS = "surplus"
    UNRESPONSIVE = "unresponsive"


@dataclass(frozen=True, slots=True)
class StartActor:
    """Start one more warm actor."""


@dataclass(frozen=True, slots=True)
class LaunchContainer:
    """Launch one more warm container."""


@dataclass(frozen=True, slots=True)
class RetireActor:
    """End a warm actor's process for good."""

    actor_id: str
    reason: RetireReason


@dataclass(frozen=True, slots=True)
class StopContainer:
    """End a running container, then forget it.

    ``expected`` are the statuses from which its record may be moved to STOPPING (none: there is no
    record); in any other it was claimed meanwhile and stays. ``delete_workspace`` is set only for
    a directory that never had a user.
    """

    handle: ContainerHandle
    reason: StopReason
    expected: tuple[ContainerStatus, ...]
    delete_workspace: bool

    @property
    def container_id(self) -> str:
        """Which container."""
        return self.handle.container_id


@dataclass(frozen=True, slots=True)
class ForgetContainer:
    """Remove the record of a container that never ran, with its unused workspace."""

    container_id: str
    workspace_id: str
    reason: StopReason
    expected: tuple[ContainerStatus, ...]
    delete_workspace: bool


@dataclass(frozen=True, slots=True)
class AdoptContainer:
    """Take a warm container that the store knows and this process does not into the pool."""

    handle: ContainerHandle


@dataclass(frozen=True, slots=True)
class DropSlot:
    """Forget a container's slot: the store says that it has a user or is gone."""

    container_id: str


Action = (
    StartActor
    | LaunchContainer
    | RetireActor
    | StopContainer
    | ForgetContainer
    | AdoptContainer
    | DropSlot
)


@dataclass(frozen=True, slots=True)
class Demand:
    """How much is being asked of the pool: claims waiting for an actor, and when claims came.

    ``last_claim_at`` and ``short_since`` (when the pool fell below its target) are on the clock of
    ``now``; None: never, or not short.
    """

    waiting: int = 0
    last_claim_at: float | None = None
    short_since: float | None = None


def plan_refill(
    actors: SlotTable, containers: SlotTable, demand: Demand, rules: PoolRules, now: float
) -> list[Action]:
    """Return the starts that may begin now, and the actors that are too many."""
    starts = _starts(actors, demand, rules, now, waiting=demand.waiting)
    launches = _starts(containers, demand, rules, now, waiting=0)
    surplus = actors.count(SlotState.READY) - actors.target - tolerated_surplus(actors.target)
    return [
        *[StartActor()] * starts,
        *[LaunchContainer()] * launches,
        *(
            RetireActor(slot.slot_id, RetireReason.SURPLUS)
            for slot in actors.newest_ready(0 if demand.waiting else surplus)
        ),
    ]


def tolerated_surplus(target: int) -> int:
    """Return how many ready actors beyond the target are kept for the next sessions."""
    return (target + 1) // 2


def _starts(slots: SlotTable, demand: Demand, rules: PoolRules, now: float, *, waiting: int) -> int:
    ready, starting = slots.count(SlotState.READY), slots.count(SlotState.STARTING)
    missing = slots.target + waiting - ready - starting
    free = slots.max_starting - starting
    if missing <= 0 or free <= 0 or slots.backoff.remaining(now) > 0:
        return 0
    if not waiting and _should_wait(demand, rules, now):
        return 0
    return min(missing, free)


def _should_wait(demand: Demand, rules: PoolRules, now: float) -> bool:
    if demand.last_claim_at is None or now - demand.last_claim_at >= rules.claim_quiet:
        return False
    return demand.short_since is None or now - demand.short_since < rules.refill_patience


def quiet_in(demand: Demand, rules: PoolRules, now: float) -> float:
    """Return the seconds until a refill that waits for quiet should be thought of again."""
    if demand.last_claim_at is None:
        return 0.0
    return max(0.0, demand.last_claim_at + rules.claim_quiet - now)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store and the runtime say of this node; ``now`` is when the first of it was asked for.

    Taken in the order of the fields, so that a warm container whose record was seen runs when the
    list of running ones is taken, and a session that a record names is seen when sessions are.
    ``sessions`` holds every session that has not ended. ``busy`` are the containers that this process
    launched, claimed or stopped while facts were taken. ``suspects`` is what the last sweep returned.
    """

    now: float
    records: Sequence[ContainerRecord]
    running: Sequence[ContainerHandle]
    sessions: Mapping[str, SessionRecord]
    busy: Collection[str] = ()
    suspects: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The plan of a sweep, and the unexplained containers with the time since when they are so."""

    actions: list[Action]
    suspects: dict[str, float]

    @property
    def orphans(self) -> int:
        """How many running containers nothing explains at this moment."""
        return len(self.suspects)


def plan_sweep(facts: Facts, containers: SlotTable, rules: PoolRules) -> Sweep:
    """Compare records, running containers and slots; see the module for what is tolerated."""
    running = {handle.container_id: handle for handle in facts.running}
    records = {record.container_id: record for record in facts.records}
    suspects: dict[str, float] = {}
    actions: list[Action] = []
    for container_id, record in records.items():
        if container_id not in facts.busy:
            slot, handle = containers.get(container_id), running.get(container_id)
            actions.extend(_reconcile(record, handle, slot, facts, rules, suspects))
    for container_id, handle in running.items():
        if container_id not in records and container_id not in facts.busy:
            suspects[container_id] = since = facts.suspects.get(container_id, facts.now)
            if facts.now - since >= rules.orphan_lease:
                actions.append(StopContainer(handle, StopReason.NO_RECORD, (), False))
    actions.extend(
        DropSlot(slot.slot_id)
        for slot in containers
        if slot.state is SlotState.READY
        and slot.slot_id not in records
        and slot.slot_id not in facts.busy
    )
    actions.extend(_surplus(containers, records, actions, facts.busy))
    return Sweep(_bounded(actions, rules.max_stops), suspects)


def _reconcile(
    record: ContainerRecord,
    handle: ContainerHandle | None,
    slot: Slot | None,
    facts: Facts,
    rules: PoolRules,
    suspects: dict[str, float],
) -> list[Action]:
    """Return what one record asks for; notes in ``suspects`` since when it is unexplained."""
    container_id = record.container_id
    reason = _judge(record, handle, facts)
    if reason is None:
        if record.session_id is None and handle is not None and slot is None:
            return [AdoptContainer(record.handle or handle)]
        if record.session_id is not None and slot is not None and slot.state is SlotState.READY:
            return [DropSlot(container_id)]
        return []
    if reason in _AFTER_LEASE:
        suspects[container_id] = since = facts.suspects.get(container_id, facts.now)
        if facts.now - since < _lease(record, rules):
            return []
    if slot is None:
        return [_ending(record, handle, reason)]
    if slot.state is SlotState.READY:
        return [DropSlot(container_id), _ending(record, handle, reason)]
    return []


_AFTER_LEASE = frozenset(
    {StopReason.ABANDONED_LAUNCH, StopReason.NO_SESSION, StopReason.SUPERSEDED}
)


def _judge(
    record: ContainerRecord, handle: ContainerHandle | None, facts: Facts
) -> StopReason | None:
    """Say why a container must go, or None if it has its place."""
    if record.session_id is None:
        return _judge_unused(record, handle)
    session = facts.sessions.get(record.session_id)
    if session is None:
        return StopReason.NO_SESSION
    if session.container_id != record.container_id:
        return StopReason.SUPERSEDED
    if session.phase is SessionPhase.HIBERNATED and handle is not None:
        return StopReason.SUPERSEDED
    return None


def _judge_unused(record: ContainerRecord, handle: ContainerHandle | None) -> StopReason | None:
    if record.status in LOST_STATUSES:
        return StopReason.UNHEALTHY
    if record.status is ContainerStatus.STOPPING:
        return StopReason.UNFINISHED_STOP
    if record.status is ContainerStatus.WARM:
        return None if handle is not None else StopReason.VANISHED
    return StopReason.ABANDONED_LAUNCH


def _lease(record: ContainerRecord, rules: PoolRules) -> float:
    if record.status in STARTING_STATUSES:
        return max(rules.orphan_lease, 1.5 * rules.launch_timeout)
    return rules.orphan_lease


def _ending(
    record: ContainerRecord, handle: ContainerHandle | None, reason: StopReason
) -> StopContainer | ForgetContainer:
    unused = record.session_id is None and record.user_id is None
    found = handle or record.handle
    if found is None:
        return ForgetContainer(
            record.container_id, record.workspace_id, reason, (record.status,), unused
        )
    return StopContainer(found, reason, (record.status,), unused)


def _surplus(
    containers: SlotTable,
    records: Mapping[str, ContainerRecord],
    planned: Sequence[Action],
    busy: Collection[str],
) -> list[Action]:
    leaving = {action.container_id for action in planned if isinstance(action, DropSlot)}
    adopted = [action.handle for action in planned if isinstance(action, AdoptContainer)]
    staying = [
        slot
        for slot in containers.newest_ready(containers.count(SlotState.READY))
        if slot.slot_id not in leaving and slot.slot_id in records and slot.slot_id not in busy
    ]
    surplus = len(staying) + len(adopted) - containers.target
    actions: list[Action] = []
    for slot in staying[: max(0, surplus)]:
        record = records[slot.slot_id]
        handle = record.handle or slot.payload
        if record.status is ContainerStatus.WARM and isinstance(handle, ContainerHandle):
            actions.append(DropSlot(slot.slot_id))
            actions.append(StopContainer(handle, StopReason.SURPLUS, (ContainerStatus.WARM,), True))
    return actions


def _bounded(actions: Sequence[Action], max_stops: int) -> list[Action]:
    """Keep at most ``max_stops`` endings; what is cut comes again with the next sweep."""
    kept: list[Action] = []
    stops = 0
    for action in actions:
        if isinstance(action, StopContainer | ForgetContainer):
            stops += 1
            if stops > max_stops:
                continue
        kept.append(action)
    return kept


def strays(
    listed: Collection[str], owners: Collection[str], slots: SlotTable, elsewhere: Collection[str]
) -> list[str]:
    """Return the actors that live, own no session, are in no slot, and belong to no other pool."""
    return sorted(
        actor_id
        for actor_id in listed
        if actor_id not in owners and actor_id not in slots and actor_id not in elsewhere
    )


def validate_sweep(sweep: Sweep, containers: SlotTable) -> None:
    """Check what must hold of any sweep; raises AssertionError."""
    ending = [
        a.container_id for a in sweep.actions if isinstance(a, StopContainer | ForgetContainer)
    ]
    adopted = {a.handle.container_id for a in sweep.actions if isinstance(a, AdoptContainer)}
    assert len(ending) == len(set(ending)), "nothing is ended twice"
    assert not adopted & set(ending), "nothing is adopted and ended"
    for container_id in ending:
        slot = containers.get(container_id)
        assert slot is None or slot.state is SlotState.READY, "a slot in use is never ended"
