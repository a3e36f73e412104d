"""The ledgers that tests run over, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from actors.ports import Clock, Ledger
from cluster.store.ledger import StoreLedger
from tests.fakes.engines import CALLERS_ENGINES, opened_engine
from tests.fakes.ledger import MemoryLedger

LEDGERS = ("memory", "lmdb")
ALL_LEDGERS = ("memory", *CALLERS_ENGINES)


@asynccontextmanager
async def opened(name: str, directory: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """Open the ledger of that name; all but ``memory`` are named by their engine."""
    if name == "memory":
        yield MemoryLedger(clock)
        return
    async with opened_engine(name, directory) as engine:
        yield StoreLedger(engine, "t", clock)
