"""What does a worker cost, forked from a warm parent and started by itself? Both in one sitting."""

from __future__ import annotations

import asyncio
import signal
import time

import psutil

from benchmarks.harness import Report
from benchmarks.settling import processor_seconds, wait_for_rest
from tests.support import processes
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

ACTORS = 8
IDLE_SECONDS = 20.0
ROUNDS = 4


def main() -> None:
    """Compare a server of each kind: its start, its session actors, and how its replicas come back."""
    report = Report("workers")
    for forked in (True, False):
        name = "forked" if forked else "started by themselves"
        server = ServerProcess(
            warm_actors=ACTORS, warm_containers=0, dashboard=False, forked_workers=forked
        )
        with server:
            used = sum(processor_seconds(server).values())
            report.add(f"{name}: up to ready", server.started_seconds, "s")
            report.add(f"{name}: processor time of that", used, "s")
            asyncio.run(_measure(server, name, report))
    report.finish()


async def _measure(server: ServerProcess, name: str, report: Report) -> None:
    await wait_until(lambda: asyncio.to_thread(_actors, server), lambda a: len(a) >= ACTORS, 120)
    await wait_for_rest(server, 120)
    memory = [each.memory_full_info() for each in map(psutil.Process, _actors(server))]
    for kind in ("uss", "pss"):
        mean = sum(getattr(each, kind) for each in memory) / len(memory) / 1e6
        report.add(f"{name}: session actor, {kind}", mean, "MB", note=f"n={len(memory)}")
    everything = sum(each.memory_full_info().pss for each in _family(server)) / 1e6
    report.add(f"{name}: the idle server, pss", everything, "MB", note="without containers")
    before, began = processor_seconds(server), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    after, took = processor_seconds(server), time.monotonic() - began
    idle = sum(after[pid] - before[pid] for pid in _actors(server)) / ACTORS / took
    report.add(f"{name}: session actor, idle", 1000 * idle, "ms/s")
    everything = sum(after[pid] - before.get(pid, 0.0) for pid in after) / took
    report.add(f"{name}: the idle server", 1000 * everything, "ms/s")
    await _starts(server, name, report, everything)
    await _replicas(server, name, report)


async def _starts(server: ServerProcess, name: str, report: Report, idle: float) -> None:
    """Kill all session actors; Ray starts as many again. ``idle`` is what all use anyway, in processors."""
    old = set(_actors(server))
    before, began = processor_seconds(server), time.monotonic()
    processes.send(old, signal.SIGKILL)
    await wait_until(
        lambda: asyncio.to_thread(_actors, server), lambda a: len(set(a) - old) >= ACTORS, 120
    )
    took = time.monotonic() - began
    await wait_for_rest(server, 120)
    after = processor_seconds(server)
    used = sum(after[pid] - before.get(pid, 0.0) for pid in after if pid not in old)
    used -= idle * (time.monotonic() - began)
    report.add(f"{name}: actors started a second", ACTORS / took, "", note=f"{ACTORS} at once")
    report.add(f"{name}: processor time a start", used / ACTORS, "s", note="but for the launcher")


async def _replicas(server: ServerProcess, name: str, report: Report) -> None:
    times = []
    for _ in range(ROUNDS):
        await wait_for_rest(server, 120)
        processes.kill(server, "replica")
        began = time.monotonic()
        await asyncio.sleep(0.1)
        await wait_until(lambda: asyncio.to_thread(server.is_healthy), timeout_seconds=60)
        times.append(time.monotonic() - began)
    report.add_quantiles(f"{name}: all replicas killed to the next answer", times)


def _actors(server: ServerProcess) -> list[int]:
    return processes.of(server, "SessionActor")


def _family(server: ServerProcess) -> list[psutil.Process]:
    assert server.process is not None
    return [psutil.Process(server.process.pid), *server.family()]


if __name__ == "__main__":
    main()
