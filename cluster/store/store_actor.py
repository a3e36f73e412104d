"""The StoreActor: the one process of a node that has the store open. Calls are the engine's."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from cluster.store.engine import Commit, Engine, KeyRange, Pairs, Values


class OpenableEngine(Engine, Protocol):
    """An engine with a beginning and an end."""

    async def open(self) -> None:
        """Make it ready. Raises Unavailable."""

    async def close(self) -> None:
        """Let go of everything."""


class StoreActor:
    """Serves an engine to the other processes. Made with ``ray.remote`` by the Supervisor.

    ``make_engine`` is called once, in the actor's process. A restarted actor opens the engine again;
    every acknowledged commit is there.
    """

    def __init__(self, make_engine: Callable[[], OpenableEngine]) -> None:
        self._engine = make_engine()
        self._opening: asyncio.Task[None] | None = None
        self._started_at = time.monotonic()

    async def ping(self) -> dict[str, Any]:
        """Say that the store is open."""
        await self._opened()
        return {"pid": os.getpid(), "uptime_seconds": time.monotonic() - self._started_at}

    async def stats(self) -> dict[str, Any]:
        """Return the engine's counters and gauges."""
        await self._opened()
        return await self._engine.statistics()

    async def get_many(self, keys: Sequence[bytes], read_version: int | None) -> Values:
        """See ``Engine.get_many``."""
        await self._opened()
        return await self._engine.get_many(keys, read_version)

    async def get_range(
        self, span: KeyRange, read_version: int | None, limit: int, reverse: bool
    ) -> Pairs:
        """See ``Engine.get_range``."""
        await self._opened()
        return await self._engine.get_range(span, read_version, limit=limit, reverse=reverse)

    async def commit(self, commit: Commit) -> int:
        """See ``Engine.commit``."""
        await self._opened()
        return await self._engine.commit(commit)

    async def close(self) -> None:
        """Close the engine; for an orderly end of the server."""
        await self._opened()
        await self._engine.close()

    def _opened(self) -> Awaitable[None]:
        """Open once; a failure to open is told to every caller, and the next call tries again."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = asyncio.get_running_loop().create_task(self._engine.open())
        return asyncio.shield(self._opening)
