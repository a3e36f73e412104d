"""Measure the time to a save's receipt, to a kept change of a file, and to a restored workspace."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time

import httpx

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users
from coditect import AsyncClient, ClientError, NotFound
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

SAVES, LARGE_SAVES, CHANGES = 300, 30, 100
FILES = 10_000
GIB = 1 << 30
KEPT = re.compile(r"^coditect_archive_paths_kept_total\S*\s+([0-9.e+]+)", re.MULTILINE)


def main() -> None:
    """Save, change, and lose workspaces of one person."""
    report = Report("workspaces")
    with ServerProcess(pool_size=1, dashboard=False, max_file=2 * GIB) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    [email] = await make_users(server, "keep", 1)
    async with AsyncClient(server.url, timeout_seconds=120) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        await client.write_file(session_id, "first", b"1")
        times = await _saves(client, session_id, 1 << 10, SAVES)
        report.add_quantiles("save of 1 KiB to receipt", times)
        times = await _saves(client, session_id, 10 << 20, LARGE_SAVES)
        report.add_quantiles("save of 10 MiB to receipt", times)
        times = [await _change(client, session_id, n) for n in range(CHANGES)]
        report.add_quantiles("changed file to durable", times, p99=1000)
        await client.delete_file(session_id, "large-file")
        script = (
            f"mkdir many && cd many && for d in $(seq 100); do mkdir $d; for f in $(seq {FILES // 100});"
            " do echo $d $f > $d/$f; done; done"
        )
        seconds = await _fill(server, client, session_id, script, FILES + 101)  # and directories
        report.add("10,000 files written to durable", seconds, "s")
        await _restore(server, client, session_id, report, "10,000 files", "many -type f", FILES)
        await client.exec(session_id, ["rm", "-r", "many"], timeout_seconds=60)
        script = "head -c 1G /dev/urandom > huge"
        seconds = await _fill(server, client, session_id, script, 1)
        report.add("1 GiB written to durable", seconds, "s")
        await _restore(server, client, session_id, report, "1 GiB", "huge", 1)


async def _saves(client: AsyncClient, session_id: str, size: int, count: int) -> list[float]:
    times = []
    for number in range(count):
        data = os.urandom(size)
        began = time.perf_counter()
        await client.write_file(
            session_id, "large-file" if size > 1 << 20 else f"f{number % 10}", data
        )
        times.append(time.perf_counter() - began)
    return times


async def _change(client: AsyncClient, session_id: str, number: int) -> float:
    """Have a program make a file and ask for its history until it is there, since the program has ended."""
    name = f"changed-{number}"
    script = f"head -c 1024 /dev/urandom > {name}"
    await client.exec(session_id, ["sh", "-c", script])
    began = time.perf_counter()
    while True:
        try:
            await client.history(session_id, name)
        except NotFound:
            await asyncio.sleep(0.005)
        else:
            return time.perf_counter() - began


async def _fill(
    server: ServerProcess, client: AsyncClient, session_id: str, script: str, files: int
) -> float:
    """Run a script that writes so many files; return when they are durable, since it ended."""
    before = await _kept(server)
    await client.exec(session_id, ["sh", "-c", script], timeout_seconds=120)
    began = time.perf_counter()
    await wait_until(lambda: _kept(server), lambda kept: kept >= before + files, 120, 0.1)
    if files == 1:
        await wait_until(
            lambda: _size(client, session_id, "huge"), lambda size: size == GIB, 120, 0.1
        )
    return time.perf_counter() - began


async def _size(client: AsyncClient, session_id: str, path: str) -> int:
    try:
        return (await client.history(session_id, path))[0].size
    except NotFound:
        return 0


async def _kept(server: ServerProcess) -> float:
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(f"{server.url}/api/admin/metrics")
    found = KEPT.search(answer.text)
    return float(found[1]) if found else 0.0


async def _restore(
    server: ServerProcess,
    client: AsyncClient,
    session_id: str,
    report: Report,
    what: str,
    find: str,
    files: int,
) -> None:
    """Lose the container and its directory at once."""
    container_id = (await client.session(session_id)).container_id
    pid = server.containers()[container_id]
    # Away at once: what is removed bit by bit, somebody has deleted.
    assert container_id is not None
    lost = server.workspace(container_id).rename(server.data_dir / "lost")
    os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    usable = 0.0
    while True:
        try:
            command = f"find {find} 2>/dev/null | wc -l"
            result = await client.exec(session_id, ["sh", "-c", command])
        except ClientError:
            await asyncio.sleep(0.05)
            continue
        usable = usable or time.perf_counter() - began
        if result.stdout.strip() == str(files):
            break
        await asyncio.sleep(0.1)
    await asyncio.to_thread(shutil.rmtree, lost)
    report.add(f"restore of {what}: program runs again", usable, "s")
    report.add(f"restore of {what}: all there", time.perf_counter() - began, "s")


if __name__ == "__main__":
    main()
