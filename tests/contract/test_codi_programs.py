"""``GET /exec/ws``: streams apart and to the byte, input, terminals, signals, back-pressure, ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import Unavailable
from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import InvalidArgument, NotFound
from cluster.codi.agent.programs.running import MAX_STREAMS
from cluster.codi.bundle import Limits
from cluster.codi.client import HttpCodiClient
from cluster.codi.programs.client import start_program
from cluster.codi.programs.frames import STDERR, STDOUT, WINDOW, Ended
from tests.support.codi_process import run_codi
from tests.support.waiting import wait_until

ALL_BYTES = bytes(range(256)) * 300


@pytest.fixture(scope="module")
def codi(tmp_path_factory):
    with run_codi(tmp_path_factory.mktemp("codi"), tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.fixture
async def client():
    async with HttpCodiClient() as made:
        yield made


@pytest.fixture
def start(codi):
    return lambda *argv, **options: start_program(codi.route(), argv, **options)


async def read_all(program):
    """Return what it prints on each channel, and its end."""
    parts = {STDOUT: bytearray(), STDERR: bytearray()}
    while (output := await program.read()) is not None:
        parts[output.channel] += output.data
    return bytes(parts[STDOUT]), bytes(parts[STDERR]), program.ended


async def read_until(program, wanted):
    seen = bytearray()
    while wanted not in seen:
        output = await program.read()
        assert output is not None, bytes(seen)
        seen += output.data
    return bytes(seen)


async def grows(path, beyond):
    async def probe():
        return path.exists() and path.stat().st_size > beyond

    await wait_until(probe, pause_seconds=0.02)


async def gone(pid):
    async def probe():
        return not Path(f"/proc/{pid}").exists()

    await wait_until(probe, pause_seconds=0.02)


class TestPipes:
    async def test_two_outputs_come_apart_and_to_the_byte(self, start):
        script = "head -c 76800 in >&2; cat in; exit 7"
        program = await start("sh", "-c", f"cat > in; {script}")
        async with program:
            writing = asyncio.create_task(self.give(program, ALL_BYTES))
            out, err, ended = await read_all(program)
            await writing
        assert (out, err, ended) == (ALL_BYTES, ALL_BYTES, Ended(7))

    async def give(self, program, data):
        await program.write(data)
        await program.end_input()

    async def test_what_is_typed_is_answered_before_the_input_ends(self, start):
        async with await start("cat") as program:
            for word in (b"one", b"two"):
                await program.write(word)
                assert await read_until(program, word) == word
            await program.end_input()
            assert await read_all(program) == (b"", b"", Ended(0))

    async def test_more_than_any_buffer_holds_goes_through_both_ways(self, start):
        data = os.urandom(8 << 20)
        async with await start("cat") as program:
            writing = asyncio.create_task(self.give(program, data))
            out, _, ended = await read_all(program)
            await writing
        assert (out == data, ended) == (True, Ended(0))

    async def test_input_that_nobody_reads_is_dropped_and_its_writer_goes_on(self, start):
        async with await start("sh", "-c", "exec <&-; sleep 0.5; echo on") as program:
            writing = asyncio.create_task(program.write(bytes(4 * WINDOW)))
            assert (await read_all(program))[::2] == (b"on\n", Ended(0))
            await writing
            assert program.input_closed

    async def test_a_signal_overtakes_input_that_is_not_read(self, start):
        async with await start("sleep", "60") as program:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(program.write(bytes(4 * WINDOW)), 0.5)
            await program.signal("SIGTERM")
            assert await program.wait() == Ended(signal="TERM")
            assert program.ended.exit_code == -signal.SIGTERM

    async def test_who_does_not_read_holds_up_the_program(self, codi, start):
        async with await start("sh", "-c", "cat /dev/zero & echo $! > zeros; wait") as program:

            async def written():
                with contextlib.suppress(OSError, ValueError):
                    pid = int((codi.workspace / "zeros").read_text())
                    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
                    return int(dict(line.split(": ") for line in lines)["wchar"])
                return 0

            await wait_until(written, pause_seconds=0.02)
            seen, before = await written(), -1
            while seen != before:
                before = seen
                await asyncio.sleep(0.3)
                seen = await written()
            assert 0 < seen < 16 << 20
            await program.read()
            assert (await program.read()).data

    async def test_what_it_leaves_behind_is_not_waited_for_and_goes_on(self, codi, start):
        script = "(while sleep 0.02; do echo tick; echo x >> left; done) & echo on"
        async with await start("sh", "-c", script) as program:
            out, _, ended = await read_all(program)
        assert ended == Ended(0)
        assert b"on" in out.splitlines()  # and perhaps what the other printed first
        left = codi.workspace / "left"
        await grows(left, 0)
        await grows(left, left.stat().st_size + 20)

    async def test_all_is_there_when_the_reader_comes_late(self, start):
        async with await start("head", "-c", "3000000", "/dev/zero") as program:
            first = await program.read()
            await asyncio.sleep(2.5)  # longer than the other side would wait for a close
            out, _, ended = await read_all(program)
        assert (len(first.data) + len(out), ended) == (3_000_000, Ended(0))


class TestTerminals:
    async def test_a_program_has_a_terminal_of_the_size_that_is_asked_for(self, start):
        async with await start("sh", "-c", "stty size; tty; read x", tty=(91, 31)) as program:
            assert b"31 91\r\n/dev/pts/" in await read_until(program, b"/dev/pts/")
            await program.resize(100, 40)
            await program.write(b"\n")
            assert (await read_all(program))[2] == Ended(0)

    async def test_a_resize_reaches_the_program(self, start):
        script = "trap 'stty size' WINCH; echo on; while :; do sleep 0.05; done"
        async with await start("sh", "-c", script, tty=(80, 24)) as program:
            await read_until(program, b"on")
            await program.resize(132, 50)
            await read_until(program, b"50 132")

    async def test_a_signal_reaches_the_job_in_the_foreground(self, codi, client, start):
        async with await start("bash", "-i", tty=(80, 24)) as program:

            async def job():
                found = await client.processes(codi.route())
                return [each for each in found if each["ppid"] == program.pid]

            await program.write(b"sleep 60; echo ended $?\n")
            await wait_until(job, lambda found: [e["command"] for e in found] == ["sleep 60"])
            await program.signal("TERM")
            await read_until(program, b"ended 143")
            await program.write(b"exit 3\n")
            assert (await read_all(program))[2] == Ended(3)

    async def test_the_end_of_input_is_what_ctrl_d_is(self, start):
        async with await start("cat", tty=(80, 24)) as program:
            await program.write(b"typed\n")
            await read_until(program, b"typed\r\ntyped\r\n")
            await program.end_input()
            assert (await read_all(program))[2] == Ended(0)


class TestWhenTheSocketGoes:
    async def test_a_program_is_killed(self, start):
        program = await start("sh", "-c", "sleep 60 & echo $!; wait")
        inner = int((await program.read()).data)
        await program.close()
        await gone(program.pid)
        await gone(inner)

    async def test_a_program_on_a_terminal_is_killed_with_its_job(self, start):
        program = await start("bash", "-i", tty=(80, 24))
        await program.write(b"sleep 61 & echo pid=$!; fg\n")
        await read_until(program, b"sleep 61\r\n")
        await program.close()
        await gone(program.pid)

    async def test_a_program_may_be_left_running(self, codi, start):
        log = codi.workspace / "kept"
        script = "while sleep 0.02; do echo x >> kept; echo tick; done"
        program = await start("sh", "-c", script, on_close="leave")
        await program.read()
        await program.close()
        size = log.stat().st_size

        async def grows():
            return log.stat().st_size > size + 20

        await wait_until(grows, pause_seconds=0.05)
        os.kill(program.pid, signal.SIGKILL)

    async def test_a_program_may_be_hung_up(self, codi, start):
        script = "trap 'echo hung > hung; exit' HUP; echo on; while :; do sleep 0.02; done"
        program = await start("sh", "-c", script, on_close="hang_up")
        await program.read()
        await program.close()
        await gone(program.pid)
        assert (codi.workspace / "hung").read_text() == "hung\n"


class TestRefusals:
    async def test_what_cannot_be_run_is_named_as_by_a_call(self, codi, start):
        (codi.workspace / "plain").write_text("no program")
        with pytest.raises(NotFound, match="nothing-of-the-kind"):
            await start("nothing-of-the-kind")
        with pytest.raises(PermissionDenied, match="not executable"):
            await start("./plain")
        with pytest.raises(InvalidArgument, match="no directory"):
            await start("true", cwd="nowhere")
        with pytest.raises(InvalidArgument, match="argv"):
            await start()

    @pytest.mark.parametrize(
        "frames",
        [
            [b"input before the start"],
            ['{"type": "resize", "cols": 1, "rows": 1}'],
            ["no object"],
            ['{"type": "start", "argv": ["true"], "on_close": "forget"}'],
            ['{"type": "start", "argv": ["true"], "tty": {"cols": 0}}'],
            ['{"type": "start", "argv": ["sleep", "9"]}', '{"type": "signal", "name": "NONE"}'],
            ['{"type": "start", "argv": ["sleep", "9"]}', bytes(WINDOW), bytes(WINDOW)],
        ],
    )
    async def test_bad_frames_end_the_connection(self, codi, frames):
        url = f"ws://{codi.address}/exec/ws"
        async with connect(url, additional_headers=codi.headers, proxy=None) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                for frame in frames:
                    await socket.send(frame)
                while True:
                    await asyncio.wait_for(socket.recv(), 60)
        assert closed.value.rcvd.code == 4400

    async def test_streams_are_limited_and_leave_room_for_calls(self, codi, client, start):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(MAX_STREAMS):
                await stack.enter_async_context(await start("sleep", "60"))
            with pytest.raises(TooManyRequests, match="programs run at once"):
                await start("true")
            assert (await client.exec(codi.route(), ["echo", "on"]))["stdout"] == "on\n"

            async def sleepers():
                return [each["command"] for each in await client.processes(codi.route())]

            await wait_until(sleepers, lambda found: found.count("sleep 60") >= MAX_STREAMS)
            await busy(client, codi, MAX_STREAMS)
        await busy(client, codi, 0)


async def busy(client, codi, count):
    async def probe():
        return (await client.activity(codi.route())).busy == count

    await wait_until(probe, pause_seconds=0.05)


async def test_the_end_of_codi_is_an_error_and_no_end_of_the_program(tmp_path, tmp_path_factory):
    with run_codi(tmp_path, tmp_path_factory.mktemp("stage"), Limits()) as codi:
        program = await start_program(codi.route(), ["sleep", "60"])
        codi.process.terminate()
        with pytest.raises(Unavailable):
            await program.wait()
        assert program.ended is None
        with contextlib.suppress(Unavailable):
            await program.close()
