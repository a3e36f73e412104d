"""What the simulation knows of one user: their session, its container, and its owner if it has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from actors.core.lease import Lease
from actors.core.records.sessions import SessionRecord
from actors.health.verdict import Vitals
from actors.idleness.rules import Watch
from actors.pool.claims import FLAPPING_SECONDS
from actors.session.machine import SessionMachine


@dataclass(slots=True, eq=False)
class Held:
    """One activation: an actor that holds a session. ``due`` is the machine's next tick."""

    actor_id: str
    machine: SessionMachine
    lease: Lease
    due: float | None = None


@dataclass(slots=True, eq=False)
class Seat:
    """A user's session, with whoever is attached, its container's health and idleness, and its owner.

    ``wishes`` wait for an owner that is asked for; ``came_at`` is since when somebody waits for a container.
    """

    name: str
    record: SessionRecord | None = None
    held: Held | None = None
    vitals: Vitals | None = None
    watch: Watch | None = None
    attached: bool = False
    typed_until: float = 0.0
    came_at: float | None = None
    lost_at: float | None = None
    activated_at: float = -FLAPPING_SECONDS
    wishes: list[Callable[[Held], None]] = field(default_factory=list)

    @property
    def container_id(self) -> str | None:
        """The session's container."""
        return self.record.container_id if self.record else None
