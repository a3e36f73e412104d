"""How many wrong passwords are too many. Pure: time is an argument (monotonic seconds).

Two counts, both forgotten after a quiet window: failures of one address at one account, and failures
at one account from anywhere. The first stops a guesser early; the second one who changes addresses,
and is higher, since it also keeps the owner out while it lasts. An empty address is one that is not
known: it would be everybody's, so only the second count is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from actors.errors import TooManyRequests

WINDOW_SECONDS = 60.0
PER_ADDRESS = 10
PER_ACCOUNT = 50
MAX_ENTRIES = 20_000


@dataclass(slots=True)
class _Count:
    failures: int
    last: float


class LoginThrottle:
    """Counts failures in a table of bounded size: the ones longest ago are forgotten first."""

    def __init__(self, *, limit: int = MAX_ENTRIES) -> None:
        self._limit = limit
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()

    def check(self, email: str, address: str, now: float) -> None:
        """Raise TooManyRequests when another attempt has to wait."""
        for key in _keys(email, address):
            allowed = PER_ADDRESS if key[1] else PER_ACCOUNT
            count = self._counts.get(key)
            if count is None:
                continue
            left = count.last + WINDOW_SECONDS - now
            if left <= 0:
                del self._counts[key]
            elif count.failures >= allowed:
                raise TooManyRequests("failed sign-ins", left)

    def failed(self, email: str, address: str, now: float) -> None:
        """Count a wrong password."""
        for key in _keys(email, address):
            count = self._counts.pop(key, None) or _Count(0, now)
            self._counts[key] = _Count(count.failures + 1, now)
        while len(self._counts) > self._limit:
            self._counts.popitem(last=False)

    def succeeded(self, email: str, address: str) -> None:
        """Forget the failures of one who has got in."""
        if address:
            self._counts.pop((email, address), None)

    def __len__(self) -> int:
        return len(self._counts)


def _keys(email: str, address: str) -> tuple[tuple[str, str], ...]:
    """Return the counts that an attempt is held against; an unknown address has none of its own."""
    return ((email, address), (email, "")) if address else ((email, ""),)
