"""Measure the start and stop of a container, and bubblewrap's part of it."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

from actors.core.records.containers import ContainerSpec
from benchmarks.harness import Report
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.runtime import self_test as trial
from cluster.runtime.root import bwrap
from cluster.runtime.sandbox import SandboxRuntime

ONE_AT_A_TIME = 40
AT_ONCE = 10
ROUNDS = 3


def main() -> None:
    """Measure bubblewrap alone, an empty container, and containers with CODI."""
    report = Report("launch")
    report.add_quantiles("bwrap alone", [_timed(_bubblewrap) for _ in range(ONE_AT_A_TIME)])
    report.add_quantiles(
        "container around `true`", [_timed(_around_true) for _ in range(ONE_AT_A_TIME)]
    )
    with tempfile.TemporaryDirectory(prefix="coditect-bench-") as directory:
        asyncio.run(_containers(Path(directory), report))
    report.finish()


def _timed(action) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _bubblewrap() -> None:
    root = ["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    subprocess.run([bwrap.find().path, *root, "true"], check=True)


def _around_true() -> None:
    failure = trial.failure()
    if failure:
        raise RuntimeError(failure)


async def _containers(data_dir: Path, report: Report) -> None:
    runtime = SandboxRuntime(
        data_dir, "node-1", agent=bundle(data_dir / "runtime"), clock=SystemClock()
    )
    launches, stops, memory, processor = [], [], [], []
    for number in range(ONE_AT_A_TIME):
        launched, handle = await _launch(runtime, f"one-{number}")
        launches.append(launched)
        usage = await runtime.stats(handle)
        memory.append(usage["memory_bytes"])
        processor.append(usage["cpu_seconds"])
        stops.append(await _stop(runtime, handle))
    report.add_quantiles("launch to CODI answering, one at a time", launches, p50=1000)
    report.add_quantiles("stop", stops)
    report.add("memory of an idle container", max(memory) / 2**20, "MiB")
    report.add("processor time of a start", sorted(processor)[len(processor) // 2] * 1000, "ms")
    crowd = []
    for number in range(ROUNDS):
        results = await asyncio.gather(
            *(_launch(runtime, f"crowd-{number}-{i}") for i in range(AT_ONCE))
        )
        crowd += [launched for launched, _ in results]
        await asyncio.gather(*(_stop(runtime, handle) for _, handle in results))
    report.add_quantiles(f"launch to CODI answering, {AT_ONCE} at once", crowd)


async def _launch(runtime: SandboxRuntime, name: str):
    spec = ContainerSpec(
        container_id=f"c-{name}", tenant_id="t", workspace_id=f"w-{name}", secret="benchmark"
    )
    started = time.perf_counter()
    handle = await runtime.launch(spec)
    return time.perf_counter() - started, handle


async def _stop(runtime: SandboxRuntime, handle) -> float:
    started = time.perf_counter()
    await runtime.stop(handle, 3)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
