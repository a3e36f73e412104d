"""A workbench for the session's shell, over each ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.ledgers import LEDGERS, opened_stores
from tests.fakes.pool_fakes import ManualClock
from tests.fakes.session_fakes import Workbench, workbench


@pytest.fixture(params=LEDGERS)
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workbench]:
    """Yield a workbench over the ledger in memory, then one over the embedded store."""
    clock = ManualClock()
    stores = opened_stores(request.param, tmp_path, clock)
    async with stores as opened, workbench(opened, clock) as made:
        yield made


@pytest.fixture
async def fragile() -> AsyncIterator[Workbench]:
    """Yield a workbench whose ledger can refuse writes and lose answers."""
    clock = ManualClock()
    stores = opened_stores("memory", Path(), clock)
    async with stores as opened, workbench(opened, clock) as made:
        yield made
