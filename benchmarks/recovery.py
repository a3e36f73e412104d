"""Measure the time until a shell answers again after its container, or its actor, was killed."""

from __future__ import annotations

import asyncio
import os
import signal

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users, shell
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

KILLS = 15


def main() -> None:
    """Kill containers under an open terminal; then come back to a session at rest."""
    report = Report("recovery")
    with ServerProcess(pool_size=2, passivate_after=1, dashboard=False) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    loop = asyncio.get_running_loop()
    [email] = await make_users(server, "heal", 1)
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        times = []
        async with shell(client, session_id) as terminal:
            for number in range(KILLS):
                container_id = (await client.session(session_id)).container_id
                pid = server.containers()[container_id]
                began = loop.time()
                os.kill(pid, signal.SIGKILL)
                await terminal.send(f"echo ali''ve{number}\r")
                await terminal.read_until(f"alive{number}\r\n".encode(), 60)
                times.append(loop.time() - began)
                # A container that lives shorter than this counts as a crash loop and is slowed down.
                await asyncio.sleep(6)
        report.add_quantiles("killed container to usable shell, same socket", times, p50=1000)
        waits = []
        for _ in range(10):
            await asyncio.sleep(3)
            began = loop.time()
            terminal = await client.terminal(session_id, "main")
            await terminal.read(30)
            waits.append(loop.time() - began)
            await terminal.close()
        report.add_quantiles("return to a session at rest, to first byte", waits)


if __name__ == "__main__":
    main()
