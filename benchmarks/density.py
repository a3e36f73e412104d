"""Measure what a session costs that people are attached to and that has nothing to decide.

Each has a terminal and an events socket open. Real containers run, and are counted apart.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack

from benchmarks.harness import Report
from benchmarks.memory import private_memory
from benchmarks.people import PASSWORD, make_users, shell
from benchmarks.settling import processor_seconds
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

STEPS = [int(each) for each in os.environ.get("DENSITY_STEPS", "30,300").split(",")]
SETTLE_SECONDS = 25.0
IDLE_SECONDS = 20.0


def main() -> None:
    """Attach more and more sessions, and look at all processes but the containers at each step."""
    report = Report("density")
    with ServerProcess(pool_size=8, dashboard=False) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    emails = await make_users(server, "many", STEPS[-1])
    found: list[tuple[int, float, float]] = []
    async with AsyncExitStack() as stack:
        attached = 0
        for step in STEPS:
            for email in emails[attached:step]:
                await _attach(stack, server, email)
            attached = step
            found.append((step, *(await _cost(server, report, step))))
        (few, memory, used), (many, more_memory, more_used) = found[0], found[-1]
        report.add(
            "an attached session at rest, memory",
            (more_memory - memory) / (many - few) / 1e6,
            "MB",
            1.5,
            note=f"slope from {few} to {many}",
        )
        report.add(
            "an attached session at rest, processor time a second",
            1000 * (more_used - used) / (many - few),
            "ms",
            0.9,
            note=f"slope from {few} to {many}",
        )


async def _attach(stack: AsyncExitStack, server: ServerProcess, email: str) -> None:
    client = await stack.enter_async_context(AsyncClient(server.url, timeout_seconds=120))
    session_id = (await client.login(email, PASSWORD)).session_id
    await stack.enter_async_context(shell(client, session_id))
    events = client.events(session_id)
    await anext(events)
    stack.push_async_callback(events.aclose)


async def _cost(server: ServerProcess, report: Report, sessions: int) -> tuple[float, float]:
    """Return the private memory, and the processors in use, of everything but the containers."""
    await asyncio.sleep(SETTLE_SECONDS)
    before, began = processor_seconds(server), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    after, elapsed = processor_seconds(server), time.monotonic() - began
    used = sum(after[pid] - before.get(pid, 0.0) for pid in after) / elapsed
    memory = private_memory(server)
    report.add(f"{sessions} attached sessions at rest, memory of the server", memory / 1e6, "MB")
    report.add(
        f"{sessions} attached sessions at rest, processor time of the server", 1000 * used, "ms/s"
    )
    return float(memory), used


if __name__ == "__main__":
    main()
