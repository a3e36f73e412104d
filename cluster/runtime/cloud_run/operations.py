"""Reads what Cloud Run says of a resource or a call that failed. Pure.

Creating is a long-running operation and its call has a time limit: it may have been begun though the call
failed. So nothing is concluded from a call that failed this way (``UNKNOWN``): the resource's own state is
asked for, by the name that was noted before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """Where a resource is in its life."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


class Outcome(StrEnum):
    """What a call that failed means."""

    EXHAUSTED = "exhausted"
    EXISTS = "exists"
    MISSING = "missing"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"
    REFUSED = "refused"


TRANSIENT = frozenset({Outcome.UNKNOWN, Outcome.EXHAUSTED, Outcome.CONFLICT})
"""What may be otherwise a moment later."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A service or an instance as Cloud Run has it; ``reason`` says why it is not ready."""

    resource: str
    phase: Phase
    uri: str = ""
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


_CODES = {
    "RESOURCE_EXHAUSTED": Outcome.EXHAUSTED,
    "ALREADY_EXISTS": Outcome.EXISTS,
    "NOT_FOUND": Outcome.MISSING,
    "ABORTED": Outcome.CONFLICT,
    "FAILED_PRECONDITION": Outcome.CONFLICT,
    "DEADLINE_EXCEEDED": Outcome.UNKNOWN,
    "UNAVAILABLE": Outcome.UNKNOWN,
    "INTERNAL": Outcome.UNKNOWN,
    "UNKNOWN": Outcome.UNKNOWN,
    "CANCELLED": Outcome.UNKNOWN,
}


def outcome(code: str) -> Outcome:
    """Return what a gRPC status means."""
    return _CODES.get(code, Outcome.REFUSED)


def phase(condition: str, uri: str, *, deleting: bool, reconciling: bool) -> Phase:
    """Return the phase of a resource whose terminal condition has that state."""
    if deleting:
        return Phase.DELETING
    if condition == "CONDITION_FAILED":
        return Phase.FAILED
    if condition == "CONDITION_SUCCEEDED" and uri and not reconciling:
        return Phase.READY
    return Phase.PENDING
