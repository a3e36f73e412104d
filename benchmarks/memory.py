"""Measure private memory, threads and idle processor time of each kind of process, and of a session."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict

import psutil

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users, shell
from benchmarks.pools import wait_for_pool
from benchmarks.settling import processor_seconds, server_processes
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

SESSIONS = 6
IDLE_SECONDS = 20.0


def main() -> None:
    """Look at a server with some attached sessions, then with nobody attached."""
    report = Report("memory")
    with ServerProcess(pool_size=2, passivate_after=5, dashboard=False) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    await wait_for_pool(server, 2)
    empty = private_memory(server)
    emails = await make_users(server, "mem", SESSIONS)
    clients = [AsyncClient(server.url, timeout_seconds=60) for _ in emails]
    shells = []
    for client, email in zip(clients, emails, strict=True):
        login = await client.login(email, PASSWORD)
        context = shell(client, login.session_id)
        await context.__aenter__()
        shells.append(context)
    await wait_for_pool(server, 2)
    await asyncio.sleep(5)
    await _by_kind(server, report)
    attached = private_memory(server)
    report.add(
        "a live session, control plane", (attached - empty) / SESSIONS / 1e6, "MB", 60,
        note=f"n={SESSIONS}, private memory of all processes but containers",
    )  # fmt: skip
    containers = _container_memory(server)
    report.add("a container, private", containers / 1e6, "MB", note="CODI and a shell")
    for context in shells:
        await context.__aexit__(None, None, None)
    for client in clients:
        await client.close()
    await asyncio.sleep(30)
    left = private_memory(server)
    report.add(
        "a session that nobody is attached to, control plane", (left - empty) / SESSIONS / 1e6, "MB"
    )


async def _by_kind(server: ServerProcess, report: Report) -> None:
    before = processor_seconds(server)
    began = time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    elapsed = time.monotonic() - began
    after = processor_seconds(server)
    kinds: dict[str, list[psutil.Process]] = defaultdict(list)
    for process in server_processes(server):
        kinds[_kind(process)].append(process)
    for kind, members in sorted(kinds.items()):
        uss = [process.memory_full_info().uss / 1e6 for process in members]
        threads = sum(process.num_threads() for process in members) / len(members)
        used = [after.get(p.pid, 0.0) - before.get(p.pid, 0.0) for p in members]
        idle = 1000 * sum(used) / len(members) / elapsed
        report.add(
            f"{kind}: private memory",
            sum(uss) / len(uss),
            "MB",
            note=f"{len(members)} of them, {threads:.0f} threads, {idle:.1f} ms processor a second",
        )


def _kind(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    ray_actor = re.match(r"ray::(\w+(?:<[^>]*>)?)", line)
    if ray_actor:
        return ray_actor[1]
    for kind in ("workers.parent", "gcs_server", "raylet", "haproxy", "coditect"):
        if kind in line:
            return kind
    return process.name()


def private_memory(server: ServerProcess) -> int:
    """Return the private memory of all of a server's processes but the containers."""
    total = 0
    for process in server_processes(server):
        try:
            total += process.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
    return total


def _container_memory(server: ServerProcess) -> float:
    totals = []
    for pid in server.containers().values():
        try:
            top = psutil.Process(pid)
            family = [top, *top.children(recursive=True)]
            totals.append(sum(process.memory_full_info().uss for process in family))
        except psutil.NoSuchProcess:
            continue
    return sum(totals) / len(totals) if totals else 0.0


if __name__ == "__main__":
    main()
