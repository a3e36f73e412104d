"""What comes over the wire, well-formed or not, on a pair of sockets and without a network."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.egress import exchange, http_server, socks, socks_server, wire
from cluster.egress.binding import Bound
from cluster.egress.conversation import Refusal, Unreached
from cluster.egress.http_server import BadTarget, absolute_target, connect_target
from cluster.egress.tunnel import Tunnel
from cluster.egress.turns import Turns
from cluster.egress.wire import Wire


@given(st.binary(max_size=600))
def test_socks_of_any_bytes_is_parsed_or_refused(data):
    for parse in (socks.methods, socks.request):
        with contextlib.suppress(socks.BadSocks):
            parse(data)


def test_socks_requests():
    assert socks.methods(b"\x05\x02\x00") is None
    assert socks.methods(b"\x05\x02\x00\x02rest") == 4
    assert socks.request(b"\x05\x01\x00\x03\x04host\x00\x50more") == socks.SocksRequest(
        "host", 80, 11
    )
    assert socks.request(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb").host == "127.0.0.1"
    assert socks.request(b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50").host == "::1"
    for data, reply in ((b"\x05\x02\x00\x01" + bytes(6), 7), (b"\x05\x01\x00\x02" + bytes(6), 8)):
        with pytest.raises(socks.BadSocks) as refused:
            socks.request(data)
        assert refused.value.reply == reply
    with pytest.raises(socks.BadSocks):
        socks.methods(b"\x05\x01\x02")


@given(st.text(max_size=200))
def test_targets_of_any_text_are_read_or_refused(text):
    for read in (connect_target, absolute_target):
        with contextlib.suppress(BadTarget):
            read(text)


@pytest.mark.parametrize(
    "text",
    [
        "/path",
        "*",
        "https://h/",
        "ftp://h/",
        "http://",
        "http://u:p@h/",
        "http://h:x/",
        "http://[::1/",
    ],
)
def test_what_names_no_place_is_refused(text):
    with pytest.raises(BadTarget):
        absolute_target(text)


class World:
    """A conversation's two ends, and what is outside."""

    def __init__(self) -> None:
        self.turns = Turns(asyncio.get_running_loop().time)
        self.program, theirs = socket.socketpair()
        self.program.setblocking(False)
        theirs.setblocking(False)
        self.inside = Wire(theirs, self.turns, "s")
        self.dialled: list[tuple[str, int]] = []
        self.answer: Exception | None = None
        self.added: list[str] = []
        self.server: socket.socket | None = None
        self._reached = asyncio.Event()

    async def dial(self, host: str, port: int) -> socket.socket:
        self.dialled.append((host, port))
        if self.answer is not None:
            raise self.answer
        self.server, outside = socket.socketpair()
        self.server.setblocking(False)
        outside.setblocking(False)
        self._reached.set()
        return outside

    @property
    def place(self) -> tuple[str, int]:
        return self.dialled[-1]

    async def bound(self) -> Bound | None:
        return None

    def note_added(self, bound: Bound) -> None:
        self.added += [record.name for record in bound.records]

    async def reached(self) -> socket.socket:
        async with asyncio.timeout(60):
            await self._reached.wait()
        self._reached.clear()
        assert self.server is not None
        return self.server

    async def tunnel(self, outside: socket.socket, early: bytes) -> None:
        tunnel = Tunnel(self.turns, "s", self.inside.socket, outside, lambda sent, received: None)
        tunnel.begin(early)
        await tunnel.ended

    def outside_wire(self, outside: socket.socket) -> Wire:
        return Wire(outside, self.turns, "s")

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.program, data)

    async def read(self, source: socket.socket | None = None, *, until: bytes = b"") -> bytes:
        found, loop = b"", asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while not (until and until in found):
                piece = await loop.sock_recv(source or self.program, 65536)
                if not piece:
                    break
                found += piece
        return found


@pytest.fixture
async def world(monkeypatch) -> AsyncIterator[World]:
    monkeypatch.setattr(wire, "_LINGER_SECONDS", 0.05)
    made = World()
    yield made
    made.program.close()
    made.inside.socket.close()
    if made.server is not None:
        made.server.close()


async def serve(world: World, first: bytes) -> asyncio.Task[None]:
    talk = socks_server.serve if first[:1] == b"\x05" else http_server.serve
    task = asyncio.create_task(talk(world, first))
    task.add_done_callback(lambda _: world.inside.socket.close())
    await asyncio.sleep(0)
    return task


async def test_connect_tunnels_bytes_that_came_early_and_half_closes(world):
    task = await serve(world, b"CONNECT [2606::1]:443 HTTP/1.1\r\nHost: x\r\n\r\nearly")
    assert (await world.read(until=b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert world.dialled == [("2606::1", 443)]
    assert await world.read(await world.reached(), until=b"early") == b"early"
    reading = asyncio.create_task(world.read(world.server))
    await world.send(b"x" * 1_000_000)
    world.program.shutdown(socket.SHUT_WR)
    assert len(await reading) == 1_000_000
    world.server.send(b"answer")
    world.server.shutdown(socket.SHUT_WR)
    assert await world.read() == b"answer"
    await task


async def test_a_request_is_passed_on_without_what_is_for_the_proxy_alone(world):
    request = (
        b"POST http://host.test:81/a?b=c HTTP/1.1\r\nHost: evil.test\r\nProxy-Authorization: x\r\n"
        b"Connection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\n\r\n"
    )
    await serve(world, request)
    passed = await world.read(await world.reached(), until=b"0\r\n\r\n")
    head = passed.lower()
    assert passed.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert head.count(b"host:") == 1
    assert b"host: host.test:81\r\n" in head
    assert b"x-end: 2" in head
    assert b"x-hop" not in head
    assert b"proxy-auth" not in head
    assert b"3\r\nabc\r\n" in passed
    world.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: 5\r\n\r\nhi")
    answer = await world.read(until=b"hi")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"keep-alive" not in answer.lower()
    await world.send(b"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n")
    await world.reached()
    assert world.dialled == [("host.test", 81), ("other.test", 80)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refusal("private", 'h is "private"\r\nX: y'), b"403 "),
        (Refusal("connections", "too many", limit=True), b"429 "),
        (Unreached("h: no answer"), b"502 "),
    ],
)
async def test_a_refusal_is_readable_and_forges_no_header(world, error, status):
    world.answer = error
    task = await serve(world, b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n")
    answer = await world.read()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\nX: y" not in answer
    assert b"Proxy-Status: coditect; error=" in answer.replace(b"proxy-status", b"Proxy-Status")
    await task


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\nHost: h\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    ],
)
async def test_garbage_and_endless_headers_are_refused(world, data):
    task = await serve(world, data[:1000])
    with contextlib.suppress(OSError):
        await world.send(data[1000:])
    assert (await world.read()).startswith((b"HTTP/1.1 4", b""))
    await asyncio.wait_for(task, 60)
    assert task.exception() is None or isinstance(task.exception(), OSError)
    assert world.dialled == []


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000,
        b"",
    ],
)
async def test_a_server_that_answers_garbage_is_a_bad_gateway(world, answer):
    task = await serve(world, b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n")
    await world.read(await world.reached(), until=b"\r\n\r\n")
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(world.server, answer)
    world.server.close()
    assert (await world.read()).startswith(b"HTTP/1.1 502 ")
    await task


@pytest.mark.parametrize(
    "head",
    [
        b"POST http://h/ HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"POST http://h/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
        b"CONNECT h:1 HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_a_request_whose_end_is_in_doubt_is_refused_before_anything_is_dialled(world, head):
    task = await serve(world, head + b"Host: h\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert (await world.read()).startswith(b"HTTP/1.1 400 ")
    assert world.dialled == []
    await task


async def test_a_program_that_still_sends_hears_an_early_answer(world, monkeypatch):
    lingered = []
    linger = Wire.linger

    async def lingering(of: Wire) -> None:
        lingered.append(of)
        await linger(of)

    monkeypatch.setattr(Wire, "linger", lingering)
    task = await serve(world, b"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n")
    server = await world.reached()
    await world.read(server, until=b"\r\n\r\n")
    server.send(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno")
    assert (await world.read()).endswith(b"no")
    await task
    assert lingered == [world.inside]


async def test_headers_that_do_not_come_are_not_waited_for(world, monkeypatch):
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.05)
    task = await serve(world, b"GET http://h/ HTTP/1.1\r\nX")
    assert (await world.read()).startswith(b"HTTP/1.1 408 ")
    await task


async def test_pieces_of_a_byte_go_on_together_and_leave_others_their_turns(world):
    head = b"POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    task = await serve(world, head)
    server, turns, done = await world.reached(), 0, asyncio.Event()

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            await world.turns.turn("other")
            turns += 1

    others = asyncio.create_task(other())
    reading = asyncio.create_task(world.read(server, until=b"\r\n0\r\n\r\n"))
    await world.send(b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n")
    before = turns
    assert (await reading).count(b"x\r\n") == 10_000
    assert turns - before > 10  # there are some hundred slices in it
    done.set()
    await others
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_upload_lasts_as_long_as_something_moves(world, monkeypatch):
    put_off: list[float] = []

    class Limit:
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            return None

        def expired(self) -> bool:
            return False

        def reschedule(self, when: float) -> None:
            put_off.append(when)

    monkeypatch.setattr(exchange, "asyncio", _Asyncio(Limit))
    head = b"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
    task = await serve(world, head)
    server = await world.reached()
    await world.read(server, until=b"\r\n\r\n")
    counts = []
    for piece in (b"abc", b"def"):
        await world.send(piece)
        await world.read(server, until=piece)
        counts.append(len(put_off))
    assert counts[0] < counts[1]
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await world.read(until=b"hi")).startswith(b"HTTP/1.1 200 OK")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Asyncio:
    """The module, with limits of another kind."""

    def __init__(self, limit: type) -> None:
        self.timeout = limit

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)


async def test_socks_refuses_with_its_code(world):
    world.answer = Refusal("private", "h is private")
    task = await serve(world, b"\x05\x01\x00")
    assert await world.read(until=b"\x05\x00") == b"\x05\x00"
    await world.send(b"\x05\x01\x00\x03\x01h\x00\x50")
    assert (await world.read())[:2] == b"\x05\x02"
    await task


async def test_a_session_with_many_connections_does_not_starve_another(world):
    order: list[str] = []
    for number in range(100):
        world.turns.ask("many", lambda number=number: order.append(f"many{number}"))
    world.turns.ask("one", lambda: order.append("one"))
    await asyncio.sleep(0.01)
    assert order.index("one") <= 1
    assert len(order) == 101
