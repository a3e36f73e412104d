"""A hostile or unlucky person inside a workspace leaves the server responsive."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from coditect import ApiError, ConnectionFailed, TerminalClosed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.ray


async def responsive(person, server) -> None:
    """Somebody else's calls answer while the abuse goes on."""
    # On a busy machine a component may be late for a moment, which the page shows.
    await wait_until(lambda: asyncio.to_thread(server.is_healthy))
    async with asyncio.timeout(60):
        await person.client.session(person.session_id)


async def test_yes_in_a_terminal_leaves_the_server_responsive(person, server):
    async with await person.client.terminal(person.session_id, "main") as terminal:
        await terminal.send("yes\r")
        await terminal.read_until(b"y\r\ny\r\ny\r\n")
        await responsive(person, server)
        await terminal.send("\x03")
        await terminal.send("echo stop''ped\r")
        await terminal.read_until(b"stopped\r\n", 60)


async def test_a_client_that_stops_reading_does_not_hold_up_another(person, server):
    slow = await person.client.terminal(person.session_id, "shared")
    async with slow, await person.client.terminal(person.session_id, "shared") as quick:
        await quick.send("head -c 12000000 /dev/zero | tr '\\0' x; echo; echo fin''ished\r")
        # The slow one reads nothing at all; its socket fills and it is cut off.
        await quick.read_until(b"finished\r\n", 60)
        await responsive(person, server)


async def test_a_fork_bomb_is_contained(person, server):
    async with await person.client.terminal(person.session_id, "bomb") as terminal:
        await terminal.send("bomb() { bomb | bomb & }; bomb\r")
        await asyncio.sleep(2)  # the bomb needs time to grow to its limit
        await responsive(person, server)
    await person.client.hibernate(person.session_id)
    await wait_until(
        lambda: person.client.session(person.session_id), lambda s: s.status == "hibernated"
    )
    await person.client.resume(person.session_id)
    result = await person.client.exec(person.session_id, ["echo", "alive"])
    assert result.stdout == "alive\n"


async def test_exec_is_killed_at_its_limit_and_reports_it(person):
    result = await person.client.exec(person.session_id, ["sleep", "60"], timeout_seconds=0.5)
    assert result.timed_out


async def test_exec_output_is_bounded(person):
    result = await person.client.exec(
        person.session_id, ["sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x"]
    )
    assert result.truncated
    assert 0 < len(result.stdout) <= 1 << 20


PROBE = """
import socket, sys
for where in (("127.0.0.1", int(sys.argv[1])), ("10.0.0.1", 80), ("1.1.1.1", 53)):
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect(where)
        except OSError as error:
            print("refused", where[0])
        else:
            print("reached", where[0])
"""


async def test_workspaces_reach_no_network(person):
    """A server on the machine's loopback, which anything in its network namespace would reach."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 5).close()
        argv = ["python3", "-c", PROBE, str(port)]
        result = await person.client.exec(person.session_id, argv)
    assert result.stdout.splitlines() == [f"refused {where}" for where in (
        "127.0.0.1", "10.0.0.1", "1.1.1.1"
    )], result.stderr  # fmt: skip


async def test_workspaces_see_nothing_of_the_host(person, server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    secret.chmod(0o644)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o055)
    places = [secret, Path("/proc/1/root") / secret.relative_to("/"), server.output, "/etc/shadow"]
    for place in places:
        result = await person.client.exec(person.session_id, ["cat", str(place)])
        assert (result.exit_code, result.stdout) == (1, ""), place
    # The ways to the interpreter and to the agent lead through these.
    known = {"/root": Path(sys.base_prefix).parts, "/home": Path(sys.base_prefix).parts}
    for directory, names in {**known, str(server.data_dir): ("runtime",)}.items():
        result = await person.client.exec(person.session_id, ["ls", "-A", directory])
        assert set(result.stdout.split()) <= set(names), directory
    status = await person.client.exec(person.session_id, ["cat", "/proc/self/status"])
    lines = dict(line.split(":", 1) for line in status.stdout.splitlines())
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(lines[which], 16) == 0, which
    assert int(lines["NoNewPrivs"]) == 1
    assert int(lines["Seccomp"]) == 2
    assert "0" not in lines["Uid"].split()


async def raw(client, server, method: str, path: str, **arguments) -> httpx.Response:
    headers = {"authorization": f"Bearer {client.access_token}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        return await client.request(method, path, **arguments)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{not json", 400),
        (b'"a string"', 422),
        (b"\xff\xfe\xfa", 400),
        (b'{"email": 1, "password": []}', 422),
        (b'{"email": "a@b.c", "password": "' + b"x" * (2 << 20) + b'"}', 413),
    ],
)
async def test_bad_bodies_get_a_problem_document(admin, server, body, status):
    answer = await raw(
        admin,
        server,
        "POST",
        "/api/v1/auth/login",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["code"]


@pytest.mark.parametrize(
    "path", ["/api/v1/sessions/s-unknown", "/api/v1/nothing", "/api/v1/sessions/%00"]
)
async def test_unknown_things_are_404_problem_documents(admin, server, path):
    answer = await raw(admin, server, "GET", path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize(
    "credentials", ["", "Bearer", "Bearer nonsense", "Bearer a.b.c", "Basic YTpi"]
)
async def test_bad_credentials_are_401(server, credentials):
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/api/v1/auth/me", headers={"authorization": credentials})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_absurd_terminal_sizes_are_refused_and_the_shell_goes_on(person):
    for cols, rows in ((0, 24), (-1, 24), (100_000, 24), (80, 10**9)):
        with pytest.raises((TerminalClosed, ApiError, ConnectionFailed)):
            await person.client.terminal(person.session_id, "main", cols=cols, rows=rows)
        done = await person.client.exec(person.session_id, ["echo", "ok"])
        assert done.stdout == "ok\n", (cols, rows)


async def test_odd_file_names_work(person):
    for name in ("with space", "new\nline", "ünïcode", "-dash", "*", "a" * 255):
        await person.client.write_file(person.session_id, name, b"odd")
        assert await person.client.read_file(person.session_id, name) == b"odd"
        assert name in {entry.name for entry in await person.client.tree(person.session_id)}
        await person.client.delete_file(person.session_id, name)


async def test_a_client_cannot_forge_where_it_comes_from(person, server, admin):
    email = f"unknown-{person.session_id}@example.com"
    answer = await raw(
        person.client,
        server,
        "POST",
        "/api/v1/auth/login",
        json={"email": email, "password": "no"},
        headers={"x-forwarded-for": "6.6.6.6"},
    )
    assert answer.status_code == 401

    async def refusals() -> list[dict]:
        headers = {"authorization": f"Bearer {admin.access_token}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
            entries = (await client.get("/api/admin/audit")).json()["entries"]
        return [entry for entry in entries if entry["result"] == "refused"]

    [newest, *_] = await wait_until(refusals)
    assert newest["ip_address"] == "127.0.0.1"


async def test_only_the_ingress_listens_beyond_this_machine(server):
    top = psutil.Process(server.process.pid)
    proxies = [p for p in top.children(recursive=True) if "haproxy" in p.name()]
    assert proxies
    for proxy in proxies:
        for connection in proxy.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1", connection
