"""Judges containers by probes and exits, and says what follows. Pure: no clock, no I/O.

A container's verdict moves like this; ``failures`` are probes in a row that did not answer well::

    UNKNOWN ──good──▶ HEALTHY ◀──recovery_successes good in a row──┐
       │                 │ probe_failures bad in a row             │
       └─────────────────┴──────────────────────────────────▶ UNHEALTHY
                any of them ──its process ended──▶ DEAD (for good)

A single bad probe changes nothing, and a single good one does not clear an unhealthy container: one
that answers every third probe would otherwise count as well.

What follows depends on whose it is, asked anew after each verdict, since it may have been claimed,
given back or replaced meanwhile:

* without a user: its record becomes LOST, and the pool replaces it;
* its session has an owner: the loss is reported to it, and it decides; again after ``report_interval``, as
  long as the container stays the session's;
* its session has an owner that is gone: the pool is asked to open the session, with the dead owner's
  name; the new owner finds the container's state by itself;
* its session is at rest: the pool is asked to open it, and the new owner replaces the container, so that
  whoever is attached or comes back finds a shell. A few at a time, those that somebody is attached to
  first, asked for again after ``report_interval``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from actors.core.records.containers import ContainerHandle, ContainerRecord, ContainerStatus, Health
from actors.core.records.sessions import SessionRecord

WATCHED = frozenset({ContainerStatus.WARM, ContainerStatus.READY})


@dataclass(frozen=True, slots=True)
class HealthRules:
    """The numbers of the verdicts; seconds unless named."""

    probe_interval: float
    probe_failures: int
    recovery_successes: int = 2
    recheck_interval: float = 2.0
    report_interval: float = 5.0
    jitter: float = 0.2


class LossReason(StrEnum):
    """Reasons for which a container counts as lost."""

    EXITED = "exited"
    UNRESPONSIVE = "unresponsive"


@dataclass(frozen=True, slots=True)
class Vitals:
    """One container's health as it is known. ``next_probe_at`` and ``reported_at`` are monotonic."""

    container_id: str
    health: Health = Health.UNKNOWN
    failures: int = 0
    successes: int = 0
    next_probe_at: float = 0.0
    reported_at: float | None = None
    exit_reason: str | None = None

    @property
    def lost(self) -> LossReason | None:
        """The reason for which the container counts as lost; None if it does not."""
        match self.health:
            case Health.DEAD:
                return LossReason.EXITED
            case Health.UNHEALTHY:
                return LossReason.UNRESPONSIVE
            case _:
                return None

    def describe(self) -> str:
        """Return the reason as text for people and records."""
        if self.health is Health.DEAD:
            return f"exited: {self.exit_reason}" if self.exit_reason else "exited"
        return f"{self.failures} probes in a row failed"


def exited(vitals: Vitals, reason: str) -> Vitals:
    """Note that the container's process has ended."""
    if vitals.health is Health.DEAD:
        return vitals
    return replace(vitals, health=Health.DEAD, exit_reason=reason, reported_at=None)


def probed(vitals: Vitals, result: Health, rules: HealthRules) -> Vitals:
    """Weigh one probe's result; UNKNOWN says nothing."""
    if vitals.health is Health.DEAD or result is Health.UNKNOWN:
        return vitals
    if result is Health.DEAD:
        return exited(vitals, "its process is gone")
    if result is Health.HEALTHY:
        successes = min(vitals.successes + 1, rules.recovery_successes)
        health = vitals.health
        if health is Health.UNKNOWN or successes >= rules.recovery_successes:
            health = Health.HEALTHY
        return replace(vitals, health=health, failures=0, successes=successes, reported_at=None)
    failures = vitals.failures + 1
    health = Health.UNHEALTHY if failures >= rules.probe_failures else vitals.health
    return replace(vitals, health=health, failures=failures, successes=0)


def scheduled(vitals: Vitals, now: float, rules: HealthRules, chance: float) -> Vitals:
    """Set the next probe about ``probe_interval`` ahead; ``chance`` in [0, 1) spreads the probes.

    One that is not well is probed again after ``recheck_interval`` if that is sooner: a container that
    does nothing costs little, and one that hangs is known soon after its first bad probe.
    """
    spread = 1.0 + rules.jitter * (2.0 * chance - 1.0)
    well = vitals.health is Health.HEALTHY and vitals.failures == 0
    interval = rules.probe_interval if well else min(rules.recheck_interval, rules.probe_interval)
    return replace(vitals, next_probe_at=now + interval * spread)


def is_due(vitals: Vitals, now: float) -> bool:
    """Return whether the container should be probed; dead ones never are."""
    return vitals.health is not Health.DEAD and now >= vitals.next_probe_at


@dataclass(frozen=True, slots=True)
class MarkLost:
    """Make a warm container's record LOST, if its status still is ``expected``; the pool should look."""

    container_id: str
    expected: ContainerStatus
    health: Health
    reason: str


@dataclass(frozen=True, slots=True)
class ReportLoss:
    """Report to the session's owner that its container is lost."""

    container_id: str
    session_id: str
    actor_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revive:
    """Have a session at rest opened, whose new owner finds its container lost and replaces it."""

    container_id: str
    session_id: str
    reason: str
    exited: bool


@dataclass(frozen=True, slots=True)
class MarkHealth:
    """Write the verdict beside an unchanged status, for operators."""

    container_id: str
    expected: ContainerStatus
    health: Health


HealthAction = MarkLost | ReportLoss | Revive | MarkHealth


def decide(
    vitals: Vitals,
    record: ContainerRecord,
    session: SessionRecord | None,
    rules: HealthRules,
    now: float,
) -> HealthAction | None:
    """Return what the verdict asks for; ``session`` is the one that the record names, if there is one.

    A container that its session no longer has is nobody's concern here: the pool's sweep ends it.
    """
    if record.status not in WATCHED:
        return None
    if vitals.lost is not None:
        return _decide_lost(vitals, record, session, rules, now)
    if vitals.health not in {Health.UNKNOWN, record.health}:
        return MarkHealth(record.container_id, record.status, vitals.health)
    return None


def _decide_lost(
    vitals: Vitals,
    record: ContainerRecord,
    session: SessionRecord | None,
    rules: HealthRules,
    now: float,
) -> HealthAction | None:
    container_id, reason = record.container_id, vitals.describe()
    if record.session_id is None:
        return MarkLost(container_id, record.status, vitals.health, reason)
    if session is None or session.container_id != container_id:
        return None
    if vitals.reported_at is not None and now - vitals.reported_at < rules.report_interval:
        return None
    if session.owner_actor_id is None:
        exited = vitals.lost is LossReason.EXITED
        return Revive(container_id, session.session_id, reason, exited)
    return ReportLoss(container_id, session.session_id, session.owner_actor_id, reason)


def reported(vitals: Vitals, now: float) -> Vitals:
    """Note that the loss was reported to the owner."""
    return replace(vitals, reported_at=now)


def watchable(record: ContainerRecord) -> ContainerHandle | None:
    """Return the handle of a container that should be watched and probed, or None."""
    return record.handle if record.status in WATCHED else None
