"""A backup of a server on FoundationDB, by FoundationDB's own tools, restored into another cluster."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coditect import AsyncClient
from tests.support.fdb_process import FdbProcess
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

CONTENT = random.Random(1).randbytes(200_000)
pytestmark = [pytest.mark.ray, pytest.mark.fdb, pytest.mark.timeout(600)]


@contextmanager
def cluster(directory: Path) -> Iterator[FdbProcess]:
    directory.mkdir()
    process = FdbProcess(directory)
    process.start_agent()
    try:
        process.create()
        yield process
    finally:
        process.kill()


def server_on(database: FdbProcess, directory: Path, place: Path) -> ServerProcess:
    directory.mkdir()
    return ServerProcess(
        directory,
        pool_size=1,
        dashboard=False,
        backup_place=place,
        backup_interval=0,
        backup_keep=1,
        store="foundationdb",
        store_fdb_cluster_file=database.cluster_file,
        store_fdb_prefix="a-house",
        store_fdb_backup_url=f"file://{place}/fdb/{{id}}",
    )


def run(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        server.command("backup", *arguments),
        env=server.environment | {"HOME": str(server.data_dir)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def version_of(place: Path, backup_id: str) -> int:
    """Return the version of the only FoundationDB backup in the place, by the name of its snapshot."""
    [snapshot] = (place / "fdb" / backup_id).rglob("snapshots/snapshot,*")
    return int(snapshot.name.split(",")[2])


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0, done.stdout
    return " ".join(done.stderr.split())


async def test_a_backup_brings_an_empty_cluster_and_server_everything(tmp_path):
    place = tmp_path / "backups"
    with cluster(tmp_path / "cluster-1") as first:
        server = server_on(first, tmp_path / "old", place)
        first.cli("writemode on; set somebody-else 1")
        with server:
            async with AsyncClient(server.url, timeout_seconds=60) as client:
                login = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
                succeeded(run(server, "create", "--server", server.url))
                await client.write_file(login.session_id, "dir/kept", CONTENT)
                async with await client.terminal(login.session_id, "main") as terminal:
                    await terminal.send("echo se''en\r")
                    await terminal.read_until(b"seen\r\n")
                said = succeeded(run(server, "create", "--server", server.url))
                assert "store: " in said
                await client.write_file(login.session_id, "late", b"after the backup")
                # The first made room for the second, files and all.
                [backup] = (await client.backups()).backups
                assert [path.name for path in (place / "fdb").iterdir()] == [backup.backup_id]
                trail = await client.audit()
    with cluster(tmp_path / "cluster-2") as second:
        new = server_on(second, tmp_path / "new", place)
        second.cli("writemode on; set somebody-else 2")
        where = ("--data-dir", str(new.data_dir))
        assert backup.backup_id in succeeded(run(new, "list", *where))
        assert "whole" in succeeded(run(new, "verify", *where))

        hurt = max(
            (place / "fdb").rglob("kvranges/**/range,*"), key=lambda path: path.stat().st_size
        )
        data = hurt.read_bytes()
        hurt.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert hurt.name in refused(run(new, "verify", *where))
        assert "nothing was restored" in refused(run(new, "restore", *where))
        assert not (new.data_dir / "chunks").exists()
        hurt.write_bytes(data)

        assert backup.backup_id in succeeded(run(new, "restore", *where))
        assert "clearrange" in refused(run(new, "restore", *where))
        assert int(second.cli("getversion")) > version_of(place, backup.backup_id)
        assert "`somebody-else' is `2'" in second.cli("get somebody-else")
        with new:
            async with AsyncClient(new.url, timeout_seconds=60) as client:
                again = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
                assert again.session_id == login.session_id
                async with await client.terminal(again.session_id, "main", offset=0) as terminal:
                    await terminal.read_until(b"seen\r\n")
                    await terminal.send("until [ -s dir/kept ]; do sleep 0.05; done; echo ba''ck\r")
                    await terminal.read_until(b"back\r\n", 60)
                assert await client.read_file(again.session_id, "dir/kept") == CONTENT
                names = {entry.name for entry in await client.tree(again.session_id)}
                assert "late" not in names
                # Versions go on from where they were: the new login is the newest line.
                times = [entry["timestamp"] for entry in await client.audit()]
                assert times == sorted(times, reverse=True)
                assert len(times) > len(trail)
