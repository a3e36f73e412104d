"""Tunnels to hosts that a secret is bound to: what goes out, to whom alone, and what comes back."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.core.records.environment import Binding, SecretUse
from cluster.egress import authority, exchange, http_server, intercept, socks_server, wire
from cluster.egress.authority import Authority
from cluster.egress.binding import Bound
from cluster.egress.bound import BoundSecrets
from cluster.egress.turns import Turns
from tests.fakes.pool_fakes import ManualClock
from tests.support.egress import MemorySecrets
from tests.support.secure_web import make_certificate, server_context
from tests.unit.egress.test_protocols import World

HOST, NOW = "api.test", 1_790_000_000.0
SECURE = Binding(https=True)


@dataclass
class Host:
    """A server of HTTPS that says what it was asked, each request of one connection after the other."""

    asked: list[bytes] = field(default_factory=list)
    connections: int = 0
    answers: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.asked.append(head + await reader.readexactly(int(length or 0)))
                answer = self.answers.pop(0) if self.answers else b""
                writer.write(answer or b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                await writer.drain()
                if b"close" in answer:
                    break
                if b" 101 " in answer:
                    writer.write(await reader.readuntil(b"!"))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Secured(World):
    """A conversation whose host is a server of HTTPS, and whose user has secrets."""

    def __init__(self, authorities: Authority, upstream: ssl.SSLContext, port: int) -> None:
        super().__init__()
        self.upstream = upstream
        self.secrets = MemorySecrets()
        self.clock = ManualClock()
        self._bound = BoundSecrets(self.secrets, self.clock)
        self._authority = authorities
        self._port = port
        self.outside: list[socket.socket] = []

    async def dial(self, host: str, port: int) -> socket.socket:
        self.dialled.append((host, port))
        outside = socket.socket()
        outside.setblocking(False)
        self.outside.append(outside)
        await asyncio.get_running_loop().sock_connect(outside, ("127.0.0.1", self._port))
        return outside

    def context(self, host: str) -> ssl.SSLContext:
        return self._authority.context("u", host)

    async def bound(self) -> Bound | None:
        return await self._bound.at("u", *self.place)

    async def headers(self, bound: Bound) -> list[tuple[bytes, bytes]]:
        return await self._bound.headers("u", bound)

    def bind(self, name: str = "TOKEN", binding: Binding = SECURE, host: str = HOST) -> None:
        self.secrets.bind("u", name, "s3cret", host, binding)
        self.clock.advance(2.0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    made = tmp_path_factory.mktemp("host") / "authority.pem"
    return made, make_certificate(made, HOST)


@pytest.fixture
async def host(certificate):
    served = Host()
    context = server_context(certificate[1])
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield served, server.sockets[0].getsockname()[1]


@pytest.fixture
async def world(tmp_path, host, certificate, monkeypatch) -> AsyncIterator[Secured]:
    monkeypatch.setattr(wire, "_LINGER_SECONDS", 0.05)
    upstream = ssl.create_default_context(cafile=certificate[0])
    made = Secured(Authority(tmp_path, time.time), upstream, host[1])
    made.tmp_path = tmp_path
    task: list[asyncio.Task[None]] = []
    made.tasks = task
    yield made
    for each in task:
        each.cancel()
    await asyncio.gather(*task, return_exceptions=True)
    for each in (made.program, made.inside.socket, *made.outside):
        each.close()


Program = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def tunnel(world: Any, *, trusting: bool = True) -> Program:
    """Open a tunnel to the host, and be sure that it is whom it says."""
    reader, writer = await asyncio.open_connection(sock=world.program)
    first = f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    world.tasks.append(asyncio.create_task(_serve(world, first)))
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        writer.close()
        raise ConnectionRefusedError(head.decode())
    context = ssl.create_default_context()
    if trusting:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=authority.certificate(world.tmp_path, time.time()))
    await writer.start_tls(context, server_hostname=HOST)
    return reader, writer


async def _serve(world: Any, first: bytes) -> None:
    talk = socks_server.serve if first[:1] == b"\x05" else http_server.serve
    try:
        await talk(world, first)
    finally:
        world.inside.socket.close()


async def ask(program: Program, request: bytes) -> bytes:
    reader, writer = program
    writer.write(request)
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head + await reader.readexactly(int(length or 0))


GET = f"GET /a?b HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: placeholder\r\n\r\n".encode()


async def test_each_request_of_a_connection_gets_the_secret_and_bodies_pass(world, host):
    world.bind()
    program = await tunnel(world)
    assert (await ask(program, GET)).endswith(b"hi")
    body = b"x" * 300_000
    post = f"POST / HTTP/1.1\r\nHost: {HOST}:443\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert (await ask(program, post + body)).endswith(b"hi")
    first, second = host[0].asked
    assert first.startswith(b"GET /a?b HTTP/1.1\r\n")
    assert b"Authorization: Bearer s3cret\r\n" in first
    assert b"placeholder" not in first
    assert second.endswith(body)
    assert b"Bearer s3cret" in second
    assert host[0].connections == 1  # both sides keep theirs
    host[0].answers = [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"]
    assert (await ask(program, GET)).startswith(b"HTTP/1.1 200 ")
    assert (await ask(program, GET)).endswith(b"hi")  # by a connection anew
    assert host[0].connections == 2
    program[1].close()


async def test_another_name_gets_nothing_by_the_connection_of_this_one(world, host):
    world.bind()
    program = await tunnel(world)
    answer = await ask(program, GET.replace(f"Host: {HOST}".encode(), b"Host: other.test"))
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"(rule other_host)" in answer
    assert host[0].asked == []
    program[1].close()


async def test_what_was_taken_back_is_added_to_nothing_any_more(world, host):
    world.bind()
    program = await tunnel(world)
    await ask(program, GET)
    world.secrets.forget("u", "TOKEN")
    world.clock.advance(2.0)
    assert b"(rule secret_gone)" in await ask(program, GET)
    assert len(host[0].asked) == 1
    program[1].close()


@pytest.mark.parametrize("method", [b"TRACE", b"trace", b"TRACK"])
async def test_what_would_show_the_secret_is_not_passed_on(world, host, method):
    world.bind()
    program = await tunnel(world)
    assert (await ask(program, GET.replace(b"GET", method, 1))).startswith(b"HTTP/1.1 405 ")
    assert host[0].asked == []
    program[1].close()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET *@evil.test/ HTTP/1.1", b"421"),
        (b"GET * HTTP/1.1", b"421"),
        (b"GET http://api.test/ HTTP/1.1", b"421"),
        (b"CONNECT /x HTTP/1.1", b"405"),
        (b"OPTIONS * HTTP/1.1", b"200"),
    ],
)
async def test_targets_are_paths_of_the_host_alone(world, host, line, status):
    world.bind()
    program = await tunnel(world)
    answer = await ask(program, GET.replace(b"GET /a?b HTTP/1.1", line))
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert len(host[0].asked) == (status == b"200")
    program[1].close()


async def test_what_is_taken_back_while_a_host_is_reached_is_not_added(world, host):
    world.bind()
    program = await tunnel(world)
    host[0].answers = [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"]
    await ask(program, GET)
    dial = world.dial

    async def slow(name: str, port: int) -> socket.socket:
        world.secrets.forget("u", "TOKEN")
        world.clock.advance(2.0)
        return await dial(name, port)

    world.dial = slow
    assert b"(rule secret_gone)" in await ask(program, GET)
    assert len(host[0].asked) == 1
    assert world.added == ["TOKEN"]
    program[1].close()


async def test_an_answer_that_nobody_asked_for_reaches_nobody(world, host):
    world.bind()
    program = await tunnel(world)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    host[0].answers = [answer + b"first" + answer + b"stale"]
    assert (await ask(program, GET)).endswith(b"first")
    assert (await ask(program, GET)).endswith(b"hi")
    assert host[0].connections == 2
    program[1].close()


async def test_a_host_may_be_silent_for_as_long_as_in_a_tunnel(world, host, monkeypatch):
    idle = []

    async def pass_on(*parts: Any) -> Any:
        idle.append(parts[3].idle)
        return await exchange.pass_on(*parts)

    monkeypatch.setattr(intercept, "pass_on", pass_on)
    world.bind()
    program = await tunnel(world)
    await ask(program, GET)
    assert idle == [wire.TUNNEL_IDLE_SECONDS]
    program[1].close()


async def test_whatever_breaks_on_the_way_to_a_host_is_a_bad_gateway(world, host, monkeypatch):
    async def broken(*_: Any) -> Any:
        raise OSError(113, "No route to host")

    monkeypatch.setattr(intercept, "pass_on", broken)
    world.bind()
    program = await tunnel(world)
    assert (await ask(program, GET)).startswith(b"HTTP/1.1 502 ")
    program[1].close()


async def test_an_authority_that_cannot_be_read_is_said(world, host, caplog):
    world.bind()
    authority.certificate(world.tmp_path, NOW)
    authority.file(world.tmp_path).write_text("damaged")
    with pytest.raises(ConnectionRefusedError, match=f"502.*no certificate for {HOST}"):
        await tunnel(world)
    assert "the authority cannot be read" in caplog.text


async def test_a_direction_goes_on_for_a_while_when_the_other_has_ended(monkeypatch):
    pairs = [socket.socketpair() for _ in range(2)]
    for each in (*pairs[0], *pairs[1]):
        each.setblocking(False)
    (program, inside), (outside, server) = pairs
    loop = asyncio.get_running_loop()
    turns = Turns(loop.time)
    sides = [exchange.Side(wire.Wire(each, turns, "s")) for each in (inside, outside)]
    pump = asyncio.create_task(intercept._pump(*sides))
    program.send(b"question")
    program.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(60):
        assert await loop.sock_recv(server, 64) == b"question"
        for _ in range(20):  # its end has been seen meanwhile
            await asyncio.sleep(0)
        server.send(b"answer")
        assert await loop.sock_recv(program, 64) == b"answer"
        server.close()
        await pump
    for each in (program, inside, outside):
        each.close()


async def test_other_protocols_follow_where_a_request_asks_for_one(world, host):
    world.bind()
    host[0].answers = [
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ]
    program = await tunnel(world)
    upgrade = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    answer = await ask(program, GET[:-2] + upgrade)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"upgrade: websocket" in answer.lower()
    program[1].write(b"echo!")
    async with asyncio.timeout(60):
        assert await program[0].readexactly(5) == b"echo!"
    assert b"Upgrade: websocket\r\n" in host[0].asked[0]
    program[1].close()


async def test_a_host_that_is_not_who_it_should_be_hears_nothing(world, host):
    world.bind()
    world.upstream = ssl.create_default_context()
    with pytest.raises(ConnectionRefusedError, match="no certificate that the server accepts"):
        await tunnel(world)
    assert host[0].asked == []


async def test_a_secret_that_does_not_open_is_said_at_once(world, host):
    world.secrets.bind("u", "TOKEN", "locked", HOST, SECURE)
    with pytest.raises(ConnectionRefusedError, match="TOKEN does not open"):
        await tunnel(world)


async def test_a_host_that_nothing_is_bound_to_speaks_for_itself(world, host):
    world.bind(host="elsewhere.test")
    world.bind("OTHER", SECURE, f"{HOST}:8443")
    with pytest.raises(ssl.SSLCertVerificationError):
        await tunnel(world)
    assert host[0].asked == []


async def test_requests_by_plain_http_get_theirs_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "_LINGER_SECONDS", 0.05)
    made = Plain(HOST)
    first = f"GET http://{HOST}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    task = asyncio.create_task(_serve(made, first))
    passed = await made.read(await made.reached(), until=b"\r\n\r\n")
    assert b"X-Api-Key: s3cret\r\n" in passed
    assert b"Bearer" not in passed
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    made.program.close()
    made.server.close()


class Plain(World):
    def __init__(self, host: str) -> None:
        super().__init__()
        secrets = MemorySecrets()
        key = Binding(use=SecretUse.HEADER, header="X-Api-Key")
        secrets.bind("u", "KEY", "s3cret", host, key)
        secrets.bind("u", "TOKEN", "hidden", f"{host}:81", Binding())
        self._bound = BoundSecrets(secrets, ManualClock())

    async def bound(self) -> Bound | None:
        return await self._bound.at("u", *self.place)

    async def headers(self, bound: Bound) -> list[tuple[bytes, bytes]]:
        return await self._bound.headers("u", bound)


def test_hosts_are_named_in_any_usual_spelling_and_by_nothing_else():
    origin = intercept.Origin(HOST, 443, https=True)
    for text in (b"api.test", b"API.test:443", b"api.test."):
        assert origin.is_named(text)
    for text in (b"api.test:80", b"api.test.evil", b"evil.test", b"", b"a b", b"\xff"):
        assert not origin.is_named(text)
    assert intercept.Origin("::1", 80, https=False).authority == b"[::1]"
