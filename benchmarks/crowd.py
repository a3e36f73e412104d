"""Measure a thousand people who come at once: for the first time, and again while their sessions run.

Containers are stubs, so that what is measured is the control plane. Nobody gets a terminal; `burst` has
those who sign in to real containers. The thousand clients run on the same processors.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from benchmarks.harness import Report
from benchmarks.memory import private_memory
from benchmarks.people import PASSWORD, make_users
from benchmarks.pools import wait_for_pool
from benchmarks.settling import processor_seconds
from benchmarks.stub_server import StubServer
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

CROWD = 1000
LANES = 4
WARM_ACTORS = 2
SETTLE_SECONDS = 25.0
IDLE_SECONDS = 20.0


def main() -> None:
    """Let a thousand sign in at once, twice."""
    report = Report("crowd")
    settings = {"warm_actors": WARM_ACTORS, "warm_containers": CROWD, "dashboard": False}
    with StubServer(pool_size=WARM_ACTORS, **settings) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    each = CROWD // LANES
    lanes = (make_users(server, f"lane{lane}-", each) for lane in range(LANES))
    emails = [email for made in await asyncio.gather(*lanes) for email in made]
    await wait_for_pool(server, CROWD, 600, actors=WARM_ACTORS)
    before = private_memory(server)
    await _come(server, report, emails, f"{CROWD} first sign-ins at once, warm stub containers", 45)
    grown = (private_memory(server) - before) / 1e6
    report.add("memory of the server that they took, all together", grown, "MB")
    await asyncio.sleep(30)  # all are at rest
    what = f"{CROWD} sign-ins at once to {CROWD} running sessions, stub containers"
    await _come(server, report, emails, what, 30)
    await _attached(server, report, emails)


async def _attached(server: ServerProcess, report: Report, emails: list[str]) -> None:
    """Measure what a thousand sessions cost at rest whose events somebody follows."""
    await asyncio.sleep(SETTLE_SECONDS)
    memory, used = private_memory(server), await _in_use(server)
    gate = asyncio.Semaphore(2 * LANES)
    async with AsyncExitStack() as stack:

        async def follow(email: str) -> None:
            async with gate:
                client = AsyncClient(server.url, timeout_seconds=120)
                await stack.enter_async_context(client)
                events = client.events((await client.login(email, PASSWORD)).session_id)
                stack.push_async_callback(events.aclose)
                await anext(events)

        await asyncio.gather(*map(follow, emails))
        await asyncio.sleep(SETTLE_SECONDS)
        what = f"one of {CROWD} attached sessions at rest, an events socket each, stub containers"
        report.add(f"{what}, memory", (private_memory(server) - memory) / CROWD / 1e6, "MB", 1.5)
        more = 1000 * (await _in_use(server) - used) / CROWD
        report.add(f"{what}, processor time a second", more, "ms", 0.9)


async def _in_use(server: ServerProcess) -> float:
    """Return how many processors the server uses, over a while."""
    before, began = processor_seconds(server), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    after, elapsed = processor_seconds(server), time.monotonic() - began
    return sum(after[pid] - before.get(pid, 0.0) for pid in after) / elapsed


async def _come(
    server: ServerProcess, report: Report, emails: list[str], what: str, limit_seconds: float
) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(server.url, timeout_seconds=300))
            for _ in emails
        ]
        used, began = processor_seconds(server), time.monotonic()
        clients_used = time.process_time()
        coming = (_login(c, email) for c, email in zip(clients, emails, strict=True))
        found = await asyncio.gather(*coming, return_exceptions=True)
        took, after = time.monotonic() - began, processor_seconds(server)
        clients_used = time.process_time() - clients_used
    good = [each for each in found if not isinstance(each, BaseException)]
    for kind in sorted({repr(each)[:200] for each in found if isinstance(each, BaseException)}):
        print(f"refused: {kind}")
    report.add(f"{what}, succeeded", len(good), f"of {CROWD}", CROWD, at_most=False)
    report.add(f"{what}, the last answer", took, "s", limit_seconds)
    if good:
        report.add_quantiles(what, good)
    spent = sum(after[pid] - used.get(pid, 0.0) for pid in after)
    report.add(
        f"{what}, processor time of the server", 1000 * spent / CROWD, "ms",
        note=f"each; the clients used {1000 * clients_used / CROWD:.0f} ms beside it",
    )  # fmt: skip


async def _login(client: AsyncClient, email: str) -> float:
    began = time.monotonic()
    await client.login(email, PASSWORD)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
