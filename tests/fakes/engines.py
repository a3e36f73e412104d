"""The engines that tests run over, by name; ``ENGINES`` are parameters of a fixture."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from actors.errors import Unavailable
from cluster.store import fdb_client
from cluster.store.engine import Engine
from cluster.store.fdb_engine import FdbEngine
from cluster.store.fdb_layout import Layout
from cluster.store.lmdb_engine import LmdbEngine
from tests.fakes.fdb_cluster import Cluster
from tests.fakes.fdb_double import FdbDouble, Schedule

CLUSTER_VARIABLE = "CODITECT_TEST_FDB_CLUSTER"
API_VARIABLE = "CODITECT_TEST_FDB_API_VERSION"

ENGINES = ["lmdb", "fdb_double", pytest.param("fdb_cluster", marks=pytest.mark.fdb)]


@asynccontextmanager
async def opened_engine(name: str, directory: Path) -> AsyncIterator[Engine]:
    """Open an empty engine; the test is skipped when it needs a cluster that is not there."""
    if name == "lmdb":
        engine: LmdbEngine | FdbEngine = LmdbEngine(directory / "store", map_size=64 << 20)
    elif name == "fdb_double":
        engine = double_engine(Cluster(time.monotonic))
    else:
        engine = cluster_engine()
    try:
        await engine.open()
    except Unavailable as error:
        if name != "fdb_cluster":
            raise
        pytest.skip(f"the FoundationDB cluster of {CLUSTER_VARIABLE} cannot be used: {error}")
    try:
        yield engine
    finally:
        if name == "fdb_cluster":
            await _clear(engine)
        await engine.close()


def double_engine(
    cluster: Cluster,
    *,
    schedule: Schedule | None = None,
    connect: Callable[..., fdb_client.Connection] = fdb_client.connect,
    **options: object,
) -> FdbEngine:
    """Make an engine, and its client, over a cluster in memory."""
    double = FdbDouble(cluster, schedule or asyncio.get_running_loop().call_soon)
    options.setdefault("prefix", "test")
    return FdbEngine(None, connect=partial(connect, load=lambda: double), **options)


def cluster_engine() -> FdbEngine:
    """Make an engine over the real cluster, below a prefix of its own."""
    named = os.environ.get(CLUSTER_VARIABLE)
    if not named:
        pytest.skip(f"{CLUSTER_VARIABLE} does not name a FoundationDB cluster file")
    api_version = int(os.environ.get(API_VARIABLE, str(fdb_client.MIN_API_VERSION)))
    return FdbEngine(Path(named), prefix=f"test-{secrets.token_hex(8)}", api_version=api_version)


async def _clear(engine: FdbEngine) -> None:
    layout: Layout = engine._layout
    transaction = engine._connected().database.create_transaction()
    transaction.options.set_timeout(5000)
    transaction.clear_range(*layout.whole)
    await fdb_client.settled(transaction.commit())
