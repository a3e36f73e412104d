"""The numbers that actors work with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from actors.core.quotas import Quotas

SAMPLES_PER_SLEEP = 20
SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 15.0


class Signal(StrEnum):
    """Signals that may keep a session awake."""

    INPUT = "input"
    CPU = "cpu"
    OUTPUT = "output"
    LISTENERS = "listeners"
    CLIENTS = "clients"


@dataclass(frozen=True, slots=True)
class IdleRules:
    """The numbers. ``hibernate_after`` in seconds; 0: sessions never sleep by themselves."""

    hibernate_after: float
    weights: Mapping[Signal, float]
    cpu_share: float = 0.05

    @property
    def pause(self) -> float:
        """Return the time between two samples."""
        return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, self.hibernate_after / SAMPLES_PER_SLEEP))


@dataclass(frozen=True, slots=True)
class ActorSettings:
    """The numbers the actors work with; ``cluster.settings`` fills them. Seconds unless named."""

    tenant_id: str
    node_id: str
    runtime: str
    warm_actors: int
    warm_containers: int
    max_pending_launches: int
    launch_timeout: float
    launch_wait: float
    stop_grace: float
    rest_after: float
    attach_ttl: float
    probe_interval: float
    probe_timeout: float
    probe_failures: int
    reconcile_interval: float
    orphan_lease: float
    idle: IdleRules
    container_cpu: float
    container_memory_bytes: int
    container_pids: int
    container_image: str
    egress: str
    owner_lease: float = 10.0
    quotas: Quotas = field(default_factory=Quotas)

    @property
    def launch_limit(self) -> float:
        """The longest that a launch may take, its wait for a turn included."""
        return self.launch_wait + self.launch_timeout
