"""Measure claims and activations a second where containers cost nothing.

A claim gives a warm container to a session, as a first sign-in does; an activation binds an actor to it
as well.
"""

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
from actors.core.records.sessions import Cause
from benchmarks.harness import Report
from cluster.settings import RuntimeName, Settings
from cluster.wiring.blueprints import make_supervisor
from tests.fakes.ray_wiring import StubWiring

NODE = "node-b"
SLOTS = 40
CONTAINERS = 400
ROUNDS = 3


def main() -> None:
    """Claim what is warm all at once, several times, on a Ray of its own."""
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
        warm_containers=CONTAINERS,
        store_map_size=256 << 20,
        passivate_after=3600.0,
    )
    calls = ActorDirectory()
    await calls.create(names.SUPERVISOR, lambda: make_supervisor(StubWiring(settings, NODE)))
    await _rounds(calls, report, "claims", Cause.LOGIN, CONTAINERS, 400)
    await _rounds(calls, report, "activations", Cause.CALL, SLOTS, 200)
    await calls.call(names.SUPERVISOR, SupervisorCalls.shutdown, 60)


async def _rounds(
    calls: ActorDirectory, report: Report, what: str, cause: Cause, at_once: int, target: float
) -> None:
    rates, times = [], []
    for number in range(ROUNDS):
        await _filled(calls)
        began = time.perf_counter()
        users = [f"{what}{number}-{n}" for n in range(at_once)]
        times += await asyncio.gather(*(_open(calls, user, cause) for user in users))
        rates.append(at_once / (time.perf_counter() - began))
    report.add(
        f"{what} a second, stub containers",
        sorted(rates)[len(rates) // 2],
        "/s",
        target,
        at_most=False,
        note=f"median of {ROUNDS} rounds of {at_once} at once",
    )
    report.add_quantiles(f"one of {at_once} {what} at once", times)


async def _open(calls: ActorDirectory, user: str, cause: Cause) -> float:
    began = time.perf_counter()
    await calls.call(
        names.pool_actor(NODE),
        PoolCalls.open_session,
        60,
        user_id=user,
        name="default",
        key=user,
        cause=cause,
    )
    return time.perf_counter() - began


async def _filled(calls: ActorDirectory, limit_seconds: float = 300.0) -> None:
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        try:
            stats = await calls.call(names.pool_actor(NODE), PoolCalls.stats, 30)
            actors, containers = stats["warm_actors_ready"], stats["warm_containers_ready"]
            if actors >= SLOTS and containers >= CONTAINERS:
                return
        except Exception as error:
            print(f"not yet: {error}")
        await asyncio.sleep(0.5)
    raise TimeoutError("the pool did not fill")


if __name__ == "__main__":
    main()
