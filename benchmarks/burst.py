"""Measure many people who come at once, and many containers that die at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

import psutil

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, login_to_first_byte, make_users, shell
from benchmarks.pools import wait_for_pool
from coditect import AsyncClient, AsyncTerminal
from tests.support.server_process import ServerProcess

CROWD = 20
SESSIONS = 100
LOGINS = 1000
ROUNDS = 3


def main() -> None:
    """Twenty people before a pool of eight; a hundred deaths; a thousand sign-ins to running sessions."""
    report = Report("burst")
    with ServerProcess(pool_size=8, dashboard=False) as server:
        asyncio.run(_short_pool(server, report))
    with ServerProcess(pool_size=8, dashboard=False) as server:
        asyncio.run(_running(server, report))
    report.finish()


async def _short_pool(server: ServerProcess, report: Report) -> None:
    times: list[float] = []
    for number in range(ROUNDS):
        emails = await make_users(server, f"crowd{number}-", CROWD)
        await wait_for_pool(server, 8)
        async with AsyncExitStack() as stack:
            clients = [await _client(stack, server) for _ in emails]
            came = [
                login_to_first_byte(client, email)
                for client, email in zip(clients, emails, strict=True)
            ]
            times += [each for each, _ in await asyncio.gather(*came)]
    report.add_quantiles(
        f"{CROWD} first sign-ins at once, 8 warm slots, to first byte", times, p50=1000, p99=2000
    )


async def _running(server: ServerProcess, report: Report) -> None:
    emails = await make_users(server, "runs", SESSIONS)
    async with AsyncExitStack() as stack:
        terminals = []
        for email in emails:
            client = await _client(stack, server)
            session_id = (await client.login(email, PASSWORD)).session_id
            terminals.append(await stack.enter_async_context(shell(client, session_id)))
        await _logins(server, report, emails)
        await asyncio.sleep(15)  # all are at rest, and none is young
        began, used = time.monotonic(), _processor_seconds()
        for pid in server.containers().values():
            os.kill(pid, signal.SIGKILL)
        times = await asyncio.gather(*(_back(terminal, began) for terminal in terminals))
        spent = _processor_seconds() - used
    report.add_quantiles(
        f"{SESSIONS} containers killed at once, to a usable shell", times, p99=8000
    )
    report.add(
        "processor time of the whole machine for each of them", 1000 * spent / SESSIONS, "ms"
    )


async def _logins(server: ServerProcess, report: Report, emails: list[str]) -> None:
    async with AsyncExitStack() as stack:
        clients = [await _client(stack, server) for _ in range(LOGINS)]
        coming = [
            _login(client, emails[number % len(emails)]) for number, client in enumerate(clients)
        ]
        began = time.monotonic()
        found = await asyncio.gather(*coming, return_exceptions=True)
        took = time.monotonic() - began
    good = [each for each in found if not isinstance(each, BaseException)]
    what = f"{LOGINS} sign-ins at once to {len(emails)} running sessions"
    report.add(f"{what}, succeeded", len(good), f"of {LOGINS}", LOGINS, at_most=False)
    report.add(f"{what}, the last answer", took, "s", 30)
    report.add_quantiles(what, good)


async def _back(terminal: AsyncTerminal, began: float) -> float:
    await terminal.send("echo ali''ve\r")
    await terminal.read_until(b"alive\r\n", 120)
    return time.monotonic() - began


async def _login(client: AsyncClient, email: str) -> float:
    began = time.monotonic()
    await client.login(email, PASSWORD)
    return time.monotonic() - began


async def _client(stack: AsyncExitStack, server: ServerProcess) -> AsyncClient:
    return await stack.enter_async_context(AsyncClient(server.url, timeout_seconds=120))


def _processor_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
