"""Plans what a node's containers need, from everything known of them. No Ray, no I/O, no clock.

The slow half of the pool's reconciliation (``plan.py`` has the theory): every container record and
every running container either has its place or gets an action.

============================ =================================================
a container without a user   action
============================ =================================================
warm, runs, has a slot       none
warm, runs, no slot          adopted (this process is new)
warm, does not run           ended: VANISHED
lost or failed               ended: UNHEALTHY
stopping, nobody stops it    ended: UNFINISHED_STOP
starting, nobody starts it   ended after the lease: ABANDONED_LAUNCH
============================ =================================================

One with a user belongs to its session's actor; it is ended here only if its session is over
(NO_SESSION) or has another container or none (SUPERSEDED), and one without any record (NO_RECORD),
each after the lease.

Workspaces are never judged by what the store does not say: under another tenant or an empty store
that would be all of them. Only what the end of a session has noted as left is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from actors.core.records.containers import ContainerHandle, ContainerRecord, ContainerStatus
from actors.core.records.sessions import SessionPhase, SessionRecord
from actors.pool.plan import (
    Action,
    AdoptContainer,
    DropSlot,
    ForgetContainer,
    PoolRules,
    StopContainer,
    StopReason,
)
from actors.pool.slots import SlotState, SlotTable

STARTING_STATUSES = frozenset({ContainerStatus.PENDING, ContainerStatus.STARTING})
LIVE_STATUSES = frozenset({ContainerStatus.STARTING, ContainerStatus.WARM, ContainerStatus.READY})
LOST_STATUSES = frozenset({ContainerStatus.LOST, ContainerStatus.FAILED})


@dataclass(frozen=True, slots=True)
class Facts:
    """A node as the store and the runtime see it; ``now`` is when the first of it was asked for.

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
        """The number of running containers that nothing explains at this moment."""
        return len(self.suspects)


def plan_sweep(facts: Facts, containers: SlotTable, rules: PoolRules) -> Sweep:
    """Compare records, running containers and slots."""
    sweeper = _Sweeper(facts, containers, rules)
    sweeper.judge_records()
    sweeper.judge_unknown()
    sweeper.drop_unrecorded_slots()
    sweeper.stop_surplus()
    return Sweep(_bounded(sweeper.actions, rules.max_stops), sweeper.suspects)


def plan_removals(
    left: Mapping[str, float], facts: Facts, rules: PoolRules, now: float
) -> list[str]:
    """Return the workspaces that ended sessions left and that may be removed now.

    ``left`` has when each session ended, on the clock of ``now``. A container of such a session
    that runs, or is recorded, is ended first; and a launch that was under way at the session's end
    makes the directory anew, so nothing is removed before that must be over, too.
    """
    used = {record.workspace_id for record in facts.records}
    used |= {handle.workspace_id for handle in facts.running}
    used |= {session.workspace_id for session in facts.sessions.values()}
    lease = max(rules.orphan_lease, 1.5 * rules.launch_timeout)
    due = [w for w, ended in left.items() if w not in used and now - ended >= lease]
    return sorted(due)[: rules.max_stops]


class _Sweeper:
    """One sweep under way: the facts, and what was found so far."""

    def __init__(self, facts: Facts, containers: SlotTable, rules: PoolRules) -> None:
        self.facts = facts
        self.containers = containers
        self.rules = rules
        self.records = {record.container_id: record for record in facts.records}
        self.running = {handle.container_id: handle for handle in facts.running}
        self.actions: list[Action] = []
        self.suspects: dict[str, float] = {}

    def judge_records(self) -> None:
        """Give every record its place or its end."""
        for container_id, record in self.records.items():
            if container_id in self.facts.busy:
                continue
            handle = self.running.get(container_id)
            reason = _judge(record, handle, self.facts.sessions)
            if reason is None:
                self._place(record, handle)
            elif reason not in _AFTER_LEASE or self._lease_is_over(container_id, record):
                self._end(record, handle, reason)

    def judge_unknown(self) -> None:
        """End running containers that no record explains for the whole lease."""
        for container_id, handle in self.running.items():
            if container_id in self.records or container_id in self.facts.busy:
                continue
            if self._lease_is_over(container_id, None):
                self.actions.append(StopContainer(handle, StopReason.NO_RECORD, ()))

    def drop_unrecorded_slots(self) -> None:
        """Forget slots whose record is gone."""
        for slot in self.containers:
            known = slot.slot_id in self.records or slot.slot_id in self.facts.busy
            if slot.state is SlotState.READY and not known:
                self.actions.append(DropSlot(slot.slot_id))

    def stop_surplus(self) -> None:
        """End the newest ready containers beyond the target."""
        leaving = {a.container_id for a in self.actions if isinstance(a, DropSlot)}
        adopted = sum(isinstance(action, AdoptContainer) for action in self.actions)
        staying = [
            record
            for slot in self.containers.newest_ready(self.containers.count(SlotState.READY))
            if slot.slot_id not in leaving
            and slot.slot_id not in self.facts.busy
            and (record := self.records.get(slot.slot_id)) is not None
        ]
        surplus = len(staying) + adopted - self.containers.target
        for record in staying[: max(0, surplus)]:
            self._end(record, self.running.get(record.container_id), StopReason.SURPLUS)

    def _place(self, record: ContainerRecord, handle: ContainerHandle | None) -> None:
        slot = self.containers.get(record.container_id)
        if record.session_id is None and handle is not None and slot is None:
            self.actions.append(AdoptContainer(record.handle or handle))
        elif record.session_id is not None and slot and slot.state is SlotState.READY:
            self.actions.append(DropSlot(record.container_id))

    def _lease_is_over(self, container_id: str, record: ContainerRecord | None) -> bool:
        since = self.facts.suspects.get(container_id, self.facts.now)
        self.suspects[container_id] = since
        lease = self.rules.orphan_lease
        if record is not None and record.status in STARTING_STATUSES:
            lease = max(lease, 1.5 * self.rules.launch_timeout)
        return self.facts.now - since >= lease

    def _end(
        self, record: ContainerRecord, handle: ContainerHandle | None, reason: StopReason
    ) -> None:
        container_id = record.container_id
        slot = self.containers.get(container_id)
        if slot is not None:
            if slot.state is not SlotState.READY:
                return  # a claim has it at this moment; the store decides who wins
            self.actions.append(DropSlot(container_id))
        unused = record.session_id is None and record.user_id is None
        found = handle or record.handle
        if found is None:
            self.actions.append(
                ForgetContainer(container_id, record.workspace_id, reason, (record.status,), unused)
            )
        else:
            self.actions.append(StopContainer(found, reason, (record.status,), unused))


_AFTER_LEASE = frozenset(
    {StopReason.ABANDONED_LAUNCH, StopReason.NO_SESSION, StopReason.SUPERSEDED}
)


def _judge(
    record: ContainerRecord,
    handle: ContainerHandle | None,
    sessions: Mapping[str, SessionRecord],
) -> StopReason | None:
    """Return the reason for which a container must go, or None if it has its place."""
    if record.session_id is None:
        return _judge_unused(record, handle)
    session = sessions.get(record.session_id)
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
