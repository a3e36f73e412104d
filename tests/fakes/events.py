"""Publishers of events for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EventLog:
    """Implements ``EventPublisher``: keeps what was published, as (session, type, data)."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, dict[str, Any]]] = []

    def publish(self, session_id: str, kind: str, data: Mapping[str, Any]) -> None:
        self.published.append((session_id, kind, dict(data)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of the events of a type, in order."""
        return [data for _, published, data in self.published if published == kind]
