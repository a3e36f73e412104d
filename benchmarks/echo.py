"""Measure the echo of a keystroke, with 1 and with 100 sockets at 10 Hz, and what one terminal can print."""

from __future__ import annotations

import asyncio
import gc

from benchmarks import jupyter
from benchmarks.harness import Report, quantile
from benchmarks.jupyter import JupyterTerminal
from benchmarks.people import PASSWORD, make_users, shell
from benchmarks.pools import wait_for_pool
from coditect import AsyncClient, AsyncTerminal
from tests.support.server_process import ServerProcess

ROUNDS = 100
PRINTED = 15_900_000
RUNS = 5
SOCKETS = 100
SESSIONS = 4


def main() -> None:
    """Measure `cat` in a raw terminal: one byte there and back, then a large file."""
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
        await _measure_one(terminal, report, "", p50=1.5, rate=15)
    if jupyter.PROGRAM:
        async with jupyter.jupyter_terminal() as peer:
            await _measure_one(peer, report, "Jupyter's, which keeps nothing: ")
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


async def _measure_one(
    terminal: AsyncTerminal | JupyterTerminal,
    report: Report,
    whose: str,
    p50: float | None = None,
    rate: float | None = None,
) -> None:
    """Measure a terminal alone."""
    await terminal.send(
        f"L=$(mktemp); seq 1 9999999 | head -c {PRINTED} >$L; stty -opost; echo ma''de\r"
    )
    await _until(terminal, b"made")
    rates = [await _print(terminal) for _ in range(RUNS)]
    note = f"{PRINTED:,} bytes, median of {RUNS}"
    what = f"{whose}one terminal's output"
    report.add(what, quantile(rates, 0.5), "MB/s", rate, at_most=False, note=note)
    await terminal.send("rm $L; stty raw -echo; cat\r")
    await asyncio.sleep(1)
    times = await _rounds(terminal, 300, 0.0)
    report.add_quantiles(f"{whose}echo, 1 socket", times, p50=p50, p99=10 if p50 else None)


async def _print(terminal: AsyncTerminal | JupyterTerminal) -> float:
    """Have a large file printed; return how many megabytes came in a second."""
    await _drain(terminal)
    began = asyncio.get_running_loop().time()
    await terminal.send("cat $L; echo do''ne\r")
    printed = await _until(terminal, b"done")
    assert printed >= PRINTED, printed
    return printed / 1e6 / (asyncio.get_running_loop().time() - began)


async def _until(terminal: AsyncTerminal | JupyterTerminal, pattern: bytes) -> int:
    """Read up to a pattern and a little more; return how much that was."""
    seen, count = b"", 0
    while pattern not in seen:
        data = await terminal.read(60)
        seen = (seen + data)[-max(len(data), 1) - len(pattern) :]
        count += len(data)
    return count


async def _drain(terminal: AsyncTerminal | JupyterTerminal) -> None:
    try:
        while True:
            await terminal.read(0.05)
    except TimeoutError:
        return


async def _rounds(
    terminal: AsyncTerminal | JupyterTerminal, count: int, period: float, start: float = 0.0
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
