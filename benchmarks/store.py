"""Measure durable commits a second, and the time of one, of each engine.

FoundationDB is measured too when ``CODITECT_TEST_FDB_CLUSTER`` names a reachable cluster.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.harness import Report
from cluster.store.engines.fdb.engine import FdbEngine
from cluster.store.engines.interface import Commit, Engine, Mutation, MutationKind
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.transactions.transaction import Transaction, transact

SECONDS = 4.0
VALUE = b"v" * 256
CLUSTER_VARIABLE = "CODITECT_TEST_FDB_CLUSTER"

Work = Callable[[Engine, int], Awaitable[object]]


def main() -> None:
    """Write 256-byte values with 1, 10 and 100 writers; each commit is durable before it answers."""
    report = Report("store")
    engines = ["embedded"]
    if os.environ.get(CLUSTER_VARIABLE):
        engines.append("foundationdb")
    for engine, (kind, work), writers in itertools.product(engines, WORKS.items(), (1, 10, 100)):
        times, elapsed = asyncio.run(_measure(engine, work, writers))
        name = f"{engine}, {kind}, {writers} writer{'s' if writers > 1 else ''}"
        report.add(f"{name}: commits a second", len(times) / elapsed, "/s")
        report.add_quantiles(f"{name}: one commit", times)
    report.finish()


async def _blind(engine: Engine, number: int) -> None:
    mutation = Mutation(MutationKind.SET, b"key/%012d" % number, VALUE)
    await engine.commit(Commit(0, (), (mutation,), b"%d" % number))


async def _read_and_write(engine: Engine, number: int) -> None:
    async def work(tr: Transaction) -> None:
        key = b"key/%012d" % number
        await tr.get(key)
        tr.set(key, VALUE)

    await transact(engine, work)


WORKS: dict[str, Work] = {"blind": _blind, "read and write": _read_and_write}


@asynccontextmanager
async def _opened(name: str) -> AsyncIterator[Engine]:
    with tempfile.TemporaryDirectory() as directory:
        if name == "embedded":
            engine: LmdbEngine | FdbEngine = LmdbEngine(Path(directory), map_size=8 << 30)
        else:
            # Below a prefix of its own, which is left there: such clusters are thrown away.
            prefix = f"bench-{secrets.token_hex(8)}"
            engine = FdbEngine(Path(os.environ[CLUSTER_VARIABLE]), prefix=prefix)
        await engine.open()
        yield engine
        await engine.close()


async def _measure(name: str, work: Work, writers: int) -> tuple[list[float], float]:
    numbers = itertools.count()
    times: list[float] = []
    async with _opened(name) as engine:
        began = time.perf_counter()

        async def write() -> None:
            while time.perf_counter() - began < SECONDS:
                sent = time.perf_counter()
                await work(engine, next(numbers))
                times.append(time.perf_counter() - sent)

        await asyncio.gather(*(write() for _ in range(writers)))
        return times, time.perf_counter() - began


if __name__ == "__main__":
    main()
