"""How many durable commits a second does the embedded engine do, and how long does one take?"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Report
from cluster.store.engine import Commit, Mutation, MutationKind
from cluster.store.lmdb_engine import LmdbEngine

SECONDS = 5.0
VALUE = b"v" * 256


def main() -> None:
    """Commit 256-byte values with 1, 10 and 100 writers; each commit is fsynced before it answers."""
    report = Report("store")
    for writers in (1, 10, 100):
        with tempfile.TemporaryDirectory() as directory:
            times, elapsed = asyncio.run(_measure(Path(directory), writers))
        name = f"{writers} writer{'s' if writers > 1 else ''}"
        report.add(f"{name}: commits a second", len(times) / elapsed, "/s")
        report.add_quantiles(f"{name}: one commit", times)
    report.finish()


async def _measure(directory: Path, writers: int) -> tuple[list[float], float]:
    engine = LmdbEngine(directory, map_size=8 << 30)
    await engine.open()
    numbers = itertools.count()
    times: list[float] = []
    began = time.perf_counter()

    async def write() -> None:
        while time.perf_counter() - began < SECONDS:
            number = next(numbers)
            mutation = Mutation(MutationKind.SET, b"key/%012d" % number, VALUE)
            sent = time.perf_counter()
            await engine.commit(Commit(0, (), (mutation,), b"%d" % number))
            times.append(time.perf_counter() - sent)

    await asyncio.gather(*(write() for _ in range(writers)))
    elapsed = time.perf_counter() - began
    await engine.close()
    return times, elapsed


if __name__ == "__main__":
    main()
