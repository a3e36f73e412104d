"""Measure claims a second where containers cost nothing."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import ray

from actors.core import names
from actors.core.calls import PoolCalls, SupervisorCalls
from actors.core.directory import ActorDirectory
from benchmarks.harness import Report
from cluster.settings import RuntimeName, Settings
from cluster.wiring.blueprints import make_supervisor
from tests.fakes.ray_wiring import StubWiring

NODE = "node-b"
SLOTS = 40
ROUNDS = 3


def main() -> None:
    """Claim all warm slots at once, several times, on a Ray of its own."""
    report = Report("claims")
    with tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as directory:
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        ray.init(
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            namespace=names.NAMESPACE,
            object_store_memory=80 << 20,
            _temp_dir=directory,
        )
        try:
            asyncio.run(_measure(Path(directory), report))
        finally:
            ray.shutdown()
    report.finish()


async def _measure(directory: Path, report: Report) -> None:
    settings = Settings(
        data_dir=directory / "data",
        runtime=RuntimeName.STUB,
        pool_size=SLOTS,
        store_map_size=256 << 20,
        passivate_after=3600.0,
    )
    calls = ActorDirectory()
    await calls.create(names.SUPERVISOR, lambda: make_supervisor(StubWiring(settings, NODE)))
    rates, times = [], []
    for number in range(ROUNDS):
        await _filled(calls)
        began = time.perf_counter()
        each = await asyncio.gather(*(_claim(calls, f"u{number}-{n}") for n in range(SLOTS)))
        rates.append(SLOTS / (time.perf_counter() - began))
        times += each
    report.add(
        "claims a second, stub containers",
        sorted(rates)[len(rates) // 2],
        "/s",
        200,
        at_most=False,
        note=f"median of {ROUNDS} rounds of {SLOTS} at once",
    )
    report.add_quantiles(f"one claim among {SLOTS} at once", times)
    await calls.call(names.SUPERVISOR, SupervisorCalls.shutdown, 60)


async def _claim(calls: ActorDirectory, user: str) -> float:
    began = time.perf_counter()
    await calls.call(
        names.pool_actor(NODE),
        PoolCalls.open_session,
        60,
        user_id=user,
        name="default",
        key=user,
    )
    return time.perf_counter() - began


async def _filled(calls: ActorDirectory, limit_seconds: float = 300.0) -> None:
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        try:
            stats = await calls.call(names.pool_actor(NODE), PoolCalls.stats, 30)
            if min(stats["warm_actors_ready"], stats["warm_containers_ready"]) >= SLOTS:
                return
        except Exception as error:
            print(f"not yet: {error}")
        await asyncio.sleep(0.5)
    raise TimeoutError("the pool did not fill")


if __name__ == "__main__":
    main()
