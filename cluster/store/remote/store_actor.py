"""The StoreActor: the one process of a node that has the store open.

Ray starts it, watches it and asks how it is; the questions to the engine come over a socket of its own
(``cluster.store.remote.server``), which costs a small part of a call between actors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from actors.core.calls import StoreCalls
from actors.core.errors.requests import InvalidArgument
from actors.core.process import Life
from cluster.store.engines.interface import OpenableEngine
from cluster.store.remote.server import Network, StoreServer


class StoreActor:
    """Serves an engine to the other processes at ``path``. Made with ``ray.remote`` by the Supervisor.

    ``make_engine`` is called once, in the actor's process; ``tend`` runs beside the server until it is
    cancelled. Over a ``network`` other nodes are served too. A restarted actor opens the engine again; every
    acknowledged commit is there.
    """

    def __init__(
        self,
        make_engine: Callable[[], OpenableEngine],
        path: Path,
        tend: Callable[[OpenableEngine], Awaitable[None]],
        network: Network | None = None,
    ) -> None:
        self._engine = make_engine()
        self._tend = tend
        self._server = StoreServer(self._engine, path, network)
        self._life = Life(self._run)

    async def ping(self) -> dict[str, Any]:
        """Report that the store is open."""
        await self._life.ready()
        return self._life.ping()

    async def stats(self) -> dict[str, Any]:
        """Return the engine's counters and gauges."""
        await self._life.ready()
        return await self._engine.statistics()

    async def copy(self, directory: str) -> None:
        """Write an embedded store as of this moment into an empty directory of this machine."""
        await self._life.ready()
        copy = getattr(self._engine, "copy", None)
        if copy is None:
            raise InvalidArgument("store", "one that lies in a file: it has backups of its own")
        await copy(Path(directory))

    async def close(self) -> None:
        """Close the engine; for an orderly end of the server."""
        await self._life.stop()

    async def _run(self) -> None:
        await self._engine.open()
        try:
            await self._server.open()
            self._life.is_ready()
            await self._tend(self._engine)
        finally:
            await self._server.close()
            await self._engine.close()


def _as_called(actor: StoreActor) -> StoreCalls:
    return actor  # for the type checker
