"""The way out on a whole server: what sessions reach, what is kept of it, and a gateway that is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from tests.support import processes
from tests.support.egress import web
from tests.support.people import PASSWORD
from tests.support.server_process import ROOT
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.sandbox]

# ``localhost`` is the operator's host here; programs would not go to it by the proxy by themselves.
CURL = "NO_PROXY= no_proxy= curl -sS -m 60"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    directory = tmp_path_factory.mktemp("outside")
    (directory / "hello").write_text("hello from outside\n")
    with web(directory) as port:
        yield port


async def said(person, script: str, seconds: float = 90.0) -> str:
    argv = ["bash", "-c", f"exec 2>&1\n{script}"]
    result = await person.client.exec(person.session_id, argv, timeout_seconds=seconds)
    return result.stdout


async def test_a_session_goes_out_is_refused_and_both_are_kept(person, admin, port, tmp_path):
    hello, client = f"http://localhost:{port}/hello", person.client
    assert await said(person, f"{CURL} {hello}") == "hello from outside\n"
    assert "is link-local" in await said(person, f"{CURL} http://169.254.169.254/latest/")

    async def network():
        return await client.network(person.session_id)

    found = await wait_until(network, lambda found: bool(found.refusals))
    assert (found.policy, found.chosen, found.refusals[0].rule) == ("internet", False, "link_local")
    assert found.today.connections >= 1
    assert found.today.received > 20

    async def hosts():
        entries = await admin.audit(action="network.connect")
        return {entry["resource"].rpartition("/")[2]: entry["result"] for entry in entries}

    found = await wait_until(hosts, lambda found: "169.254.169.254:80" in found)
    assert found["169.254.169.254:80"] == "refused"
    assert found[f"localhost:{port}"] == "ok"

    await client.set_network(person.session_id, "none")

    async def refused():
        return await said(person, f"{CURL} {hello}")

    assert "(rule none)" in await wait_until(refused, lambda said: "hello" not in said)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "CODITECT_URL": client.url,
        "COLUMNS": "200",
    }

    def command(*arguments: str, stdin: str = "") -> str:
        return subprocess.run(
            [sys.executable, "-m", "coditect.cli.main", *arguments],
            input=stdin,
            text=True,
            capture_output=True,
            env=environment,
            check=True,
            timeout=60,
        ).stdout

    login = ("login", "--email", person.email, "--password-stdin")
    await asyncio.to_thread(command, *login, stdin=f"{PASSWORD}\n")
    shown = await asyncio.to_thread(command, "network", "--allow", "packages.example:443")
    assert shown.startswith(
        "allow-list (chosen; at most internet)\n  allowed: packages.example:443\n"
    )
    assert "is link-local, where clouds keep their metadata [link_local]" in shown


async def test_a_killed_gateway_is_back_within_moments_for_everybody(new_person, server, port):
    one, two = await new_person(), await new_person()
    endless = f"{CURL} -o /dev/null http://localhost:{port}/bytes?1000000000000"
    running = asyncio.create_task(said(one, f"{endless}; echo code $?"))

    async def moved() -> int:
        return (await one.client.network(one.session_id)).today.received

    await wait_until(moved, lambda count: count > 1 << 20)
    began = time.monotonic()
    await asyncio.to_thread(processes.kill, server, "EgressActor")
    assert "code 0" not in await running
    hello = f"{CURL} http://localhost:{port}/hello"
    answers = await asyncio.gather(said(one, hello), said(two, hello))
    assert answers == ["hello from outside\n"] * 2
    assert time.monotonic() - began < 30
