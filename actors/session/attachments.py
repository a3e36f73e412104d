"""Leases of a session's attached clients, by client id. Pure: time is an argument (monotonic seconds)."""

from __future__ import annotations

from actors.core.errors.limits import TooManyRequests

MAX_CLIENTS = 1000


class Attachments:
    """A table of clients, each with the time until which it counts unless it attaches again."""

    def __init__(self, ttl: float, *, limit: int = MAX_CLIENTS) -> None:
        self._ttl = ttl
        self._limit = limit
        self._until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._until

    @property
    def next_expiry(self) -> float | None:
        """The time at which the first lease runs out unless renewed."""
        return min(self._until.values(), default=None)

    def attach(self, client_id: str, now: float) -> bool:
        """Give or renew a lease; true if the client is new. Raises TooManyRequests."""
        self.expire(now)
        new = client_id not in self._until
        if new and len(self._until) >= self._limit:
            raise TooManyRequests("attached clients", self._ttl)
        self._until[client_id] = now + self._ttl
        return new

    def detach(self, client_id: str) -> bool:
        """End a lease; false if there was none."""
        return self._until.pop(client_id, None) is not None

    def expire(self, now: float) -> list[str]:
        """End the leases that have run out and return whose they were."""
        gone = [client_id for client_id, until in self._until.items() if until <= now]
        for client_id in gone:
            del self._until[client_id]
        return gone
