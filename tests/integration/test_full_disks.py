"""The disk of the chunk store, and that of the store, fill up under a running server, and have room again."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coditect import ApiError, AsyncClient, NotFound
from tests.support.large_files import until_kept
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

KIB = 1 << 10
pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """Mount a small disk for the test. Skips it where that is not allowed."""
    directory.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root to mount a small disk")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk; what is returned has all of it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(64 * KIB))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1))
    return filler


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


async def refused(client: AsyncClient, session_id: str, path: str, data: bytes) -> None:
    """A save is refused because of the disk, in words, and has no version."""
    with pytest.raises(ApiError) as caught:
        await client.write_file(session_id, path, data)
    await is_refusal(client, session_id, path, caught.value)


async def is_refusal(client: AsyncClient, session_id: str, path: str, error: ApiError) -> None:
    assert (error.status, error.code) == (507, "store_full")
    assert "full" in str(error)
    with pytest.raises(NotFound):
        await client.history(session_id, path)


async def run(client: AsyncClient, session_id: str, script: str) -> None:
    result = await client.exec(session_id, ["sh", "-c", script])
    assert result.exit_code == 0, result.stderr


async def test_full_disks_refuse_saves_and_recover_by_themselves(tmp_path):
    data_dir = tmp_path / "data"
    with (
        small_disk(tmp_path / "chunks", "8m") as chunk_disk,
        small_disk(data_dir / "store", "24m") as store_disk,
        ServerProcess(data_dir, pool_size=1, dashboard=False, chunk_store=chunk_disk) as server,
    ):
        async with AsyncClient(server.url, timeout_seconds=60) as client:
            session_id = (await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)).session_id
            await chunk_store_is_full(client, session_id, chunk_disk)
            await store_is_full(client, session_id, store_disk)


async def chunk_store_is_full(client: AsyncClient, session_id: str, disk: Path) -> None:
    before = content(1, 200 * KIB)
    receipt = await client.write_file(session_id, "before", before)
    filler = fill(disk)
    large = content(2, 900 * KIB)
    await refused(client, session_id, "late", large)
    assert await client.read_file(session_id, "before") == before
    assert await client.read_file(session_id, "before", version=receipt.version) == before
    # What is small needs no room there, and programs and terminals none at all.
    await client.write_file(session_id, "small", b"small")
    await run(client, session_id, "head -c 500000 /dev/urandom > meanwhile")
    async with await client.terminal(session_id, "main") as terminal:
        await terminal.send("echo go''es on\r")
        await terminal.read_until(b"goes on\r\n")
    with pytest.raises(NotFound):
        await client.history(session_id, "meanwhile")
    filler.unlink()
    version = await until_kept(client, session_id, "meanwhile", 500_000)
    now = await client.read_file(session_id, "meanwhile")
    assert await client.read_file(session_id, "meanwhile", version=version) == now
    receipt = await client.write_file(session_id, "late", large)
    assert await client.read_file(session_id, "late", version=receipt.version) == large


async def store_is_full(client: AsyncClient, session_id: str, disk: Path) -> None:
    async with await client.terminal(session_id, "main") as terminal:
        await terminal.send("echo before''hand\r")
        await terminal.read_until(b"beforehand\r\n")
        filler = fill(disk)
        receipts = {}
        # What the store has taken of the disk ahead of its need is used first. The next save may find
        # room again, of what others let go of meanwhile.
        for number in range(1000):
            path, data = f"saved-{number}", content(number, 20 * KIB)
            try:
                receipts[path] = (await client.write_file(session_id, path, data)).version, data
            except ApiError as error:
                refused_path = path
                await is_refusal(client, session_id, path, error)
                break
        else:
            raise AssertionError("the store is not full")
        for path, (version, data) in list(receipts.items())[-3:]:
            assert await client.read_file(session_id, path) == data
            assert await client.read_file(session_id, path, version=version) == data
        await run(client, session_id, "head -c 30000 /dev/urandom > written-while-full")
        with pytest.raises(NotFound):
            await client.history(session_id, "written-while-full")
        # What cannot be kept is not shown; it comes when there is room, once.
        await terminal.send("echo ty''ped; seq 5000 | tail -1\r")
        filler.unlink()
        shown = await terminal.read_until(b"5000\r\n", 60)
        assert shown.count(b"typed\r\n") == 1
    await until_kept(client, session_id, "written-while-full", 30_000)
    receipt = await client.write_file(session_id, refused_path, b"now")
    assert await client.read_file(session_id, refused_path, version=receipt.version) == b"now"
    for path, (version, data) in receipts.items():
        assert await client.read_file(session_id, path, version=version) == data
    assert not [name for name in os.listdir(disk) if name == "filler"]
