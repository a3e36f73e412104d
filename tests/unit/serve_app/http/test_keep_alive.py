"""Sockets that leave a ping unanswered: closed, unless what they hold up, or are held up by, is why."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from serve_app.http import keep_alive
from serve_app.http.keep_alive import HOLDS_BACK, PatientSocket
from tests.fakes import ingress_fakes

PING_SECONDS = 0.05


@pytest.fixture
def quick_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick(uvicorn.Config):
        def __init__(self, *args: Any, **options: Any) -> None:
            pings = {"ws_ping_interval": PING_SECONDS, "ws_ping_timeout": PING_SECONDS}
            super().__init__(*args, **options, **pings)

    monkeypatch.setattr(uvicorn, "Config", Quick)
    monkeypatch.setattr(keep_alive.auto, "AutoWebSocketsProtocol", None)
    keep_alive.install()


@contextlib.asynccontextmanager
async def opened(
    application: Any,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a socket by hand: nobody answers its pings."""
    async with ingress_fakes.serving(application) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        key = base64.b64encode(bytes(16)).decode()
        fields = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\n"
        writer.write(
            f"GET / HTTP/1.1\r\nHost: x\r\n{fields}Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        try:
            yield reader, writer
        finally:
            writer.close()


async def pings_until_close(reader: asyncio.StreamReader, enough: int) -> int | None:
    """Return the code with which the socket is closed; None after so many pings."""
    for _ in range(enough):
        opcode, length = await asyncio.wait_for(reader.readexactly(2), 20)
        body = await reader.readexactly(length)
        if opcode == 0x88:
            return int.from_bytes(body[:2], "big")
        assert opcode == 0x89
    return None


def application(*, reads: bool, holds_back: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"][HOLDS_BACK] = holds_back
        await receive()
        await send({"type": "websocket.accept"})
        if not reads:
            await asyncio.Event().wait()
        while (await receive())["type"] != "websocket.disconnect":
            continue

    return app


async def test_who_does_not_answer_is_gone(quick_pings):
    async with opened(application(reads=True)) as (reader, _):
        assert await pings_until_close(reader, 5) == 1011


async def test_whom_a_program_holds_up_is_not_closed(quick_pings):
    async with opened(application(reads=False)) as (reader, writer):
        writer.write(bytes([0x82, 0x80, 0, 0, 0, 0]))  # nobody takes it: nothing is read behind it
        assert await pings_until_close(reader, 5) is None


async def test_who_holds_back_is_not_closed(quick_pings):
    async with opened(application(reads=True, holds_back=True)) as (reader, _):
        assert await pings_until_close(reader, 5) is None


def test_it_is_what_uvicorn_takes(monkeypatch):
    monkeypatch.setattr(keep_alive.auto, "AutoWebSocketsProtocol", None)
    keep_alive.install()
    config = uvicorn.Config(application(reads=True))
    config.load()
    assert config.ws_protocol_class is PatientSocket
