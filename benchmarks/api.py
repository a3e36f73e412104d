"""Measure API calls at 100 requests a second, arrivals not waiting for answers."""

from __future__ import annotations

import asyncio
from functools import partial

import aiohttp

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users
from benchmarks.pools import wait_for_pool
from benchmarks.settling import wait_for_rest
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

RATE = 100
SECONDS = 20


def main() -> None:
    """Measure session details and a directory listing."""
    report = Report("api")
    with ServerProcess(pool_size=2, dashboard=False) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    [email] = await make_users(server, "api", 1)
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        await wait_for_pool(server, 2)  # the refill would take the processors
        await wait_for_rest(server)
        await client.write_file(session_id, "one.txt", b"1")
        headers = {"authorization": f"Bearer {client.access_token}"}
    # aiohttp, since the load must not cost more processor time than what it loads.
    async with aiohttp.ClientSession(server.url, headers=headers) as http:

        async def get(path: str) -> None:
            async with http.get(path) as answer:
                await answer.read()
                assert answer.status == 200, await answer.text()

        for path in (
            f"/api/v1/sessions/{session_id}",
            f"/api/v1/sessions/{session_id}/tree",
            "/api/v1/auth/me",
        ):
            for _ in range(100):
                await get(path)
            name = path.replace(session_id, "{id}")
            report.add_quantiles(
                f"GET {name} at {RATE}/s", await _open_loop(partial(get, path)), p99=25
            )


async def _open_loop(call) -> list[float]:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def one(due: float) -> None:
        await call()
        # From when it was due, so that a stalled server cannot hide behind a stalled sender.
        times.append(loop.time() - due)

    begin = loop.time() + 0.1
    async with asyncio.TaskGroup() as group:
        for number in range(RATE * SECONDS):
            due = begin + number / RATE
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(one(due))
    return times


if __name__ == "__main__":
    main()
