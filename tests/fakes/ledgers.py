"""The ledgers, and the journals beside them, that tests run over, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.core.ports.clock import Clock
from actors.core.ports.journal import Journal
from actors.core.ports.ledger import Ledger
from actors.core.quotas import Quotas
from cluster.store.engines.interface import Engine
from cluster.store.layers.sessions.journal import StoreJournal
from cluster.store.ledger import StoreLedger
from tests.fakes.engines import CALLERS_ENGINES, opened_engine
from tests.fakes.journal import MemoryJournal
from tests.fakes.ledger import MemoryLedger

LEDGERS = ("memory", "lmdb", "lmdb_faulty", "fdb_double_faulty")
ALL_LEDGERS = ("memory", *CALLERS_ENGINES)


@dataclass(frozen=True, slots=True)
class Stores:
    """A ledger and the journal over the same store; ``engine`` is None for those in memory."""

    ledger: Ledger
    journal: Journal
    engine: Engine | None


@asynccontextmanager
async def opened_stores(
    name: str,
    directory: Path,
    clock: Clock,
    *,
    capacity: int = 1 << 20,
    quotas: Quotas | None = None,
) -> AsyncIterator[Stores]:
    """Open ledger and journal; all but ``memory`` are named by their engine.

    ``capacity`` bytes are kept of each terminal, and as many of each user's as ``quotas`` allow.
    """
    if name == "memory":
        ledger = MemoryLedger(clock)
        yield Stores(ledger, MemoryJournal(ledger, capacity, quotas), None)
        return
    async with opened_engine(name, directory) as engine:
        journal = StoreJournal(engine, "t", capacity, quotas)
        yield Stores(StoreLedger(engine, "t", clock), journal, engine)


@asynccontextmanager
async def opened(name: str, directory: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """Open the ledger of that name."""
    async with opened_stores(name, directory, clock) as stores:
        yield stores.ledger
