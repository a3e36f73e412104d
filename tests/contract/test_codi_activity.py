"""A container's report of its activity, and its closing for sleep."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import InvalidArgument, PreconditionFailed
from actors.core.records.containers import ContainerHandle
from actors.core.records.idleness import Activity, Quiet
from actors.core.records.sessions import Route
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.codi.client import HttpCodiClient
from cluster.codi.control import CodiControl
from cluster.codi.feed_client import FeedClient
from cluster.runtime.sandbox import SandboxRuntime
from tests.isolation.inside import spec
from tests.support.journal_keeper import keeping
from tests.support.waiting import wait_until

pytestmark = pytest.mark.sandbox

PYTHON = os.path.realpath(sys.executable)
SPIN = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
LISTEN = (
    "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print('on', flush=True); "
)


class House:
    """One container and who speaks with it."""

    def __init__(self, handle: ContainerHandle, client: HttpCodiClient) -> None:
        self.handle = handle
        self.client = client
        self.control = CodiControl()
        self.route = Route.to(handle, "s", 1)

    async def look(self) -> Activity:
        return await self.control.activity(self.route)

    async def seal(self, since: float, *, cpu: float = 1e6, share: float = 0.05) -> None:
        quiet = Quiet(since=since, cpu_seconds=cpu, cpu_share=share)
        await self.control.seal(self.route, quiet, 60.0)

    def terminal(self, name: str = "t"):
        return self.client.connect_terminal(self.route, name, {"create": "1"})

    async def run(self, *argv: str) -> str:
        return str((await self.client.exec(self.route, list(argv)))["stdout"])


@pytest.fixture
async def house(tmp_path) -> AsyncIterator[House]:
    runtime = SandboxRuntime(tmp_path, "n", agent=bundle(tmp_path / "stage"), clock=SystemClock())
    made = await runtime.launch(spec())
    async with HttpCodiClient() as client, keeping(made):
        yield House(made, client)
    for handle in await runtime.list():
        await runtime.stop(handle, 0)


def input_at(seen: Activity) -> float:
    assert seen.input_age is not None
    return seen.at - seen.input_age


async def test_calls_of_people_are_input_and_the_servers_own_are_not(house):
    assert (await house.look()).input_age is None
    await house.run("true")
    before = await house.look()
    await house.control.raise_epoch(house.route)
    assert input_at(await house.look()) == pytest.approx(input_at(before))
    await house.client.put_file(house.route, "file", b"x")
    assert input_at(await house.look()) > before.at


async def test_following_the_workspace_keeps_nobody_awake_and_goes_on_when_it_is_closed(house):
    async with FeedClient() as feed:
        begun = await feed.changes(house.route, "f", -1, 0)
        following = asyncio.create_task(feed.changes(house.route, "f", begun["cursor"], 30))
        await feed.look(house.route, ["nothing"])
        seen = await house.look()
        assert (seen.busy, seen.input_age) == (0, None)
        await house.seal(seen.at)
        await feed.look(house.route, ["nothing"])
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_call_under_way_is_reported(house):
    running = asyncio.create_task(house.run("sleep", "60"))
    seen = await wait_until(house.look, lambda seen: seen.busy == 1)
    with pytest.raises(PreconditionFailed):
        await house.seal(seen.at)
    running.cancel()
    await wait_until(house.look, lambda seen: seen.busy == 0)


async def test_processor_time_counts_that_of_programs_which_have_ended(house):
    before = await house.look()
    await house.run("sh", "-c", SPIN)
    after = await house.look()
    used = after.cpu_seconds - before.cpu_seconds
    assert used > 0.05
    again = await house.look()  # which costs something itself
    assert again.cpu_seconds == pytest.approx(after.cpu_seconds, abs=used / 2)


async def test_listening_sockets_are_counted(house):
    assert (await house.look()).listeners == 0
    out = await house.run(PYTHON, "-I", "-S", "-c", LISTEN + "print(open('/proc/net/tcp').read())")
    assert "on" in out
    async with await house.terminal() as socket:
        await socket.send(f'{PYTHON} -I -S -c "{LISTEN}time.sleep(60)"\r'.encode())
        await wait_until(house.look, lambda seen: seen.listeners == 1)


async def test_what_a_terminal_reads_and_writes_is_seen_and_so_is_what_waits(house):
    async with await house.terminal() as socket:
        await socket.send(b"sleep 60\r")
        seen = await wait_until(house.look, lambda seen: seen.output_age is not None)
        assert seen.input_age is not None
        await socket.send(b"echo later\r")
        seen = await wait_until(house.look, lambda seen: seen.unread > 0)
        assert seen.unread >= len("echo later\n")
        with pytest.raises(PreconditionFailed):
            await house.seal(seen.at)
        await socket.send(b"\x03")
        await wait_until(house.look, lambda seen: seen.unread == 0)


async def test_input_or_work_since_the_decision_keeps_it_open(house):
    decided = await house.look()
    await house.run("true")
    with pytest.raises(PreconditionFailed, match="somebody works"):
        await house.seal(decided.at)
    await house.run("sh", "-c", SPIN)
    decided = await house.look()
    with pytest.raises(PreconditionFailed, match="programs are working"):
        await house.seal(decided.at, cpu=0.0, share=0.001)
    assert await house.run("echo", "open") == "open\n"


async def test_a_closed_container_takes_nothing_until_it_is_opened(house):
    async with await house.terminal() as socket:
        await socket.recv()
        decided = await house.look()
        await house.seal(decided.at)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await asyncio.wait_for(socket.recv(), 60)
        assert closed.value.rcvd.code == 1001
    with pytest.raises(Unavailable, match="about to stop"):
        await house.run("true")
    with pytest.raises(Unavailable):
        await house.terminal()
    await house.control.raise_epoch(house.route)
    assert await house.run("echo", "open") == "open\n"


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
async def test_a_condition_that_is_none_is_refused(house, bad):
    with pytest.raises(InvalidArgument):
        await house.seal(0.0, share=bad)
