"""Places for what may go on at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.codi.agent.errors import AgentError


class Slots:
    """Counts what runs of one kind: each has its own places, so none takes another's."""

    def __init__(self, limit: int, what: str) -> None:
        """Let ``limit`` be taken at once; ``what`` is said to whoever finds none free."""
        self._limit = limit
        self._what = what
        self.taken = 0

    def take(self) -> None:
        """Take a place. Raises AgentError ``too_many``."""
        if self.taken >= self._limit:
            raise AgentError(409, "too_many", f"up to {self._limit} {self._what} at once")
        self.taken += 1

    def give_back(self) -> None:
        """Give a place back, once for each that was taken."""
        self.taken -= 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a place."""
        self.take()
        try:
            yield
        finally:
            self.give_back()
