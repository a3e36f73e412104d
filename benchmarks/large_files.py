"""Can a file of 2 GiB be saved, read, archived and restored, and how much memory does that take?"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from benchmarks.harness import Report
from benchmarks.people import PASSWORD, make_users
from coditect import AsyncClient, ClientError
from tests.support.large_files import Content, Memory, program_sha256, sha256_of, until_kept
from tests.support.server_process import ServerProcess

SIZE = 2 << 30
LIMIT_SECONDS = 600
MEMORY_TARGET = 512


def main() -> None:
    """Measure with the argument's MiB, else 2 GiB."""
    size = int(sys.argv[1]) << 20 if len(sys.argv) > 1 else SIZE
    report = Report("large_files")
    with ServerProcess(pool_size=1, dashboard=False) as server:
        asyncio.run(_measure(server, report, size))
    report.finish()


async def _measure(server: ServerProcess, report: Report, size: int) -> None:
    [email] = await make_users(server, "large", 1)
    async with AsyncClient(server.url, timeout_seconds=LIMIT_SECONDS) as client:
        session_id = (await client.login(email, PASSWORD)).session_id
        for sparse in (False, True):
            await _save(server, client, session_id, report, size, sparse=sparse)
        await _program(server, client, session_id, report, size)


async def _save(
    server: ServerProcess,
    client: AsyncClient,
    session_id: str,
    report: Report,
    size: int,
    *,
    sparse: bool,
) -> None:
    what = f"{size >> 20} MiB, {'sparse' if sparse else 'dense'}"
    content, memory = Content(1, size, sparse=sparse), Memory(server)
    async with memory.watched():
        began = time.perf_counter()
        receipt = await client.write_file(session_id, "large", content.blocks())
        report.add(f"{what}: saved, with receipt", time.perf_counter() - began, "s")
        assert (receipt.size, receipt.durable) == (size, True), receipt
        began = time.perf_counter()
        found = await sha256_of(client.stream_file(session_id, "large"))
        report.add(f"{what}: read back", time.perf_counter() - began, "s")
        assert found == (content.sha256, size)
        began = time.perf_counter()
        found = await sha256_of(client.stream_file(session_id, "large", version=receipt.version))
        report.add(f"{what}: read from the chunk store", time.perf_counter() - began, "s")
        assert found == (content.sha256, size)
    _add_memory(report, what, memory)
    await client.delete_file(session_id, "large")


async def _program(
    server: ServerProcess, client: AsyncClient, session_id: str, report: Report, size: int
) -> None:
    what = f"{size >> 20} MiB by a program"
    memory = Memory(server)
    async with memory.watched():
        script = f"head -c {size} /dev/urandom > program"
        await client.exec(session_id, ["sh", "-c", script], timeout_seconds=120)
        began = time.perf_counter()
        await asyncio.wait_for(until_kept(client, session_id, "program", size), LIMIT_SECONDS)
        report.add(f"{what}: archived", time.perf_counter() - began, "s")
        digest = await program_sha256(client, session_id, "program")
        container_id = (await client.session(session_id)).container_id
        assert container_id is not None
        directory = server.workspace(container_id)
        lost = directory.rename(Path(server.data_dir) / "lost")
        os.kill(server.containers()[container_id], signal.SIGKILL)
        began = time.perf_counter()
        await asyncio.wait_for(_until_back(client, session_id), LIMIT_SECONDS)
        report.add(f"{what}: restored", time.perf_counter() - began, "s")
        assert (await client.session(session_id)).container_id != container_id
        assert await program_sha256(client, session_id, "program") == digest
        await asyncio.to_thread(shutil.rmtree, lost)
    _add_memory(report, what, memory)


async def _until_back(client: AsyncClient, session_id: str) -> None:
    while True:
        try:
            if (await client.exec(session_id, ["test", "-e", "program"])).exit_code == 0:
                return
        except ClientError:
            pass
        await asyncio.sleep(0.1)


def _add_memory(report: Report, what: str, memory: Memory) -> None:
    growth, name = memory.growth()
    report.add(f"{what}: most memory gained", growth >> 20, "MiB", MEMORY_TARGET, note=name)


if __name__ == "__main__":
    main()
