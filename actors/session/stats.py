"""Counters of a session actor's work; read by ``stats()``."""

from __future__ import annotations

from typing import Any

from actors.core.records.sessions import SessionPhase
from actors.core.statistics import Histogram
from actors.session import messages


class SessionStats:
    """Counters and distributions of one actor's process, over all its activations."""

    def __init__(self) -> None:
        self.activations = 0
        self.fenced = 0
        self.containers_lost = 0
        self.became_ready = 0
        self.launch_failures = 0
        self.ready_seconds = Histogram()
        self.recovery_seconds = Histogram()
        self._coming_up_since: float | None = None
        self._recovering_since: float | None = None

    def note(
        self, event: messages.Event, before: SessionPhase, after: SessionPhase, now: float
    ) -> None:
        """Count one step of a machine; ``now`` is monotonic."""
        if isinstance(event, messages.Bound):
            self._coming_up_since = now
        elif isinstance(event, messages.LaunchFailed):
            self.launch_failures += 1
        elif isinstance(event, messages.FencedOff):
            self.fenced += 1
        if before is after:
            return
        if after is SessionPhase.RECOVERING:
            self.containers_lost += 1
            self._recovering_since = now
        elif after is SessionPhase.STARTING:
            self._coming_up_since = now
        elif after is SessionPhase.READY:
            self.became_ready += 1
            self._observe_ready(now)

    def _observe_ready(self, now: float) -> None:
        if self._recovering_since is not None:
            self.recovery_seconds.observe(now - self._recovering_since)
        elif self._coming_up_since is not None:
            self.ready_seconds.observe(now - self._coming_up_since)
        self._recovering_since = self._coming_up_since = None

    def snapshot(self) -> dict[str, Any]:
        """Return counters, gauges and distributions; see ``actors.core.statistics``."""
        return {
            "session_activations_total": self.activations,
            "session_fenced_total": self.fenced,
            "containers_lost_total": self.containers_lost,
            "session_ready_total": self.became_ready,
            "session_launch_failures_total": self.launch_failures,
            "session_ready_seconds": self.ready_seconds.snapshot(),
            "session_recovery_seconds": self.recovery_seconds.snapshot(),
        }
