"""Measure the start and stop of a container, and bubblewrap's part of it."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from actors.core.records.containers import ContainerSpec
from benchmarks.harness import Report
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.runtime import self_test as trial
from cluster.runtime.processes import descendants
from cluster.runtime.registry import Processes
from cluster.runtime.root import bwrap
from cluster.runtime.sandbox import SandboxRuntime

ONE_AT_A_TIME = 40
AT_ONCE = 10
ROUNDS = 3
SETTLED_SECONDS = 2.0


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
    launches, stops = [], []
    for number in range(ONE_AT_A_TIME):
        launched, handle = await _launch(runtime, f"one-{number}")
        launches.append(launched)
        stops.append(await _stop(runtime, handle))
    report.add_quantiles("launch to CODI answering, one at a time", launches, p50=1000)
    report.add_quantiles("stop", stops)
    await _cost(runtime, report)
    crowd = []
    for number in range(ROUNDS):
        results = await asyncio.gather(
            *(_launch(runtime, f"crowd-{number}-{i}") for i in range(AT_ONCE))
        )
        crowd += [launched for launched, _ in results]
        await asyncio.gather(*(_stop(runtime, handle) for _, handle in results))
    report.add_quantiles(f"launch to CODI answering, {AT_ONCE} at once", crowd)


async def _cost(runtime: SandboxRuntime, report: Report) -> None:
    """Add up what containers have used once CODI has imported everything, and what they keep."""
    used = _own_seconds()
    handles = [(await _launch(runtime, f"cost-{number}"))[1] for number in range(AT_ONCE)]
    used = _own_seconds() - used
    await asyncio.sleep(SETTLED_SECONDS)
    inits, agents = [], []
    for handle in handles:
        processes = Processes.of(handle)
        assert processes.init is not None
        assert processes.agent is not None
        inits.append(processes.init.pid)
        agents.append(processes.agent.pid)
    usage = [(await runtime.stats(handle))["cpu_seconds"] for handle in handles]
    agent = sum(map(_processor_seconds, agents))
    memory = sum(_proportional(pid) for init in inits for pid in descendants(init))
    note = f"mean of {len(handles)}, everything imported"
    report.add("CODI's start, processor time", 1000 * agent / len(handles), "ms", 70, note=note)
    report.add(
        "a container's start, processor time", 1000 * sum(usage) / len(handles), "ms", note=note
    )
    report.add("a launch, processor time of who launches", 1000 * used / len(handles), "ms")
    report.add("an idle container, proportional memory", memory / len(handles) / 1e6, "MB", 10)
    await asyncio.gather(*(_stop(runtime, handle) for handle in handles))


def _own_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _processor_seconds(pid: int) -> float:
    """Return what a process's threads have used, by the nanosecond."""
    tasks = [f"/proc/{pid}/task/{task}/schedstat" for task in os.listdir(f"/proc/{pid}/task")]
    return sum(int(Path(task).read_text().split()[0]) for task in tasks) / 1e9


def _proportional(pid: int) -> int:
    """Return a process's memory, of what it shares with others its part; bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))


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
