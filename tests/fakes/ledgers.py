"""The ledgers that tests run over, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from actors.ports import Clock, Ledger
from cluster.store.ledger import StoreLedger
from cluster.store.lmdb_engine import LmdbEngine
from tests.fakes.ledger import MemoryLedger

LEDGERS = ("memory", "embedded")


@asynccontextmanager
async def opened(name: str, directory: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """Open the ledger of that name; ``embedded`` keeps its file in the directory."""
    if name == "memory":
        yield MemoryLedger(clock)
        return
    engine = LmdbEngine(directory / "store", map_size=64 << 20)
    await engine.open()
    try:
        yield StoreLedger(engine, "t", clock)
    finally:
        await engine.close()
