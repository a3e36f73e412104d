"""Events of sessions, as those who cause them publish them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class EventPublisher(Protocol):
    """Publishes what happens to sessions to all who follow them, as far as they can be reached."""

    def publish(self, session_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """Publish an event; nothing is waited for, and nothing fails. ``data`` is JSON."""
        ...
