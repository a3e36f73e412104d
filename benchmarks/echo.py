"""Measure the echo of a keystroke, with 1 and with 100 sockets at 10 Hz."""

from __future__ import annotations

import asyncio
import gc

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users, shell
from benchmarks.pools import wait_for_pool
from coditect import AsyncClient, AsyncTerminal
from tests.support.server_process import ServerProcess

ROUNDS = 100
SOCKETS = 100
SESSIONS = 4


def main() -> None:
    """Measure `cat` in a raw terminal: one byte there and back."""
    report = Report("echo")
    gc.freeze()  # the load's own pauses are not the server's
    with ServerProcess(pool_size=SESSIONS, dashboard=False) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    clients = []
    sessions = []
    for email in await make_users(server, "echo", SESSIONS):
        client = AsyncClient(server.url, timeout_seconds=60)
        sessions.append((await client.login(email, PASSWORD)).session_id)
        clients.append(client)
    await wait_for_pool(server, SESSIONS)  # the refill would take the processors
    async with shell(clients[0], sessions[0]) as terminal:
        await terminal.send("stty raw -echo; cat\r")
        await asyncio.sleep(1)
        report.add_quantiles("echo, 1 socket", await _rounds(terminal, 300, 0.0), p99=10)
    terminals = []
    for number in range(SOCKETS):
        index = number % SESSIONS
        terminal = await clients[index].terminal(sessions[index], f"t{number // SESSIONS}")
        await terminal.send("stty raw -echo; echo go''; cat\r")
        terminals.append(terminal)
    for terminal in terminals:
        await terminal.read_until(b"go", 60)
    await asyncio.sleep(2)
    for terminal in terminals:
        await _drain(terminal)
    loads = await asyncio.gather(
        *(
            _rounds(terminal, ROUNDS, 0.1, start=index * 0.001)
            for index, terminal in enumerate(terminals)
        )
    )
    report.add_quantiles("echo, 100 sockets at 10 Hz", [t for load in loads for t in load], p99=10)
    for terminal in terminals:
        await terminal.close()
    for client in clients:
        await client.close()


async def _drain(terminal: AsyncTerminal) -> None:
    try:
        while True:
            await terminal.read(0.05)
    except TimeoutError:
        return


async def _rounds(
    terminal: AsyncTerminal, count: int, period: float, start: float = 0.0
) -> list[float]:
    loop = asyncio.get_running_loop()
    await _drain(terminal)
    await asyncio.sleep(start)
    times = []
    for _ in range(count):
        began = loop.time()
        await terminal.send(b"x")
        await terminal.read(30)
        times.append(loop.time() - began)
        if period:
            await asyncio.sleep(max(0.0, period - times[-1]))
    return times


if __name__ == "__main__":
    main()
