"""Measure a page of a program inside, through the proxy, beside a direct connection to the same program."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from websockets.asyncio.client import connect

from benchmarks.harness import Report, quantile
from benchmarks.people import PASSWORD, make_users
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

PORT = 8000
ALONE = 400
AT_ONCE = 16
CROWD_SECONDS = 5.0
ECHOES = 400
LARGE = 100 << 20
BLOCK = bytes(1 << 18)
IDLE_SECONDS = 30.0
PROGRAM = Path(__file__).parent / "port_program.py"


def main() -> None:
    """Measure requests, a socket's echo, and large bodies, directly and through the server."""
    report = Report("ports")
    direct = subprocess.Popen(
        [sys.executable, str(PROGRAM), "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert direct.stdout is not None
        port = int(direct.stdout.readline().split()[-1])
        with ServerProcess(pool_size=1, dashboard=False) as server:
            asyncio.run(_measure(server, port, report))
    finally:
        direct.kill()
        direct.wait()
    report.finish()


async def _measure(server: ServerProcess, direct: int, report: Report) -> None:
    [email] = await make_users(server, "ports", 1)
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        await client.write_file(session_id, "program.py", PROGRAM.read_bytes())
        async with await client.terminal(session_id, "main") as terminal:
            await terminal.send(f"python3 program.py {PORT}\r")
            await terminal.read_until(b"serving on 8", 60)
            shared = await client.share_port(session_id, PORT, visibility="public")
            host = urlsplit(shared.url).netloc
            served = int(host.rpartition(":")[2])
            for whose, port, name in (
                ("", served, host),
                ("direct: ", direct, f"localhost:{direct}"),
            ):
                await _measure_one(report, whose, port, name)
            await _measure_watch(server, client, session_id, report)


async def _measure_one(report: Report, whose: str, port: int, host: str) -> None:
    """Measure one way to the program."""
    times = await _requests(port, host, ALONE)
    report.add_quantiles(f"{whose}a small answer, one at a time", times)
    rounds = await asyncio.gather(*(_for_a_while(port, host) for _ in range(AT_ONCE)))
    rate = sum(map(len, rounds)) / CROWD_SECONDS
    report.add(f"{whose}requests a second, {AT_ONCE} connections", rate, "1/s", at_most=False)
    report.add_quantiles(f"{whose}the same, each", [each for times in rounds for each in times])
    report.add_quantiles(f"{whose}echo on a WebSocket", await _echoes(port, host))
    for name, move in (("down", _down), ("up", _up)):
        seconds = [await move(port, host) for _ in range(3)]
        rate = LARGE / 1e6 / quantile(seconds, 0.5)
        report.add(f"{whose}100 MB {name}", rate, "MB/s", at_most=False, note="median of 3")


async def _requests(port: int, host: str, count: int) -> list[float]:
    loop, times = asyncio.get_running_loop(), []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        began = loop.time()
        await _ask(reader, writer, host)
        times.append(loop.time() - began)
    writer.close()
    return times


async def _for_a_while(port: int, host: str) -> list[float]:
    loop, times = asyncio.get_running_loop(), []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    end = loop.time() + CROWD_SECONDS
    while (began := loop.time()) < end:
        await _ask(reader, writer, host)
        times.append(loop.time() - began)
    writer.close()
    return times


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
    writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(_length(head))


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


async def _echoes(port: int, host: str) -> list[float]:
    loop, times = asyncio.get_running_loop(), []
    async with connect(
        f"ws://{host}/", host="127.0.0.1", port=port, compression=None, proxy=None
    ) as socket:
        for _ in range(ECHOES):
            began = loop.time()
            await socket.send(b"x")
            await socket.recv()
            times.append(loop.time() - began)
    return times


async def _down(port: int, host: str) -> float:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    began = loop.time()
    writer.write(f"GET /{LARGE} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    left = _length(await reader.readuntil(b"\r\n\r\n"))
    assert left == LARGE
    while left:
        left -= len(await reader.read(1 << 20))
    writer.close()
    return loop.time() - began


async def _up(port: int, host: str) -> float:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = loop.time()
    writer.write(f"POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {LARGE}\r\n\r\n".encode())
    for _ in range(LARGE // len(BLOCK)):
        writer.write(BLOCK)
        await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(_length(head)) == str(LARGE).encode()
    writer.close()
    return loop.time() - began


async def _measure_watch(
    server: ServerProcess, client: AsyncClient, session_id: str, report: Report
) -> None:
    """Measure what CODI spends at rest, without and with somebody who follows the session's events."""
    details = await client.session(session_id)
    agent = _agent(server.containers()[str(details.container_id)])
    for whose, following in (("", False), (", followed", True)):
        task = asyncio.ensure_future(_follow(client, session_id)) if following else None
        await asyncio.sleep(5)
        before = _spent(agent)
        await asyncio.sleep(IDLE_SECONDS)
        spent = (_spent(agent) - before) / IDLE_SECONDS * 1000
        report.add(f"CODI at rest{whose}", spent, "ms/s")
        if task is not None:
            task.cancel()


async def _follow(client: AsyncClient, session_id: str) -> None:
    async for _ in client.events(session_id):
        continue


def _spent(agent: psutil.Process) -> float:
    """Return the processor time of its main thread, finer than by the ticks of the clock."""
    return int(Path(f"/proc/{agent.pid}/schedstat").read_text().split()[0]) / 1e9


def _agent(pid: int) -> psutil.Process:
    """Return CODI's process below a container's first one."""
    below = psutil.Process(pid).children(recursive=True)
    return next(each for each in below if each.name() == "codi")


if __name__ == "__main__":
    main()
