"""Activity of containers, and why a session is awake."""

from __future__ import annotations

from typing import Any

from actors.core.records.base import Frozen, Record


class Activity(Frozen):
    """CODI's report on its container at ``at`` (its own clock). Ages are seconds; None: never.

    ``cpu_seconds`` is what all programs have used so far; ``busy`` how many calls are being answered;
    ``unread`` how many typed bytes no program has read.
    """

    at: float = 0.0
    input_age: float | None = None
    output_age: float | None = None
    cpu_seconds: float = 0.0
    busy: int = 0
    unread: int = 0
    listeners: int = 0


class Quiet(Frozen):
    """Conditions in the moment in which a container is closed for sleep.

    No input after ``since`` (CODI's clock), and since then at most ``cpu_share`` of a processor beyond
    the ``cpu_seconds`` that its programs had used.
    """

    since: float
    cpu_seconds: float
    cpu_share: float


class Idleness(Record):
    """``(tenant, "idleness", session_id)``: why a session is awake, or when it will sleep.

    ``signals`` are what was seen at last; ``awake_because`` are the same when they weigh enough.
    ``sleeps_at``, when it would sleep without a veto, is None while a session is awake. The owner's veto
    ends at ``keep_awake_until``. Times are Unix seconds.
    """

    session_id: str
    awake_because: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    sleeps_at: float | None = None
    keep_awake_until: float | None = None
    updated_at: float = 0.0

    @property
    def event(self) -> dict[str, Any]:
        """The data of the event ``idle``."""
        return self.model_dump(
            mode="json", exclude={"schema_version", "session_id", "updated_at"}
        ) | {"sleeps_at": self.due_at}

    @property
    def due_at(self) -> float | None:
        """The time at which it will sleep if nothing more happens; None while it is awake."""
        if self.sleeps_at is None:
            return None
        return max(self.sleeps_at, self.keep_awake_until or 0.0)
