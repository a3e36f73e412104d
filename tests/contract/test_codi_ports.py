"""What CODI reports of the ports inside: in a real network namespace, and what it costs."""

import asyncio
import os
import signal
import socket
import sys

import pytest

from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.ports.codi import PortsChanged
from actors.core.records.ports import Listening
from actors.core.records.sessions import Route
from cluster.clock import SystemClock
from cluster.codi.agent.ports import listeners
from cluster.codi.agent.ports.listeners import Listeners
from cluster.codi.bundle import bundle
from cluster.codi.client import HttpCodiClient
from cluster.codi.journal_client import connect_journal
from cluster.codi.tunnel import open_tunnel
from cluster.runtime.sandbox import SandboxRuntime
from tests.isolation.inside import spec
from tests.support.codi_process import run_codi
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

PYTHON = os.path.realpath(sys.executable)
SERVE = (
    "import socket,time,sys\n"
    "made = [socket.create_server((h, int(p)), family=socket.AF_INET6 if ':' in h else socket.AF_INET)"
    " for h, p in (each.rsplit('@') for each in sys.argv[1:])]\n"
    "print('on', flush=True)\n"
    "time.sleep(100)\n"
)


@pytest.mark.sandbox
class TestInAContainer:
    @pytest.fixture
    async def house(self, tmp_path):
        runtime = SandboxRuntime(
            tmp_path, "n", agent=bundle(tmp_path / "stage"), clock=SystemClock()
        )
        handle = await runtime.launch(spec())
        async with HttpCodiClient() as client:
            yield handle, Route.to(handle, "s", 1), client
        for each in await runtime.list():
            await runtime.stop(each, 0)

    async def test_listeners_are_reported_within_a_second_with_their_programs(self, house):
        handle, route, client = house
        journal = await connect_journal(handle, timeout_seconds=60)
        assert await client.ports(route, 60) == ()
        program = [PYTHON, "-I", "-S", "-c", SERVE, "127.0.0.1@4000", "::@4001", "127.0.0.2@4002"]
        running = asyncio.create_task(client.exec(route, program, timeout_seconds=120))
        news = await heard(journal, 2)
        assert [(each.port, each.address) for each in news] == [(4000, "127.0.0.1"), (4001, "::")]
        assert {each.program for each in news} == {os.path.basename(PYTHON)}
        assert all((each.command or "").startswith(f"{PYTHON} -I") for each in news)
        assert await client.ports(route) == news
        (await open_tunnel(route, 4000)).close()

        assert await client.stop_port(route, 4001)
        assert await heard(journal, 0) == ()
        assert (await running)["exit_code"] == -signal.SIGTERM
        with pytest.raises(NotFound, match="4001"):
            await client.stop_port(route, 4001)
        await journal.close()

        # Who follows later hears what listens already.
        running = asyncio.create_task(client.exec(route, program, timeout_seconds=120))
        await wait_until(lambda: client.ports(route), lambda found: len(found) == 2)
        journal = await connect_journal(handle, timeout_seconds=60)
        assert len(await heard(journal, 2)) == 2
        running.cancel()
        await journal.close()


async def heard(journal, count: int) -> tuple[Listening, ...]:
    """Return what is heard when so many listen; a program opens and closes one after another."""
    async with asyncio.timeout(60):
        while True:
            message = await journal.receive()
            if isinstance(message, PortsChanged) and len(message.ports) == count:
                return message.ports


async def test_a_program_that_does_not_end_by_itself_is_killed(tmp_path):
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE
    with run_codi(tmp_path, tmp_path / "stage") as codi:
        async with HttpCodiClient() as client:
            port = free_port()
            argv = [PYTHON, "-I", "-S", "-c", stubborn, f"127.0.0.1@{port}"]
            running = asyncio.create_task(client.exec(codi.route(), argv, timeout_seconds=120))
            await wait_until(lambda: listed(client, codi, port))
            assert await client.stop_port(codi.route(), port)
            assert (await running)["exit_code"] == -signal.SIGKILL
            for wrong in (0, 65536):
                with pytest.raises(InvalidArgument):
                    await client.stop_port(codi.route(), wrong)


async def listed(client, codi, port) -> bool:
    return port in {each.port for each in await client.ports(codi.route())}


def test_proc_and_the_kernels_own_answer_agree(monkeypatch):
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        mine = {(each.getsockname()[1], each.getsockname()[0]) for each in (four, six)}
        hidden = frozenset({six.getsockname()[1]})
        asked, hiding = Listeners(frozenset()), Listeners(hidden)
        monkeypatch.setattr(listeners, "_NETLINK_SOCK_DIAG", 999)
        reading = Listeners(frozenset())
        for each in (asked, reading):
            assert mine <= {(found.port, found.address) for found in each.find()}
        assert {found.port for found in hiding.find()} >= {four.getsockname()[1]} - hidden
        assert not hidden & {found.port for found in hiding.find()}
        assert asked.find() is asked.find()
        for each in (asked, hiding, reading):
            each.close()


def test_what_a_container_says_is_checked():
    many = [{"port": port, "address": "::"} for port in range(1, 200)]
    assert len(Listening.all_of(many)) == 128
    for wrong in ({"port": 0, "address": "::"}, {"port": 1}, {"port": 1, "address": "x" * 65}, 5):
        with pytest.raises(ValueError, match="Listening"):
            Listening.all_of([wrong])
