"""Ports through the client: lists, shares, forwards; events of what listens; sandboxed pages."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from cluster.store.layers.sessions import ports as shares
from coditect.errors import InvalidRequest, NotFound
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _echo(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write(b"|the end")
        writer.close()


@contextlib.asynccontextmanager
async def listening(serve=_echo):
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_ports_are_listed_and_shared_by_the_client(private):
    ada, session_id, port = private.ada, private.session_id, private.port
    changed = await ada.share_port(session_id, port, visibility="signed-in", label="my page")
    assert (changed.visibility, changed.label, changed.listening) == ("signed-in", "my page", True)
    assert changed.url == private.url("/").replace("localhost", "localhost")
    assert changed.open_url == f"{private.way_in}/"
    assert port in {each.port for each in await ada.ports(session_id)}
    again = await ada.share_port(session_id, port, wake=True)
    assert (again.visibility, again.wake, again.label) == ("signed-in", True, "my page")
    assert await ada.port(session_id, port) == again
    silent = await ada.port(session_id, 1)
    assert (silent.listening, silent.visibility) == (False, "private")
    link = await ada.port_link(session_id, port, seconds=60)
    assert link.url.startswith(private.url("/.coditect/enter?link="))
    await ada.end_port_links(session_id, port)
    with pytest.raises(NotFound):
        await ada.stop_port(session_id, 1)
    for wrong in ({"label": "x" * 65}, {"label": "a\nb"}, {"visibility": "all"}):
        with pytest.raises(InvalidRequest):
            await ada.share_port(session_id, port, **wrong)
    async with await private.rig.sign_in("eve@example.com") as eve:
        for call in (
            eve.ports(session_id),
            eve.share_port(session_id, port),
            eve.port(session_id, port),
        ):
            with pytest.raises(NotFound):
                await call


async def test_a_session_shares_so_many_ports(private, monkeypatch):
    monkeypatch.setattr(shares, "MAX_PORTS", 4)
    for port in range(1, 5):
        await private.share(port, label="x")
    answer = await private.share(5, label="x")
    assert (answer.status_code, answer.json()["field"]) == (400, "port")
    for port in range(1, 5):
        await private.share(port, label="")


async def test_a_forwarded_port_carries_connections_with_their_ends(private):
    async with (
        listening() as port,
        await private.ada.forward_port(private.session_id, port) as forward,
    ):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
            sent = bytes(range(256)) * 4096
            writing = asyncio.create_task(_write(writer, sent))
            async with asyncio.timeout(60):
                assert await reader.readexactly(len(sent)) == sent
                await writing
                writer.write_eof()
                assert await reader.read() == b"|the end"
            writer.close()
        assert forward.error is None


async def _write(writer, data):
    writer.write(data)
    await writer.drain()


async def test_a_forward_to_nothing_ends_its_connections_and_says_why(private):
    async with listening() as port:
        pass
    async with await private.ada.forward_port(private.session_id, port) as forward:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        other = await private.ada.forward_port(private.session_id, 70_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", other.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert isinstance(other.error, InvalidRequest)
        await other.close()


async def test_a_program_that_breaks_off_breaks_the_forwarded_connection_off(private):
    async def reset(reader, writer):
        await reader.read(1)
        writer.transport.abort()

    async with (
        listening(reset) as port,
        await private.ada.forward_port(private.session_id, port) as forward,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"x" * 1000)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                assert await reader.read() == b""
        writer.close()


async def test_a_follower_hears_what_begins_and_ceases_to_listen(private):
    heard: list[set[int]] = []

    def hear(event):
        if event["type"] == "ports":
            heard.append({each["port"] for each in event["data"]["ports"]})

    async def follow():
        async for event in private.ada.events(private.session_id):
            hear(event)

    async with await private.ada.terminal(private.session_id, "main"):
        following = asyncio.create_task(follow())
        await wait_until(_said(lambda: bool(heard)))
        async with listening() as port:
            await wait_until(_said(lambda: port in heard[-1]))
        await wait_until(_said(lambda: port not in heard[-1]))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _said(condition):
    async def ask():
        return condition()

    return ask


async def test_without_a_domain_pages_are_served_sandboxed(private, monkeypatch):
    monkeypatch.setattr(private.rig.app.state.ingress.ports.hosts, "_domain", "")
    browser = await private.signed_in()
    page = await browser.get(f"{private.way_in}/seen?a=1", follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "same-origin" not in page.headers["content-security-policy"]
    seen = page.json()
    assert (seen["path"], seen["query"]) == ("/seen", "a=1")
    assert not {"cookie", "authorization"} & {name for name, _ in seen["headers"]}
    base = str(page.url).partition("/seen")[0]
    # What the page loads is sent without cookies: the address has what lets it in.
    alone = private.browser(accept="*/*")
    answer = await alone.get(f"{base}/cookies")
    assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
    moved = await alone.get(f"{base}/redirect")
    assert moved.headers["location"] == f"{base.partition(private.served_at)[2]}/seen?after=1"
    worker = await alone.get(f"{base}/seen", headers={"service-worker": "script"})
    assert worker.status_code == 403
    for wrong in (
        f"{private.way_in}/~forged/seen",
        base.replace(str(private.port), "80") + "/seen",
    ):
        assert (await httpx.AsyncClient(trust_env=False).get(wrong)).status_code in {401, 404}
