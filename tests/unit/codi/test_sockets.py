"""Connections to containers go nowhere but to the container."""

from __future__ import annotations

import asyncio

import pytest

from actors.core.errors.base import CoditectError
from actors.core.records.containers import ContainerHandle
from actors.core.records.sessions import Route
from cluster.codi.client import HttpCodiClient
from cluster.codi.journal_client import connect_journal
from cluster.codi.programs.client import connect_program
from cluster.codi.programs.frames import Start
from cluster.runtime.health import ask_health


async def answering(answer: bytes, taken: list[bytes]) -> asyncio.Server:
    """A program that answers in CODI's place; ``taken`` gets what it was sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


@pytest.mark.parametrize("way", ["terminal", "program", "journal"])
async def test_no_redirect_takes_the_secret_elsewhere(way):
    elsewhere: list[bytes] = []
    here: list[bytes] = []
    other = await answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", elsewhere)
    there = f"Location: ws://127.0.0.1:{port_of(other)}/\r\nContent-Length: 0\r\n\r\n"
    server = await answering(b"HTTP/1.1 302 Found\r\n" + there.encode(), here)
    handle = ContainerHandle(
        container_id="c",
        tenant_id="t",
        node_id="n",
        workspace_id="w",
        runtime="sandbox",
        address=f"127.0.0.1:{port_of(server)}",
        secret="hidden",
    )
    route = Route.to(handle, "s", 1)
    async with server, other:
        with pytest.raises(CoditectError):
            if way == "terminal":
                await HttpCodiClient().connect_terminal(route, "main", {})
            elif way == "program":
                await connect_program(route, Start(("true",)))
            else:
                await connect_journal(handle, timeout_seconds=10.0)
    assert (len(here), elsewhere) == (1, [])


async def test_an_answer_too_deep_to_be_read_is_no_health():
    body = b"[" * 60_000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with await answering(head + body, []) as server:
        assert await ask_health(f"127.0.0.1:{port_of(server)}", "s") is None
