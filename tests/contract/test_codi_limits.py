"""CODI at the limits of its container: a full disk, no more processes, programs that pry."""

import asyncio
import contextlib
import json
import os
import subprocess

import pytest
from websockets.exceptions import ConnectionClosed

from actors.core.errors.base import Busy
from actors.core.errors.limits import WorkspaceFull
from actors.core.records.containers import Health
from actors.core.records.sessions import Route
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.codi.client import HttpCodiClient
from cluster.runtime.sandbox import SandboxRuntime
from tests.isolation.inside import spec
from tests.support.codi_process import health_of, run_codi
from tests.support.journal_keeper import keeping

LIMIT_SECONDS = 60.0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
async def test_a_full_disk_is_reported_and_leaves_what_was_there(tmp_path):
    disk = tmp_path / "workspace"
    with contextlib.ExitStack() as stack:
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
        if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            pytest.skip("mounting is not allowed here")
        stack.callback(subprocess.run, ["umount", "-l", str(disk)], check=True)
        codi = stack.enter_context(run_codi(tmp_path, tmp_path / "stage"))
        async with HttpCodiClient() as client:
            await client.put_file(codi.route(), "kept", b"as it was")
            for _ in range(2):
                with pytest.raises(WorkspaceFull, match="workspace disk is full"):
                    await client.put_file(codi.route(), "kept", b"x" * (300 << 10))
            assert [path.name for path in disk.iterdir()] == ["kept"]
            assert disk.joinpath("kept").read_bytes() == b"as it was"
            await client.put_file(codi.route(), "fits", b"x" * (100 << 10))


@pytest.mark.sandbox
class TestInAContainer:
    @pytest.fixture
    async def runtime(self, tmp_path):
        runtime = SandboxRuntime(
            tmp_path, "n", agent=bundle(tmp_path / "stage"), clock=SystemClock()
        )
        yield runtime
        for handle in await runtime.list():
            await runtime.stop(handle, 0)

    @pytest.fixture
    async def client(self):
        async with HttpCodiClient() as made:
            yield made

    @staticmethod
    def route(handle):
        return Route.to(handle, "s", 1)

    async def test_programs_cannot_read_the_secret(self, runtime, client):
        handle = await runtime.launch(spec(secret="a-secret-to-be-kept"))
        script = (
            "id -u; for p in /proc/[0-9]*; do"
            " case $(tr -d '\\0' <$p/cmdline) in codi)"
            " echo found; cat $p/environ $p/mem $p/maps; ls $p/fd; esac; done; env"
        )
        answer = await client.exec(self.route(handle), ["sh", "-c", script])
        lines = answer["stdout"].split("\n")
        assert lines[:2] == ["1000", "found"]
        assert "a-secret-to-be-kept" not in answer["stdout"]
        assert answer["stderr"].count("Permission denied") >= 4

    async def test_without_a_process_to_be_had_codi_reports_it_and_serves_on(self, runtime, client):
        handle = await runtime.launch(spec(pids=48))
        route = self.route(handle)
        await client.put_file(route, "before", b"x")
        socket = await client.connect_terminal(route, "t", {"create": "1"})
        async with keeping(handle), socket:
            await socket.send(b"bomb() { bomb | bomb & }; bomb\n")
            async with asyncio.timeout(LIMIT_SECONDS):
                while True:
                    try:
                        await client.exec(route, ["true"], timeout_seconds=5)
                    except Busy:
                        break
            for number in range(10):
                name = f"file-{number}"
                await client.put_file(route, name, b"content")
                async with client.get_file(route, name) as file:
                    assert b"".join([part async for part in file.content]) == b"content"
            assert await runtime.probe(handle) is Health.HEALTHY
            assert (await health_of(handle))["status"] == "ok"
            assert len((await client.tree(route, ""))["entries"]) >= 11

    async def test_a_shell_in_a_container_is_the_users_own(self, runtime, client):
        handle = await runtime.launch(spec())
        socket = await client.connect_terminal(self.route(handle), "t", {"create": "1"})
        seen = b""
        async with keeping(handle), socket:
            assert json.loads(await socket.recv())["type"] == "attached"
            await socket.send(b"echo $USER:$PWD:$((6*7)); jobs; tty; exit\n")
            async with asyncio.timeout(LIMIT_SECONDS):
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        message = await socket.recv()
                        seen += message if isinstance(message, bytes) else b""
        assert b"user:/workspace:42" in seen
        assert b"/dev/pts/" in seen
        assert b"no job control" not in seen
        assert socket.close_code == 4410
