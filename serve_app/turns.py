"""One at a time for each key."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """Locks by key; a key that nobody holds or waits for takes no room. Belongs to one event loop."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._locks)

    def of(self, key: str) -> asyncio.Lock:
        """Return the key's lock; keep it for as long as it is used."""
        return self._locks.setdefault(key, asyncio.Lock())
