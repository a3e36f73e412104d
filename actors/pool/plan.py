"""Plans the warm pool's next actions: facts in, actions out. No Ray, no I/O, no clock.

Two pools, sized apart: actors without a session and containers without a user. Two plans:

* ``plan_refill`` looks at this process's slots only. It runs after every claim and every start.
* ``plan_sweep`` (``sweep_plan.py``) compares what the store says of this node's containers with what
  really runs and with the slots. It runs every few seconds and heals whatever an event missed.

Both reconcile levels, not edges: a plan that is lost, doubled, or carried out in part only means
that the next one is longer.

What is tolerated, and why it heals:

* More ready actors than wanted, by up to half the target and one: sessions that go to rest give
  their actor back, and the memory of an idle actor is cheaper than the processor time of a start.
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

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from actors.core.records.containers import ContainerHandle, ContainerStatus
from actors.pool.slots import SlotState, SlotTable


@dataclass(frozen=True, slots=True)
class PoolRules:
    """The numbers the plans work with; seconds unless named."""

    orphan_lease: float
    launch_timeout: float
    claim_quiet: float = 1.5
    refill_patience: float = 5.0
    max_stops: int = 8


class StopReason(StrEnum):
    """Reasons for which the pool ends a container."""

    UNHEALTHY = "unhealthy"
    VANISHED = "vanished"
    SURPLUS = "surplus"
    UNFINISHED_STOP = "unfinished_stop"
    ABANDONED_LAUNCH = "abandoned_launch"
    NO_RECORD = "no_record"
    NO_SESSION = "no_session"
    SUPERSEDED = "superseded"


class RetireReason(StrEnum):
    """Reasons for which the pool ends an actor."""

    SURPLUS = "surplus"
    UNRESPONSIVE = "unresponsive"
    DISOWNED = "disowned"


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
    delete_workspace: bool = False

    @property
    def container_id(self) -> str:
        """The container's id."""
        return self.handle.container_id


@dataclass(frozen=True, slots=True)
class ForgetContainer:
    """Remove the record of a container that never ran, with its unused workspace."""

    container_id: str
    workspace_id: str
    reason: StopReason
    expected: tuple[ContainerStatus, ...]
    delete_workspace: bool = False


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
    """The demand on the pool: claims waiting for an actor, and when claims came.

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


def strays(
    listed: Collection[str], owners: Collection[str], slots: SlotTable, elsewhere: Collection[str]
) -> list[str]:
    """Return the actors that live, own no session, are in no slot, and belong to no other pool."""
    return sorted(
        actor_id
        for actor_id in listed
        if actor_id not in owners and actor_id not in slots and actor_id not in elsewhere
    )
