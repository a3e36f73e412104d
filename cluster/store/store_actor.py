"""The StoreActor: the one process of a node that has the store open. Calls are the engine's, in batches."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from actors.errors import CoditectError, InvalidArgument
from cluster.store.client import Read
from cluster.store.engine import Commit, Engine, Pairs, Values

T = TypeVar("T")


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

    async def read(self, reads: Sequence[Read]) -> list[Values | Pairs | BaseException]:
        """Do several reads, each of a version of its own; an error stands in the place of its answer."""
        await self._opened()
        return await _each(self._read(method, arguments) for method, arguments in reads)

    async def commit(self, commits: Sequence[Commit]) -> list[int | BaseException]:
        """Do several commits, none of which depends on another; errors as in ``read``."""
        await self._opened()
        return await _each(self._engine.commit(commit) for commit in commits)

    async def copy(self, directory: str) -> None:
        """Write an embedded store as of this moment into an empty directory of this machine."""
        await self._opened()
        copy = getattr(self._engine, "copy", None)
        if copy is None:
            raise InvalidArgument("store", "one that lies in a file: it has backups of its own")
        await copy(Path(directory))

    async def close(self) -> None:
        """Close the engine; for an orderly end of the server."""
        await self._opened()
        await self._engine.close()

    async def _read(self, method: str, arguments: tuple[Any, ...]) -> Values | Pairs:
        match method, arguments:
            case "get_many", (keys, version):
                return await self._engine.get_many(keys, version)
            case "get_range", (span, version, limit, reverse):
                return await self._engine.get_range(span, version, limit=limit, reverse=reverse)
            case _:
                raise InvalidArgument("read", f"get_many or get_range, not {method}")

    def _opened(self) -> Awaitable[None]:
        """Open once; a failure to open is told to every caller, and the next call tries again."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = asyncio.get_running_loop().create_task(self._engine.open())
        return asyncio.shield(self._opening)


async def _each(works: Iterable[Awaitable[T]]) -> list[T | BaseException]:
    """Do everything at once; only this server's own errors become answers."""
    answers = await asyncio.gather(*works, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, CoditectError):
            raise answer
    return answers
