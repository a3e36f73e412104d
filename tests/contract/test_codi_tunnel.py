"""A tunnel through CODI to a program that listens inside: bytes both ways, and what is refused."""

import asyncio
import contextlib
import hashlib
import os
import socket

import httpx
import pytest

from actors.core.errors.base import DeadlineExceeded, Unavailable, Unreached
from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import Fenced
from cluster.codi.agent.ports.tunnel import MAX_TUNNELS
from cluster.codi.control import CodiControl
from cluster.codi.tunnel import open_tunnel
from tests.support.codi_process import run_codi
from tests.support.waiting import wait_until

LIMIT_SECONDS = 60.0
LARGE = 64 << 20


@pytest.fixture(scope="module")
def codi(tmp_path_factory):
    directory = tmp_path_factory.mktemp("codi")
    with run_codi(directory, directory / "stage") as running:
        yield running


@contextlib.asynccontextmanager
async def listening(serve, host="127.0.0.1"):
    """Run a program's server; yield its port, at which nobody else listens by another address."""
    with contextlib.ExitStack() as held:
        port = 0 if host == "127.0.0.1" else held.enter_context(nobodys_port())
        server = await asyncio.start_server(serve, host, port)
        async with server:
            yield server.sockets[0].getsockname()[1]
            server.close()


@contextlib.contextmanager
def nobodys_port():
    """Yield a port of 127.0.0.1 that is taken, and at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.asynccontextmanager
async def tunnel(route, port):
    reader, writer = await asyncio.open_connection(sock=await open_tunnel(route, port))
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield reader, writer
    finally:
        writer.transport.abort()


async def echo(reader, writer):
    while data := await reader.read(64 << 10):
        writer.write(data)
        await writer.drain()
    writer.write(b"|the end")
    writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_bytes_go_both_ways_and_each_side_ends_by_itself(codi, host):
    async with listening(echo, host) as port, tunnel(codi.route(), port) as (reader, writer):
        writer.write(b"\0\xff\r\n\r\nHTTP/1.1 ")
        assert await reader.readexactly(15) == b"\0\xff\r\n\r\nHTTP/1.1 "
        writer.write_eof()
        assert await reader.read() == b"|the end"


async def test_a_program_that_speaks_first_is_heard_from_its_first_byte(codi):
    async def greet(reader, writer):
        writer.write(b"220 hello\r\n\r\n")
        writer.write_eof()
        writer.write_eof() if await reader.read() == b"bye" else writer.transport.abort()
        writer.close()

    async with listening(greet) as port, tunnel(codi.route(), port) as (reader, writer):
        assert await reader.read() == b"220 hello\r\n\r\n"
        writer.write(b"bye")
        writer.write_eof()


async def test_much_arrives_unchanged(codi):
    sent, came = hashlib.blake2b(), hashlib.blake2b()

    async def write(writer):
        block = os.urandom(1 << 20)
        for _ in range(LARGE >> 20):
            sent.update(block)
            writer.write(block)
            await writer.drain()
        writer.write_eof()

    async with listening(echo) as port, tunnel(codi.route(), port) as (reader, writer):
        writing = asyncio.create_task(write(writer))
        left = LARGE
        while left:
            data = await reader.read(min(left, 1 << 20))
            assert data
            came.update(data)
            left -= len(data)
        await writing
        assert await reader.read() == b"|the end"
    assert came.digest() == sent.digest()


async def test_what_a_program_does_not_read_is_not_held_in_memory(codi):
    hold = asyncio.Event()

    async def wait(_reader, writer):
        await hold.wait()
        writer.transport.abort()

    async with listening(wait) as port, tunnel(codi.route(), port) as (_, writer):
        block, taken = bytes(1 << 20), 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                while True:
                    writer.write(block)
                    await writer.drain()
                    taken += len(block)
        assert taken < LARGE  # the kernel's buffers, and not the rest
        hold.set()


async def test_a_program_that_breaks_off_breaks_the_tunnel_off(codi):
    async def reset(reader, writer):
        await reader.read(1)
        writer.transport.abort()

    async with listening(reset) as port, tunnel(codi.route(), port) as (reader, writer):
        writer.write(b"x" * 100_000)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_caller_who_goes_is_gone_for_the_program(codi):
    ended = asyncio.Event()

    async def wait(reader, writer):
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    async with listening(wait) as port:
        async with tunnel(codi.route(), port):
            pass
        async with asyncio.timeout(LIMIT_SECONDS):
            await ended.wait()


async def test_a_port_on_which_nothing_listens_is_not_found(codi):
    with nobodys_port() as port, pytest.raises(NotFound, match=f"port.*{port}"):
        await open_tunnel(codi.route(), port)


async def test_whoever_may_not_ask_is_refused(codi):
    async with listening(echo) as port:
        with pytest.raises(Unavailable, match="x-codi-secret"):
            await open_tunnel(codi.route(secret="guessed"), port)
        await CodiControl().raise_epoch(codi.route(epoch=5))
        codi.epoch = 5
        with pytest.raises(Fenced):
            await open_tunnel(codi.route(epoch=4), port)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "", "http", "8%30", "٣", "80/x"])
async def test_what_is_no_port_is_refused(codi, port):
    headers = codi.headers | {"connection": "upgrade", "upgrade": "tcp"}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://{codi.address}/tcp/{port}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


async def test_a_request_without_the_upgrade_is_told_so(codi):
    async with httpx.AsyncClient(trust_env=False, headers=codi.headers) as http:
        answer = await http.get(f"http://{codi.address}/tcp/80")
        assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
        answer = await http.post(f"http://{codi.address}/tcp/80")
        assert answer.status_code == 404


async def test_there_are_so_many_tunnels_and_codi_answers_beside_them(codi):
    async with listening(echo) as port, contextlib.AsyncExitStack() as held:
        for _ in range(MAX_TUNNELS):
            held.callback((await open_tunnel(codi.route(), port)).close)
        with pytest.raises(TooManyRequests):
            await open_tunnel(codi.route(), port)
        assert (await CodiControl().activity(codi.route())).busy == 0

    async def again():
        with contextlib.suppress(TooManyRequests), contextlib.suppress(NotFound):
            (await open_tunnel(codi.route(), port)).close()
            return True
        return False

    async with listening(echo) as port:
        await wait_until(again)


async def test_a_container_that_is_gone_is_reported_as_such(codi):
    route = codi.route()
    with nobodys_port() as port, pytest.raises(Unreached):
        await open_tunnel(route.model_copy(update={"address": f"127.0.0.1:{port}"}), 80)


async def test_a_container_that_does_not_answer_is_waited_for_within_the_time(codi):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async with listening(silent) as port:
        route = codi.route().model_copy(update={"address": f"127.0.0.1:{port}"})
        with pytest.raises(DeadlineExceeded):
            await open_tunnel(route, 80, timeout_seconds=0.2)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 101", b"220 smtp\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 20_000]
)
async def test_what_is_no_answer_is_an_error(codi, answer):
    async def wrong(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with listening(wrong) as port:
        route = codi.route().model_copy(update={"address": f"127.0.0.1:{port}"})
        with pytest.raises(Unavailable):
            await open_tunnel(route, 80)


async def test_what_moves_through_a_tunnel_counts_as_use(codi):
    async with listening(echo) as port, tunnel(codi.route(), port) as (reader, writer):
        control = CodiControl()
        before = await control.activity(codi.route())
        at_rest = await control.activity(codi.route())
        assert at_rest.at - at_rest.input_age == pytest.approx(before.at - before.input_age)
        writer.write(b"x")
        await reader.readexactly(1)
        after = await control.activity(codi.route())
        assert after.at - after.input_age > at_rest.at


async def test_a_container_that_is_about_to_stop_takes_no_tunnel(codi):
    headers = codi.headers
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http, listening(echo) as port:
        now = (await http.get(f"http://{codi.address}/activity")).json()["at"]
        seal = {"since": now, "cpu_seconds": 1e6, "cpu_share": 1.0, "seconds": 60}
        assert (await http.post(f"http://{codi.address}/seal", json=seal)).status_code == 200
        with pytest.raises(Unreached):
            await open_tunnel(codi.route(), port)
        await CodiControl().raise_epoch(codi.route())
        (await open_tunnel(codi.route(), port)).close()
