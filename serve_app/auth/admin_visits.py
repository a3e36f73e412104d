"""Administrators who enter other people's sessions, for the audit trail.

Whoever works in a session makes a call for every file they look at. One line says that they entered;
the next is written when they come back after a while, or through another login.
"""

from __future__ import annotations

from collections.abc import Callable

from cachetools import TTLCache

AGAIN_SECONDS = 900.0
MAX_KNOWN = 10_000


class AdminVisits:
    """Recognises the first call of a visit. Belongs to one replica's event loop.

    ``monotonic`` gives seconds. Of more than ``MAX_KNOWN`` entries the oldest are forgotten, which
    costs a line too many and never one too few.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._seen: TTLCache[tuple[str, str], None] = TTLCache(MAX_KNOWN, AGAIN_SECONDS, monotonic)

    def is_new(self, login: str, session_id: str) -> bool:
        """Take note of a call; true if this login has not been there for ``AGAIN_SECONDS``."""
        is_new = (login, session_id) not in self._seen
        self._seen[login, session_id] = None
        return is_new
