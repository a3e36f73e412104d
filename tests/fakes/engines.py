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

from actors.core.errors.base import Unavailable
from cluster.store.engines.fdb import client as fdb_client
from cluster.store.engines.fdb.engine import FdbEngine
from cluster.store.engines.fdb.layout import Layout
from cluster.store.engines.interface import Engine
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.remote.client import RemoteEngine
from cluster.store.remote.server import StoreServer
from tests.fakes.faulty_engine import FaultyEngine
from tests.fakes.fdb_cluster import Cluster, Faults
from tests.fakes.fdb_double import FdbDouble, Schedule

CLUSTER_VARIABLE = "CODITECT_TEST_FDB_CLUSTER"
API_VARIABLE = "CODITECT_TEST_FDB_API_VERSION"

_CLUSTER = pytest.param("fdb_cluster", marks=pytest.mark.fdb)
_FAULTY_CLUSTER = pytest.param("fdb_cluster_faulty", marks=pytest.mark.fdb)
ENGINES = ["lmdb", "lmdb_served", "fdb_double", _CLUSTER]
"""``lmdb_served`` is the embedded one at the socket of a StoreActor."""

CALLERS_ENGINES = [
    "lmdb",
    "lmdb_faulty",
    "fdb_double",
    "fdb_double_faulty",
    _CLUSTER,
    _FAULTY_CLUSTER,
]
"""Those whose name ends in ``_faulty`` lose answers, meet conflicts and grow old, by a seed."""

FAULT_SEED = 2026


@asynccontextmanager
async def opened_engine(
    name: str,
    directory: Path,
    *,
    seed: int = FAULT_SEED,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Engine]:
    """Open an empty engine; the test is skipped when it needs a cluster that is not there.

    By ``clock`` transactions grow old; a real cluster has its own. The double fails in its cluster,
    with FoundationDB's own codes; others fail above the engine.
    """
    if name == "lmdb_served":
        async with (
            opened_engine("lmdb", directory, clock=clock) as engine,
            served(engine, directory) as remote,
        ):
            yield remote
        return
    base = name.removesuffix("_faulty")
    faulty = base != name
    cluster = Cluster(clock)
    if base == "lmdb":
        engine: LmdbEngine | FdbEngine = LmdbEngine(
            directory / "store", map_size=64 << 20, clock=clock
        )
    elif base == "fdb_double":
        engine = double_engine(cluster)
    else:
        engine = cluster_engine()
    try:
        await engine.open()
    except Unavailable as error:
        if base != "fdb_cluster":
            raise
        pytest.skip(f"the FoundationDB cluster of {CLUSTER_VARIABLE} cannot be used: {error}")
    if faulty:
        cluster.faults = Faults(seed, commit_rate=0.25, read_rate=0.1)
    try:
        yield FaultyEngine(engine, seed) if faulty and base != "fdb_double" else engine
    finally:
        if base == "fdb_cluster":
            await _clear(engine)
        await engine.close()


@asynccontextmanager
async def served(engine: Engine, directory: Path) -> AsyncIterator[RemoteEngine]:
    """Serve an engine at a socket, and yield it as another process sees it."""
    server = StoreServer(engine, directory / "run" / "store.sock")
    await server.open()
    remote = RemoteEngine(directory / "run" / "store.sock")
    try:
        yield remote
    finally:
        remote.close()
        await server.close()


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
