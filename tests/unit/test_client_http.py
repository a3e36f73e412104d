"""The Python client against servers that break off, or that want to be asked again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio import server
from websockets.asyncio.server import ServerConnection

from coditect import AsyncClient
from coditect.errors import (
    ConnectionFailed,
    NotFound,
    TerminalClosed,
    TooManyRequests,
    Unauthorized,
)
from coditect.terminal import AsyncTerminal
from tests.support.terminal_vectors import CLOSES


@asynccontextmanager
async def answering(answer: Callable[[str], bytes]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve what ``answer`` returns for the head of each request, then hang up."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answer(heads[-1]))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def response(status: int, body: bytes, announced: int | None = None, more: str = "") -> bytes:
    length = len(body) if announced is None else announced
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n"
    return head.encode() + body


def terminal_at(url: str, client: AsyncClient, give_up_seconds: float) -> AsyncTerminal:
    return AsyncTerminal(
        url.replace("http", "ws"),
        headers=dict,
        renew=client.refresh,
        client_id="c",
        cols=80,
        rows=24,
        offset=None,
        give_up_seconds=give_up_seconds,
    )


async def test_a_download_that_breaks_off_is_a_failed_connection():
    async with (
        answering(lambda _: response(200, b"some", announced=100)) as (url, _),
        AsyncClient(url, access_token="t") as client,
    ):
        with pytest.raises(ConnectionFailed):
            [piece async for piece in client.stream_file("s-1", "x")]


async def test_a_download_refreshes_an_expired_login_once():
    pair = json.dumps({"access_token": "new", "refresh_token": "r2"}).encode()

    def answer(head: str) -> bytes:
        if "/auth/refresh" in head:
            return response(200, pair)
        return response(200, b"bytes") if "Bearer new" in head else response(401, b"{}")

    async with (
        answering(answer) as (url, heads),
        AsyncClient(url, access_token="old", refresh_token="r1") as client,
    ):
        assert [piece async for piece in client.stream_file("s-1", "x")] == [b"bytes"]
        assert len(heads) == 3


async def test_a_login_that_stays_refused_is_not_asked_for_ever():
    pair = json.dumps({"access_token": "new", "refresh_token": "r2"}).encode()

    def answer(head: str) -> bytes:
        return response(200, pair) if "/auth/refresh" in head else response(401, b"{}")

    async with (
        answering(answer) as (url, heads),
        AsyncClient(url, access_token="old", refresh_token="r1") as client,
    ):
        with pytest.raises(Unauthorized):
            [piece async for piece in client.stream_file("s-1", "x")]
        assert len(heads) == 3


async def test_a_terminal_tries_again_when_the_upgrade_breaks_off():
    """As when the proxy is replaced at that moment."""
    async with answering(lambda _: b"") as (url, heads), AsyncClient(url) as client:
        terminal = terminal_at(url, client, 0.3)
        with pytest.raises(ConnectionFailed) as failed:
            await terminal.connect(10)
        assert "not attached" not in str(failed.value)
        assert len(heads) > 1


async def test_a_terminal_waits_as_long_as_it_is_reported_and_goes_on():
    loop = asyncio.get_running_loop()
    asked_at: list[float] = []

    def answer(_: str) -> bytes:
        asked_at.append(loop.time())
        if len(asked_at) == 1:
            return response(429, b"{}", more="retry-after: 1\r\n")
        return response(404, b"{}")

    async with answering(answer) as (url, _), AsyncClient(url) as client:
        with pytest.raises(NotFound):
            await terminal_at(url, client, 10).connect(10)
    assert len(asked_at) == 2
    assert asked_at[1] - asked_at[0] >= 1


async def test_a_terminal_reports_it_when_it_would_have_to_wait_too_long():
    refused = response(429, b"{}", more="retry-after: 600\r\n")
    async with answering(lambda _: refused) as (url, heads), AsyncClient(url) as client:
        with pytest.raises(TooManyRequests):
            await terminal_at(url, client, 5).connect(10)
        assert len(heads) == 1


@pytest.mark.parametrize("body", [b"[1]", b"null", b'"no"', b"<html>", b'{"retry_after": "x"}'])
async def test_a_terminal_takes_any_body_of_a_refusal(body):
    async with answering(lambda _: response(404, body)) as (url, _), AsyncClient(url) as client:
        with pytest.raises(NotFound):
            await terminal_at(url, client, 5).connect(10)


@asynccontextmanager
async def sockets(*conversations: Callable[[ServerConnection], Awaitable[None]]):
    """Serve one conversation after another, each with a terminal that has just been attached."""
    left = list(conversations)

    async def serve(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "attached", "output_offset": 0}))
        await left.pop(0)(socket)

    async with server.serve(serve, "127.0.0.1", 0) as served:
        yield f"http://127.0.0.1:{served.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("code", "end"), CLOSES)
async def test_a_terminal_comes_back_or_ends_by_the_code_with_which_it_is_closed(code, end):
    async def close(socket: ServerConnection) -> None:
        await socket.close(code)

    async def stay(socket: ServerConnection) -> None:
        await socket.send(b"here again")
        await socket.wait_closed()

    async with sockets(close, stay) as url, AsyncClient(url) as client:
        terminal = await client.terminal("s-1", "main")
        if end == "retry":
            assert await terminal.read(60) == b"here again"
            return
        with pytest.raises(TerminalClosed) as closed:
            await terminal.read(60)
        assert closed.value.close_code == code


async def test_a_frame_that_cannot_be_read_ends_a_terminal_with_the_reason():
    async def babble(socket: ServerConnection) -> None:
        await socket.send("no JSON")
        await socket.wait_closed()

    async with sockets(babble) as url, AsyncClient(url) as client:
        terminal = await client.terminal("s-1", "main")
        with pytest.raises(json.JSONDecodeError):
            await terminal.read(60)
