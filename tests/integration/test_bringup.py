"""Up, down, twice on one machine, and every way in which it cannot start, on a real Ray head."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.bringup import leftovers, stand_in
from cluster.layout import Layout
from coditect import AsyncClient
from tests.support import processes
from tests.support.breakable import times_attached
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def run(server: ServerProcess, *arguments: str, timeout: float = 120, **settings: str):
    return subprocess.run(
        server.command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        env={**server.environment, **settings},
        cwd=server.data_dir.parent,
        check=False,
    )


@pytest.fixture
def idle(tmp_path) -> ServerProcess:
    """A server that was not started."""
    (tmp_path / "data").mkdir()
    return ServerProcess(tmp_path / "data", pool_size=1, dashboard=False)


def clean_failure(result) -> str:
    assert result.returncode not in {0, -9}
    assert "Traceback" not in result.stderr + result.stdout
    return result.stderr


def test_a_port_in_use_is_reported(idle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", idle.port))
        taken.listen()
        result = run(idle, "up", "--port", str(idle.port), "--data-dir", str(idle.data_dir))
    assert str(idle.port) in clean_failure(result)
    assert leftovers.find(idle.data_dir) == []


def test_a_file_in_place_of_the_data_directory_is_reported(idle, tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    result = run(idle, "up", "--port", str(idle.port), "--data-dir", str(place))
    assert str(place) in clean_failure(result)


def test_a_wrong_setting_is_reported_with_its_place(idle):
    result = run(idle, "up", "--data-dir", str(idle.data_dir), CODITECT_POOL_SIZE="lots")
    assert "CODITECT_POOL_SIZE" in clean_failure(result)


def test_down_and_status_without_a_server(idle):
    assert "no server" in clean_failure(run(idle, "down", "--data-dir", str(idle.data_dir)))
    status = run(idle, "status", "--json", "--data-dir", str(idle.data_dir))
    assert status.returncode == 1
    assert json.loads(status.stdout)["running"] is False


def test_doctor_looks_at_everything(idle):
    result = run(idle, "doctor", "--data-dir", str(idle.data_dir))
    assert "bubblewrap" in result.stdout


async def test_a_server_lives_goes_without_a_trace_and_comes_back_on_another_machine(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = ServerProcess(tmp_path / "one", pool_size=1, dashboard=False)
    two = ServerProcess(tmp_path / "two", pool_size=1, dashboard=False)
    with one:
        locked = run(one, "up", "--port", "0", "--data-dir", str(one.data_dir))
        assert str(one.process.pid) in clean_failure(locked)

        # A second server on the same machine, detached; both serve at the same time.
        up = run(two, "up", "--detach", "--port", str(two.port), "--data-dir", str(two.data_dir))
        assert up.returncode == 0, up.stdout + up.stderr
        assert two.url in up.stdout
        for server in (one, two):
            async with AsyncClient(server.url, timeout_seconds=60) as client:
                login = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
                result = await client.exec(login.session_id, ["echo", "here"])
                assert result.stdout == "here\n"

        async def status() -> dict:
            said = run(two, "status", "--json", "--data-dir", str(two.data_dir))
            return json.loads(said.stdout)

        await keeps_to_itself(one)

        # Beside the start of another server a component may answer late for a moment.
        known = await wait_until(status, lambda s: s["health"]["status"] == "ok", pause_seconds=0.5)
        assert known["ready"]
        assert run(two, "down", "--data-dir", str(two.data_dir)).returncode == 0
        assert leftovers.find(two.data_dir) == []
        assert two.containers() == {}
        assert one.is_healthy()

        await another_haproxy_stands_in_for_one_that_died(one)
        workers_are_forked(one)
        await the_workers_parent_is_started_again(one)
        await gcs_is_started_again(one)
        session_id = await something_is_left(one)
        forged = await a_container_looks_like_the_server(one, session_id)
        family = one.family()
        assert len(family) > 10
        assert not set(forged) & {found.pid for found in leftovers.find(one.data_dir)}
        assert one.stop() == 0
    assert [each for each in family if each.is_running() and each.status() != "zombie"] == []
    assert one.containers() == {}
    there = tmp_path / "there"
    shutil.copytree(one.data_dir, there, symlinks=True)
    shutil.rmtree(one.data_dir)
    with ServerProcess(there, pool_size=1, dashboard=False) as moved:
        await all_but_programs_is_there(moved, session_id)


async def test_a_gcs_that_dies_while_the_dashboard_starts_is_started_again_and_a_signal_ends_all(
    tmp_path,
):
    server = ServerProcess(tmp_path, pool_size=1)
    try:
        server.start()
        await another_gcs(server, processes.kill(server, "GCS"))
        async with AsyncClient(server.url, timeout_seconds=60) as client:
            await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        await the_dashboard_shows_what_agents_measure(server)
        a_signal_to_its_whole_group_ends_it(server)
    finally:
        server.kill_all_but_containers()


async def the_dashboard_shows_what_agents_measure(server: ServerProcess) -> None:
    layout = Layout(server.data_dir)
    token = layout.token_file.read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    url = layout.read_server().dashboard_url
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as dashboard:

        async def measured() -> bool:
            with contextlib.suppress(httpx.TransportError):
                answer = await dashboard.get("/nodes", params={"view": "summary"})
                return answer.is_success and "cpu" in answer.json()["data"]["summary"][0]
            return False

        await wait_until(measured, timeout_seconds=90, pause_seconds=0.5)
        actors = (await dashboard.get("/api/v0/actors")).json()["data"]["result"]["result"]
        assert "SupervisorActor" in {actor["class_name"] for actor in actors}


async def another_haproxy_stands_in_for_one_that_died(server: ServerProcess) -> None:
    standing_in = str(Layout(server.data_dir).ray_dir / stand_in.CONFIGURATION)

    async def served() -> bool:
        return server.is_healthy()

    async def configurations() -> set[str]:
        found: set[str] = set()
        for pid in processes.of(server, "HAProxy"):
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {word for word in psutil.Process(pid).cmdline() if ".cfg" in word}
        return found

    processes.kill(server, "HAProxy")
    await wait_until(configurations, lambda found: standing_in in found)
    await wait_until(served)
    # Serve's next one takes over, and who stood in ends with its last connection.
    await wait_until(configurations, lambda found: found and standing_in not in found)
    assert await served()


async def test_a_signal_to_its_whole_group_ends_it_while_it_starts(tmp_path):
    server = ServerProcess(tmp_path, pool_size=1)
    server.launch()
    try:
        await wait_until(lambda: living(server, "GCS"))
        a_signal_to_its_whole_group_ends_it(server)
    finally:
        server.kill_all_but_containers()


def a_signal_to_its_whole_group_ends_it(server: ServerProcess) -> None:
    family = server.family()
    os.killpg(server.process.pid, signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert [each for each in family if each.is_running() and each.status() != "zombie"] == []


async def living(server: ServerProcess, kind: str) -> list[int]:
    return processes.of(server, kind)


async def keeps_to_itself(server: ServerProcess) -> None:
    """Nothing of it listens but on the loopback, and the password is where it was given only."""
    listening = set()
    secret = ADMIN_PASSWORD.encode()
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            found = process.net_connections("tcp")
            listening |= {
                (each.laddr.ip, each.laddr.port, process.name())
                for each in found
                if each.status == psutil.CONN_LISTEN
            }
            assert secret not in Path(f"/proc/{process.pid}/environ").read_bytes(), process.name()
    assert len(listening) > 10
    strangers = [
        each for each in listening if each[0] not in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    ]
    assert strangers == []
    kept = [path for path in (server.data_dir / "run").rglob("*") if path.is_file()]
    logs = [path for path in (server.data_dir / "logs" / "ray").rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"secrets.json"}
    assert any(path.name.startswith("worker-") for path in logs)
    assert [path for path in (*kept, *logs) if secret in path.read_bytes()] == []
    # Serve opens a socket of its own in there to all (0666): nobody else gets as far as that.
    ray_dir = Layout(server.data_dir).ray_dir
    assert ray_dir.stat().st_mode & 0o777 == 0o700
    [admin] = ray_dir.glob("*/admin.sock")
    assert admin.stat().st_mode & 0o777 == 0o600
    assert list(ray_dir.glob("*/metrics.sock"))


def workers_are_forked(server: ServerProcess) -> None:
    """All actors and replicas are, from the server's own parent, and are seen by their names."""
    parent = workers_parent(server)
    assert parent is not None
    for kind in ("Supervisor", "StoreActor", "PoolActor", "SessionActor", "replica"):
        assert {psutil.Process(pid).ppid() for pid in processes.of(server, kind)} == {parent}, kind


def workers_parent(server: ServerProcess) -> int | None:
    """Return its pid; a fork that has no title yet looks like it."""
    for pid in processes.of(server, "WorkerParent"):
        if psutil.Process(pid).ppid() == server.process.pid:
            return pid
    return None


async def the_workers_parent_is_started_again(server: ServerProcess) -> None:
    """And those that it forked do not notice; the next ones are forked from the new one."""
    actors = processes.of(server, "SessionActor")
    killed = processes.kill(server, "WorkerParent")

    async def another() -> bool:
        return workers_parent(server) not in {None, *killed}

    async def forked() -> set[int]:
        pids = processes.of(server, "SessionActor")
        return {psutil.Process(pid).ppid() for pid in pids if pid not in actors}

    await wait_until(another)
    assert processes.of(server, "SessionActor") == actors
    processes.send(actors, signal.SIGKILL)
    await wait_until(forked, lambda parents: parents == {workers_parent(server)})


async def another_gcs(server: ServerProcess, killed: list[int]) -> None:
    await wait_until(lambda: living(server, "GCS"), lambda pids: pids not in ([], killed))


async def gcs_is_started_again(server: ServerProcess) -> None:
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        login = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        async with await client.terminal(login.session_id, "main") as terminal:
            await terminal.send("echo be''fore\r")
            await terminal.read_until(b"before\r\n")
            killed = processes.kill(server, "GCS")
            await terminal.send("echo dur''ing\r")
            await terminal.read_until(b"during\r\n")
            await another_gcs(server, killed)
            await terminal.send("echo af''ter\r")
            await terminal.read_until(b"after\r\n")
            assert times_attached(terminal) == 1
        assert (await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)).session_id == login.session_id


async def a_container_looks_like_the_server(server: ServerProcess, session_id: str) -> list[int]:
    """Start programs inside that call themselves what the server's do; return their pids outside."""
    data_dir = server.data_dir.resolve()
    script = f"""
    export CODITECT_SERVER={data_dir} RAY_AUTH_TOKEN_PATH={data_dir}/run/ray-token
    mkdir -p run/pids; cat /proc/sys/kernel/random/boot_id /proc/self/stat > run/pids/1
    for name in raylet gcs_server ray::ServeReplica "coditect up --data-dir {data_dir}"; do
      (cd /; exec -a "$name" setsid sleep 86405 </dev/null >/dev/null 2>&1) &
    done
    sleep 0.5; echo started
    """
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        result = await client.exec(session_id, ["bash", "-c", script])
    assert "started" in result.stdout
    inside = [psutil.Process(pid) for pid in server.containers().values()]
    return [child.pid for process in inside for child in process.children(recursive=True)]


async def something_is_left(server: ServerProcess) -> str:
    """Save a file and leave a shell; return the session's id."""
    async with AsyncClient(server.url, timeout_seconds=60) as client:
        login = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        await client.write_file(login.session_id, "kept", b"kept")
        async with await client.terminal(login.session_id, "main") as terminal:
            await terminal.send("HELD=he''ld; echo still-$HELD\r")
            await terminal.read_until(b"still-held\r\n")
        return login.session_id


async def all_but_programs_is_there(moved: ServerProcess, session_id: str) -> None:
    async with AsyncClient(moved.url, timeout_seconds=60) as client:
        again = await client.login(ADMIN_EMAIL, ADMIN_PASSWORD)
        assert again.session_id == session_id
        assert await client.read_file(again.session_id, "kept") == b"kept"
        async with await client.terminal(again.session_id, "main", offset=0) as terminal:
            await terminal.read_until(b"still-held\r\n")
            await terminal.send("echo go''ne:$HELD\r")
            await terminal.read_until(b"gone:\r\n")
