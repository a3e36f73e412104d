"""`coditect down --keep-containers`: shells outlive the server, and starts that come to nothing."""

from __future__ import annotations

import socket
import subprocess

import pytest

from coditect import AsyncClient
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


def run(server: ServerProcess, *arguments: str) -> int:
    return subprocess.run(
        server.command(*arguments),
        capture_output=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env=server.environment,
        cwd=server.data_dir.parent,
        check=False,
    ).returncode


async def test_kept_containers_outlive_starts_that_come_to_nothing_with_their_shells(tmp_path):
    (tmp_path / "data").mkdir()
    server = ServerProcess(tmp_path / "data", pool_size=1, dashboard=False).start()
    arguments = ("--data-dir", str(server.data_dir))
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        login = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        async with await client.terminal(login.session_id, "main") as terminal:
            await terminal.send("export HELD=he''ld; echo o''k\r")
            await terminal.read_until(b"ok\r\n")
        mine = (await client.session(login.session_id)).container_id
    assert run(server, "down", "--keep-containers", *arguments) == 0
    kept = server.containers()
    assert mine in kept

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(server, "up", "--port", port, *arguments) > 0
    assert server.containers() == kept, "a start that fails leaves them alone"

    starting = subprocess.Popen(
        server.command("up", "--port", str(server.port), *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=server.environment,
        cwd=server.data_dir.parent,
        start_new_session=True,
    )

    async def under_way() -> bool:
        return (server.data_dir / "run" / "server.json").exists()

    await wait_until(under_way, bool)
    assert run(server, "down", "--keep-containers", *arguments) == 0
    starting.wait(60)
    assert kept.items() <= server.containers().items(), "and so does one that is called off"

    with server:
        async with AsyncClient(server.url, timeout_seconds=60) as client:
            again = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
            assert again.session_id == login.session_id
            async with await client.terminal(again.session_id, "main") as terminal:
                await terminal.send("echo still-$HELD\r")
                await terminal.read_until(b"still-held\r\n")
    assert server.containers() == {}, server.tail()
