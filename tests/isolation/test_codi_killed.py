"""CODI is killed: from outside at any moment, and from inside by people who mean their own programs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import signal

import pytest
import pytest_asyncio

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.sessions import Fenced
from actors.core.records.containers import Health
from actors.core.records.sessions import Route
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.codi.client import HttpCodiClient
from cluster.codi.programs.background import UNKNOWN_EXIT
from cluster.codi.programs.client import start_program
from cluster.runtime import processes as identity
from cluster.runtime.registry import Processes
from cluster.runtime.sandbox import SandboxRuntime
from tests.isolation.inside import spec
from tests.support.journal_keeper import JournalKeeper
from tests.support.waiting import wait_until

pytestmark = pytest.mark.sandbox
LIMIT_SECONDS = 60.0


class Box:
    """A container with CODI, whose journal is kept whatever happens to CODI."""

    def __init__(self, handle, client) -> None:
        self.handle = handle
        self.client = client
        self.keeper = JournalKeeper(handle)
        self.route = Route.to(handle, "s", 3)

    @property
    def init(self) -> int:
        return Processes.of(self.handle).init.pid

    def codi(self) -> int | None:
        for pid in identity.children(self.init):
            stat = identity.read_stat(pid)
            if stat is not None and not stat.ended and stat.command == "codi":
                return pid
        return None

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill CODI, and return when the next one answers."""
        pid = self.codi()
        os.kill(pid, number)
        await self.another(pid)

    async def another(self, than: int) -> None:
        async def answers():
            if self.codi() in {None, than}:
                return False
            with contextlib.suppress(CoditectError):
                return bool(await self.client.processes(self.route))
            return False

        await wait_until(answers, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)

    async def keep(self) -> None:
        while True:
            with contextlib.suppress(CoditectError, OSError):
                await self.keeper.start()
                await self.keeper.ended()
            await self.keeper.stop()
            await asyncio.sleep(0.02)

    async def sh(self, script: str, **more) -> dict:
        return await self.client.exec(self.route, ["bash", "-c", script], **more)

    @contextlib.asynccontextmanager
    async def terminal(self, **query):
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                try:
                    socket = await self.client.connect_terminal(
                        self.route, "t", {"client": "c", "create": "1"} | query
                    )
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)
        try:
            yield socket, json.loads(await socket.recv())
        finally:
            await socket.close()


@pytest_asyncio.fixture
async def runtime(tmp_path):
    runtime = SandboxRuntime(tmp_path, "n", agent=bundle(tmp_path / "runtime"), clock=SystemClock())
    yield runtime
    for handle in await runtime.list():
        await runtime.stop(handle, 0)


@pytest_asyncio.fixture
async def box(runtime):
    handle = await runtime.launch(spec())
    async with HttpCodiClient() as client:
        box = Box(handle, client)
        keeping = asyncio.create_task(box.keep())
        try:
            yield box
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await box.keeper.stop()


async def test_shells_run_on_with_every_byte_once(box):
    lines = 15_000
    async with box.terminal() as (socket, _):
        await socket.send(f"X=kept; for i in $(seq {lines}); do echo line $i; done\r".encode())
        await box.keeper.until("t", b"line 1\r\n")
    shell = (await box.client.terminals(box.route))[0]["pid"]
    chance = random.Random(7)
    for _ in range(6):
        await asyncio.sleep(chance.uniform(0.01, 0.2))
        await box.kill()
    await box.keeper.until("t", b"line %d\r\n" % lines)
    async with box.terminal() as (socket, _):
        await socket.send(b"echo X=$X $$ END$((1+1))\r")
        await box.keeper.until("t", b"END2")
    kept = box.keeper.terminals["t"]
    printed = [int(number) for number in re.findall(rb"line (\d+)\r\n", kept.data)]
    assert printed == list(range(1, lines + 1))
    assert b"X=kept %d END2" % shell in kept.data
    assert len(kept.opened) > 6
    assert kept.exits == []


async def test_a_client_goes_on_where_it_was_and_types_nothing_twice(box):
    async with box.terminal() as (socket, attached):
        await socket.send(b"read -r a; read -r b; echo got=$a=$b=\r")
        await box.keeper.until("t", b"\r\n")
        await socket.send(b"one\r")

        async def counted():
            return box.keeper.terminals["t"].inputs.get("c", 0) >= 42

        await wait_until(counted, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)
    await box.kill()
    end = box.keeper.terminals["t"].end
    async with box.terminal(offset=str(end)) as (socket, attached):
        assert (attached["input_offset"], attached["output_offset"]) == (42, end)
        assert attached["shell_offset"] == 0
        await socket.send(b"two\r")
        await box.keeper.until("t", b"got=one=two=")


async def test_what_a_program_did_not_read_yet_is_read_by_it_later(box):
    async with box.terminal() as (socket, _):
        await socket.send(
            b"stty -icanon -echo; echo rea\\dy; sleep 2; head -c 30000 | md5sum; stty sane\r"
        )
        await box.keeper.until("t", b"ready")
        await socket.send(b"x" * 30_000)  # more than the kernel holds

        async def counted():
            return box.keeper.terminals["t"].inputs.get("c", 0) > 30_000

        await wait_until(counted, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)
    await box.kill()
    await box.keeper.until("t", hashlib.md5(b"x" * 30_000).hexdigest().encode())


async def test_a_shell_that_ends_meanwhile_has_ended_and_another_begins(box):
    async with box.terminal() as (socket, _):
        await socket.send(b"echo here; sleep 0.3; exit\r")
        await box.keeper.until("t", b"here\r\n")
    await box.kill()

    async def reported():
        return bool(box.keeper.terminals["t"].exits)

    await wait_until(reported, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.02)
    await box.kill()  # the end of a terminal is kept, too
    async with box.terminal() as (socket, attached):
        assert attached["shell_offset"] == box.keeper.terminals["t"].exits[0][1]
        await socket.send(b"echo again$((1+1))\r")
        await box.keeper.until("t", b"again2")


async def test_a_deleted_terminal_stays_deleted_and_its_programs_end(box):
    async with box.terminal() as (socket, _):
        await socket.send(b"sleep 86403\r")
        await box.keeper.until("t", b"86403")
    await box.client.delete_terminal(box.route, "t")
    await box.kill()
    assert await box.client.terminals(box.route) == []

    async def commands():
        return [one["command"] for one in await box.client.processes(box.route)]

    await wait_until(commands, lambda found: "sleep 86403" not in found)


async def test_who_owns_the_container_is_not_forgotten(box):
    await box.client.processes(box.route)
    await box.kill()
    with pytest.raises(Fenced):
        await box.client.processes(box.route.model_copy(update={"epoch": 2}))
    with pytest.raises(Fenced):
        await box.client.processes(box.route.model_copy(update={"session_id": "other"}))


async def test_what_exec_left_behind_prints_on(box):
    await box.sh("(while echo tick; do echo x >> log; sleep 0.05; done) & echo started")
    await box.kill()

    async def size():
        return len((await box.sh("cat log"))["stdout"])

    before = await wait_until(size)
    await wait_until(size, lambda now: now > before)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no second user id")
async def test_nobody_inside_reaches_codi(box):
    before = box.codi()
    for script in (
        "pkill -9 python3",
        "pkill -9 -f python",
        "pkill -9 -u user",
        "killall -9 python3",
        "killall -9 codi",
        "pkill -9 codi",
        "kill -9 -1",
        "kill -15 -1",
        "kill -9 2",
    ):
        await box.sh(
            f"setsid sh -c ': the killer; until [ -e go ]; do sleep 0.02; done; {script}' &"
        )

        async def killers():
            listed = await box.client.processes(box.route)
            return sum("the killer" in one["command"] for one in listed)

        assert await killers() > 0, script
        await box.sh("touch go")
        await wait_until(killers, lambda count: count == 0)
        await box.sh("rm go")
        assert (await box.sh("echo on"))["stdout"] == "on\n"
        assert box.codi() == before, script


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's programs have its real user id")
async def test_programs_are_the_user_entirely(box):
    answer = await box.sh("grep -E '^(Uid|Gid|Cap)' /proc/self/status; touch file; stat -c %u file")
    assert "Uid:\t1000\t1000\t1000\t1000" in answer["stdout"]
    assert answer["stdout"].endswith("1000\n")
    capabilities = [line.split()[1] for line in answer["stdout"].splitlines() if "Cap" in line]
    assert set(capabilities) == {"0" * 16}


async def test_it_is_called_by_no_name_that_people_give_to_programs(box):
    shown = (
        await box.sh("for d in /proc/[0-9]*; do cat $d/comm; tr '\\0' ' ' < $d/cmdline; done")
    )["stdout"]
    processes = await box.client.processes(box.route)
    mine = [one["command"].strip() for one in processes if one["ppid"] == 1]
    assert mine == ["codi"]
    assert "codi" in shown


async def test_it_ends_when_it_is_asked_to_also_when_it_is_not_the_first(box, runtime):
    await box.kill()
    waiting = asyncio.create_task(runtime.wait_exit(box.handle))
    await runtime.stop(box.handle, 20)
    assert await asyncio.wait_for(waiting, LIMIT_SECONDS) in {"stopped", "ended by itself"}


async def test_a_program_error_ends_the_container(box, runtime):
    """SIGKILL is an accident; an exit by CODI itself is not."""
    os.kill(box.codi(), signal.SIGTERM)
    assert await asyncio.wait_for(runtime.wait_exit(box.handle), LIMIT_SECONDS) == "ended by itself"
    assert await runtime.probe(box.handle) is Health.DEAD


async def test_programs_by_name_run_on_with_what_they_print(box):
    script = "for i in $(seq 100); do echo line $i; sleep 0.02; done; echo over"
    await box.client.start_background(box.route, "job", ["bash", "-c", script])
    for _ in range(3):
        await asyncio.sleep(0.2)
        await box.kill()
    found = await box.client.wait_for_background(box.route, "job", 60)
    assert (found["running"], found["exit_code"]) == (False, UNKNOWN_EXIT)
    await box.keeper.until("processes/job", b"over\n")
    # One on its way between the pipe and the memory may be lost with CODI; none comes twice.
    lines = bytes(box.keeper.terminals["processes/job"].data).decode().splitlines()
    assert lines[-1] == "over"
    assert len(lines) >= 101 - 3
    assert len(set(lines)) == len(lines)


async def test_a_program_on_a_socket_ends_with_it_when_codi_is_killed(box):
    program = await start_program(box.route, ["sleep", "4712"])
    await box.kill()

    async def ended():
        listed = await box.client.processes(box.route)
        return not any(each["command"] == "sleep 4712" for each in listed)

    await wait_until(ended, timeout_seconds=LIMIT_SECONDS, pause_seconds=0.05)
    with pytest.raises(Unavailable):
        await program.wait()
