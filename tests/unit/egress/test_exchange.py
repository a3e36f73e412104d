"""One request and its answer: which are not passed on, and how both sides end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import h11
import pytest

from cluster.egress.exchange import MAX_HEADERS, Onward, Passed, Rejected, Side, pass_on
from cluster.egress.turns import Turns
from cluster.egress.wire import Wire

ONWARD = Onward(b"h.test", b"/", upgrade=True, close=False)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Between:
    """A program, a server, and both sides of the gateway between them."""

    def __init__(self) -> None:
        turns = Turns(asyncio.get_running_loop().time)
        self.program, inside = socket.socketpair()
        self.server, outside = socket.socketpair()
        self.sockets = (self.program, inside, self.server, outside)
        for each in self.sockets:
            each.setblocking(False)
        self.inside = Side(Wire(inside, turns, "s"), h11.Connection(h11.SERVER, MAX_HEADERS))
        self.outside = Side(Wire(outside, turns, "s"))

    async def ask(self, head: bytes, body: bytes = b"") -> asyncio.Task[Passed]:
        """Begin a request, and wait until the server has its head."""
        self.program.send(head + b"Host: h.test\r\n\r\n" + body)
        request = await self.inside.event()
        passing = asyncio.create_task(pass_on(self.inside, self.outside, request, ONWARD))
        await self.received(b"\r\n\r\n", passing)
        return passing

    async def received(self, until: bytes, passing: asyncio.Task[Passed] | None = None) -> bytes:
        found, loop = b"", asyncio.get_running_loop()
        while until not in found:
            reading = asyncio.create_task(loop.sock_recv(self.server, 65536))
            await asyncio.wait(
                {reading, *([passing] if passing else [])}, return_when=asyncio.FIRST_COMPLETED
            )
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                break
            data = reading.result()
            if not data:
                break
            found += data
        return found


@pytest.fixture
async def between() -> AsyncIterator[Between]:
    made = Between()
    yield made
    for each in made.sockets:
        each.close()


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_a_request_whose_end_is_in_doubt_is_not_passed_on(between, head):
    passing = await between.ask(head, b"5\r\nhello\r\n0\r\n\r\n")
    with pytest.raises(Rejected) as refused:
        await passing
    assert refused.value.status == 400
    with pytest.raises(BlockingIOError):
        between.server.recv(1)


async def test_an_answer_is_passed_back_with_one_end(between):
    passing = await between.ask(b"GET / HTTP/1.1\r\n")
    between.server.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert (await passing).whole
    assert b"content-length" not in between.program.recv(4096).lower()


async def test_a_program_that_goes_while_an_answer_is_awaited_ends_it_outside_too(between):
    passing = await between.ask(b"GET / HTTP/1.1\r\n")
    between.program.close()
    with pytest.raises(ConnectionAbortedError):
        await passing
    assert await asyncio.get_running_loop().sock_recv(between.server, 64) == b""


async def test_an_upload_that_is_given_up_ends_it_outside_too(between):
    passing = await between.ask(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n", b"abc")
    between.program.close()
    with pytest.raises(Rejected):
        await passing
    await between.received(b"the end")
    assert await asyncio.get_running_loop().sock_recv(between.server, 64) == b""


async def test_a_chunk_that_is_none_is_the_programs_fault(between):
    passing = await between.ask(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"ZZ\r\n")
    with pytest.raises(Rejected) as refused:
        await passing
    assert refused.value.status == 400


async def test_what_the_program_says_meanwhile_waits_for_its_turn(between):
    passing = await between.ask(b"GET / HTTP/1.1\r\n")
    between.program.send(b"GET /2 HTTP/1.1\r\nHost: h.test\r\n\r\n")
    between.server.send(OK)
    assert await passing == Passed(switched=False, whole=True)
    between.inside.http.start_next_cycle()
    again = await between.inside.event()
    assert isinstance(again, h11.Request)
    assert again.target == b"/2"


async def test_an_early_answer_arrives_though_the_host_reads_no_more(between):
    passing = await between.ask(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n")
    between.server.shutdown(socket.SHUT_RD)
    broken = asyncio.Event()
    write = between.outside.wire.write

    async def writing(data: bytes, seconds: float | None) -> None:
        try:
            await write(data, seconds)
        except OSError:
            broken.set()
            raise

    between.outside.wire.write = writing
    between.program.send(b"abc")
    await broken.wait()
    between.server.send(OK.replace(b"200 OK", b"413 Large"))
    assert await passing == Passed(switched=False, whole=False)
    assert between.program.recv(4096).startswith(b"HTTP/1.1 413 ")
