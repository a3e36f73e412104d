"""The ledgers that tests run over, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from actors.ports import Clock, Ledger
from cluster.store.engine import Engine
from cluster.store.ledger import StoreLedger
from tests.fakes.engines import opened_engine
from tests.fakes.faulty_engine import FaultyEngine
from tests.fakes.ledger import MemoryLedger

LEDGERS = ("memory", "embedded")
ALL_LEDGERS = (*LEDGERS, "embedded_faulty", "fdb_double", "fdb_double_faulty")
"""Those whose name ends in ``_faulty`` lose answers, meet conflicts and grow old by a fixed seed."""

_FAULT_SEED = 2026


@asynccontextmanager
async def opened(name: str, directory: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """Open the ledger of that name; ``embedded`` keeps its file in the directory."""
    if name == "memory":
        yield MemoryLedger(clock)
        return
    async with AsyncExitStack() as stack:
        store = "lmdb" if name.startswith("embedded") else "fdb_double"
        engine: Engine = await stack.enter_async_context(opened_engine(store, directory))
        if name.endswith("_faulty"):
            engine = FaultyEngine(engine, _FAULT_SEED)
        yield StoreLedger(engine, "t", clock)
