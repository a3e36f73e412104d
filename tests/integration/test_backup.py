"""A backup of a running server, restored where nothing of it is left."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from coditect import AsyncClient
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess

CONTENT = random.Random(1).randbytes(200_000)  # more than the store itself takes
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def run(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        server.command("backup", *arguments),
        env=server.environment | {"HOME": str(server.data_dir)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


async def test_a_backup_brings_an_empty_server_everything_but_programs(tmp_path):
    place = tmp_path / "backups"
    (tmp_path / "old").mkdir()
    server = ServerProcess(tmp_path / "old", pool_size=1, dashboard=False, backup_place=place)
    with server:
        async with AsyncClient(server.url, timeout_seconds=60) as client:
            login = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
            await client.write_file(login.session_id, "dir/kept", CONTENT)
            async with await client.terminal(login.session_id, "main") as terminal:
                await terminal.send("echo se''en\r")
                await terminal.read_until(b"seen\r\n")
            assert "bytes" in run(server, "create", "--server", server.url).stdout
            await client.write_file(login.session_id, "late", b"after the backup")
            [backup] = (await client.backups()).backups
            assert (backup.sessions, backup.packs, backup.damaged) == (1, 1, None)
    shutil.rmtree(server.data_dir)
    (tmp_path / "new").mkdir()
    new = ServerProcess(tmp_path / "new", pool_size=1, dashboard=False, backup_place=place)
    where = ("--data-dir", str(new.data_dir))
    assert backup.backup_id in run(new, "list", *where).stdout
    assert "whole" in run(new, "verify", *where).stdout
    assert backup.backup_id in run(new, "restore", *where).stdout
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
