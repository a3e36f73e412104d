"""Measure the time from a login request to the first byte of the person's own shell."""

from __future__ import annotations

import asyncio

from benchmarks.harness import Report
from benchmarks.people import login_to_first_byte, make_users
from benchmarks.pools import wait_for_pool
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

ONE_AT_A_TIME = 20
AT_ONCE = 20


def main() -> None:
    """Measure from the pool, at once, cold, and returning."""
    report = Report("login")
    with ServerProcess(pool_size=AT_ONCE, dashboard=False) as server:
        asyncio.run(_warm(server, report))
    with ServerProcess(warm_actors=8, warm_containers=0, dashboard=False) as server:
        asyncio.run(_cold(server, report))
    report.finish()


async def _warm(server: ServerProcess, report: Report) -> None:
    emails = await make_users(server, "one", ONE_AT_A_TIME)
    clients = [AsyncClient(server.url, timeout_seconds=60) for _ in emails]
    times, logins = [], []
    for client, email in zip(clients, emails, strict=True):
        await wait_for_pool(server, 1)
        elapsed, login = await login_to_first_byte(client, email)
        times.append(elapsed)
        logins.append(login)
    report.add_quantiles("login to first terminal byte, from the pool", times, p50=100)
    await wait_for_pool(server, AT_ONCE)  # the refill would take the processors
    returning = [
        (await login_to_first_byte(client, email))[0]
        for client, email in zip(clients, emails, strict=True)
    ]
    report.add_quantiles("return visit, password and all", returning)
    attached = [
        await _attach(client, login.session_id)
        for client, login in zip(clients, logins, strict=True)
    ]
    report.add_quantiles("return visit, signed in already", attached, p50=30)

    crowd = await make_users(server, "crowd", AT_ONCE)
    await wait_for_pool(server, AT_ONCE)
    more = [AsyncClient(server.url, timeout_seconds=60) for _ in crowd]
    results = await asyncio.gather(
        *(login_to_first_byte(client, email) for client, email in zip(more, crowd, strict=True)),
        return_exceptions=True,
    )
    good = [result[0] for result in results if not isinstance(result, BaseException)]
    report.add("20 at once, succeeded", len(good), "of 20", AT_ONCE, at_most=False)
    report.add_quantiles("20 at once, to first terminal byte", good, p99=500)
    for client in (*clients, *more):
        await client.close()


async def _attach(client: AsyncClient, session_id: str) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    terminal = await client.terminal(session_id, "main")
    await terminal.read(timeout_seconds=30)
    elapsed = loop.time() - began
    await terminal.close()
    return elapsed


async def _cold(server: ServerProcess, report: Report) -> None:
    emails = await make_users(server, "cold", 8)
    times = []
    for email in emails:
        async with AsyncClient(server.url, timeout_seconds=60) as client:
            times.append((await login_to_first_byte(client, email))[0])
    report.add_quantiles("cold launch: no warm container", times, p50=1000)


if __name__ == "__main__":
    main()
