"""A server that says "not now" is asked again as it wants, within a bound; and a script may just end."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest
import websockets.sync.server
from websockets.sync.server import ServerConnection

from coditect import AsyncClient, Client
from coditect.connection import pause_before_retry
from coditect.errors import NotFound, ServerBusy, TooManyRequests, from_problem
from tests.unit.test_client_http import answering, response

ROOT = Path(__file__).parents[2]
DONE = json.dumps({"exit_code": 0, "stdout": "", "stderr": ""}).encode()
SAVED = json.dumps({"path": "f", "size": 3, "version": 1}).encode()


def refusal(status: int, code: str, retry_after: float | None):
    problem = {"code": code} | ({} if retry_after is None else {"retry_after": retry_after})
    return from_problem(status, problem, None)


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "repeatable", "pause"),
    [
        (429, "too_many_requests", 2, False, 2),
        (429, "too_many_requests", 0, False, 0.1),
        (429, "too_many_requests", None, True, None),
        (429, "too_many_requests", 11, True, None),
        (429, "too_many_requests", 10, True, 10),
        (503, "busy", 2, False, 2),
        (503, "unavailable", 2, False, None),
        (503, "unavailable", 2, True, 2),
        (503, "unavailable", None, True, None),
        (504, "deadline_exceeded", 2, True, None),
        (500, "internal", 2, True, None),
        (409, "conflict", 2, True, None),
    ],
)
def test_what_is_asked_again_and_when(status, code, retry_after, repeatable, pause):
    error = refusal(status, code, retry_after)
    assert pause_before_retry(error, repeatable=repeatable, left=10, spread=0.0) == pause


def test_callers_that_were_refused_together_come_back_apart_and_within_the_bound():
    error = refusal(429, "too_many_requests", 4)
    early = pause_before_retry(error, repeatable=True, left=10, spread=0.0)
    late = pause_before_retry(error, repeatable=True, left=10, spread=1.0)
    assert early is not None
    assert late is not None
    assert 4 == early < late
    assert pause_before_retry(error, repeatable=True, left=4.5, spread=1.0) == 4.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("soon", None), ("-1", None), ("٣", None)],
)
def test_retry_after_is_a_number_or_a_date(text, seconds):
    assert from_problem(429, {}, text).retry_after == seconds


async def test_calls_that_are_too_many_at_once_all_succeed_in_the_end():
    """As 20 execs where 16 may run: the rest has to wait."""
    running = asyncio.Semaphore(3)
    refused = 0
    one_is_refused = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        if running.locked():
            refused += 1
            one_is_refused.set()
            writer.write(response(429, b"{}", more="retry-after: 0\r\n"))
        else:
            async with running:
                await one_is_refused.wait()  # so that there are too many at once
                writer.write(response(200, DONE))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        AsyncClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client,
    ):
        done = await asyncio.gather(*(client.exec("s-1", ["true"]) for _ in range(10)))
    assert [each.exit_code for each in done] == [0] * 10
    assert refused > 0


async def test_a_wait_that_is_longer_than_the_caller_has_is_an_error_at_once():
    refused = response(429, b"{}", more="retry-after: 600\r\n")
    async with answering(lambda _: refused) as (url, heads), AsyncClient(url) as client:
        with pytest.raises(TooManyRequests) as error:
            await client.me()
    assert error.value.retry_after == 600
    assert len(heads) == 1


async def test_a_program_is_not_run_again_when_the_server_does_not_report_that_it_was_not():
    answer = response(503, b'{"code": "unavailable"}', more="retry-after: 0\r\n")
    async with answering(lambda _: answer) as (url, heads), AsyncClient(url) as client:
        with pytest.raises(ServerBusy):
            await client.exec("s-1", ["rm", "x"])
    assert len(heads) == 1


@pytest.mark.parametrize(
    ("first", "succeeds"),
    [
        (response(503, b'{"code": "unavailable"}', more="retry-after: 0\r\n"), True),
        (response(503, b'{"code": "busy"}', more="retry-after: 0\r\n"), False),
        (response(429, b"{}", more="retry-after: 0\r\n"), False),
    ],
)
async def test_what_is_gone_at_the_second_try_was_deleted_by_the_first(first, succeeds):
    answers = iter([first, response(404, b'{"code": "not_found"}')])
    async with answering(lambda _: next(answers)) as (url, heads), AsyncClient(url) as client:
        expected = nullcontext() if succeeds else pytest.raises(NotFound)
        with expected:
            await client.delete_file("s-1", "f")
    assert len(heads) == 2


@asynccontextmanager
async def receiving(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Take uploads in chunks, and answer them in turn."""
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        bodies.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(answers[len(bodies) - 1])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", bodies


async def test_an_upload_is_sent_again_from_where_the_file_stood():
    file = io.BytesIO(b"..abc")
    file.seek(2)
    refused = response(429, b"{}", more="retry-after: 0\r\n")
    async with (
        receiving(refused, response(200, SAVED)) as (url, bodies),
        AsyncClient(url) as client,
    ):
        await client.write_file("s-1", "f", file)
    assert bodies == [b"3\r\nabc\r\n0\r\n\r\n"] * 2


async def test_both_clients_upload_what_an_iterator_yields():
    async with receiving(*[response(200, SAVED)] * 2) as (url, bodies), AsyncClient(url) as client:
        await client.write_file("s-1", "f", iter([b"ab", b"", b"c"]))
        with Client(url) as blocking:
            pieces = iter([b"ab", b"", b"c"])
            await asyncio.to_thread(blocking.write_file, "s-1", "f", pieces)
    assert bodies == [b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"] * 2


async def test_an_upload_that_cannot_be_repeated_is_reported_why_it_was_refused():
    async def pieces():
        yield b"abc"

    refused = response(429, b"{}", more="retry-after: 0\r\n")
    async with answering(lambda _: refused) as (url, heads), AsyncClient(url) as client:
        with pytest.raises(TooManyRequests):
            await client.write_file("s-1", "f", pieces())
    assert len(heads) == 1


async def test_calls_that_find_the_login_expired_together_refresh_it_once():
    pair = json.dumps({"access_token": "new", "refresh_token": "r2"}).encode()

    def answer(head: str) -> bytes:
        if "/auth/refresh" in head:
            return response(200, pair)
        return (
            response(200, b'{"sessions": []}' if "Bearer new" in head else b"{}")
            if ("Bearer new" in head)
            else response(401, b"{}")
        )

    async with (
        answering(answer) as (url, heads),
        AsyncClient(url, access_token="old", refresh_token="r1") as client,
    ):
        await asyncio.gather(*(client.sessions() for _ in range(8)))
    assert sum("/auth/refresh" in head for head in heads) == 1


def test_a_script_that_does_not_close_its_client_ends():
    script = (
        "from coditect import Client\n"
        "clients = [Client('http://127.0.0.1:9') for _ in range(3)]\n"
        "try: clients[0].me()\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ConnectionFailed\n", b"")


def test_a_client_that_is_dropped_ends_its_thread():
    client = Client("http://127.0.0.1:9")
    thread = client._loop._thread
    del client
    thread.join(10)
    assert not thread.is_alive()


def test_a_terminal_keeps_its_client():
    def serve(socket: ServerConnection) -> None:
        socket.send(json.dumps({"type": "attached", "output_offset": 0}))
        socket.send(socket.recv())

    with websockets.sync.server.serve(serve, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        with Client(url).terminal("s-1", "main") as terminal:
            gc.collect()
            terminal.send("echo")
            assert terminal.read() == b"echo"
        server.shutdown()
        thread.join(10)


def test_a_closed_client_raises_an_error_and_closes_twice():
    client = Client("http://127.0.0.1:9")
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.me()


def test_an_interrupted_call_is_cancelled():
    """As Ctrl-C does: the thread is free for the next call."""
    script = (
        "import signal, socket, threading, os\n"
        "from coditect import Client\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored behind an "&"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = Client(f'http://127.0.0.1:{server.getsockname()[1]}')\n"
        "def interrupt():\n"
        "    held = server.accept()[0]\n"
        "    held.recv(1)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    server.accept()\n"  # the connection stays open until the process ends
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "try: client.me()\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"interrupted\n"), done.stderr
    assert time.monotonic() - began < 25  # less than the request's own limit
