"""How soon does a streamed program print, how fast, and how long do 10,000 files take up and down?"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users
from coditect import AsyncClient
from tests.support.server_process import ServerProcess

RUNS = 30
STREAM = 256 << 20
FILES, FOLDERS = 10_000, 100


def main() -> None:
    """Measure."""
    report = Report("programs")
    with ServerProcess(pool_size=1, dashboard=False) as server:
        asyncio.run(_measure(server, report))
    report.finish()


async def _measure(server: ServerProcess, report: Report) -> None:
    [email] = await make_users(server, "programs", 1)
    async with AsyncClient(server.url, timeout_seconds=600) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        await client.exec(session_id, ["true"])
        await _first_byte(client, session_id, report)
        await _throughput(client, session_id, report)
        with tempfile.TemporaryDirectory() as place:
            await _directory(client, session_id, report, Path(place))


async def _first_byte(client: AsyncClient, session_id: str, report: Report) -> None:
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        async with await client.program(session_id, ["echo", "on"]) as program:
            assert await program.read() is not None
            seconds.append(time.perf_counter() - began)
            await program.wait()
    seconds.sort()
    report.add("exec stream: first byte, p50", seconds[RUNS // 2] * 1000, "ms")
    report.add("exec stream: first byte, largest", seconds[-1] * 1000, "ms")


async def _throughput(client: AsyncClient, session_id: str, report: Report) -> None:
    began, size = time.perf_counter(), 0
    argv = ["head", "-c", str(STREAM), "/dev/zero"]
    async with await client.program(session_id, argv) as program:
        async for output in program:
            size += len(output.data)
    assert size == STREAM, size
    report.add("exec stream: output", STREAM / 1e6 / (time.perf_counter() - began), "MB/s")


async def _directory(client: AsyncClient, session_id: str, report: Report, place: Path) -> None:
    for folder in range(FOLDERS):
        (place / f"up/{folder}").mkdir(parents=True)
        for number in range(FILES // FOLDERS):
            (place / f"up/{folder}/{number}").write_bytes(b"%d/%d\n" % (folder, number) * 100)
    began = time.perf_counter()
    done = await client.upload_directory(session_id, place / "up", "many")
    report.add(f"{FILES} files up, durable", time.perf_counter() - began, "s")
    assert (done.made, done.failed) == (FILES + FOLDERS, ()), done
    began = time.perf_counter()
    assert await client.download_directory(session_id, "many", place / "down") == []
    report.add(f"{FILES} files down", time.perf_counter() - began, "s")


if __name__ == "__main__":
    main()
