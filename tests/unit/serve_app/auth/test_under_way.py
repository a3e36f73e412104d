"""Requests under way end with the login that made them."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.requests import ClientDisconnect

from actors.core.errors.access import Unauthenticated
from coditect import Unauthorized
from serve_app.auth.revocations import Revocations
from serve_app.auth.tokens import Login
from serve_app.auth.under_way import EndsWithLogin
from tests.fakes.pool_fakes import ManualClock
from tests.support.asgi import asked, http_scope
from tests.support.waiting import wait_until


async def begin_upload(rig, client, session_id):
    """Send half of a file and return the connection."""
    host, port = rig.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"PUT /api/v1/sessions/{session_id}/files/half HTTP/1.1\r\nhost: {host}:{port}\r\n"
        f"authorization: Bearer {client.access_token}\r\ncontent-length: 1000000\r\n\r\n".encode()
    )
    writer.write(b"x" * 1000)
    await writer.drain()
    return reader, writer


async def test_an_upload_under_way_ends_with_the_login(rig, ada, admin, session_id):
    ended = rig.app.state.ingress.ended
    user_id = (await ada.me()).user_id
    reader, writer = await begin_upload(rig, ada, session_id)

    async def watched():
        return user_id in ended._watches

    await wait_until(watched, bool)
    await rig.http(admin).delete(f"/api/admin/users/{user_id}")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    assert head.startswith(b"HTTP/1.1 401 ")
    writer.close()
    assert ended._watches.get(user_id) is None


async def test_a_download_and_a_program_under_way_end_with_the_login(rig, ada, admin, session_id):
    user_id = (await ada.me()).user_id
    await ada.write_file(session_id, "large", b"x" * (32 << 20))
    program = asyncio.create_task(ada.exec(session_id, ["sleep", "60"], timeout_seconds=60))
    async with rig.http(ada).stream("GET", f"/api/v1/sessions/{session_id}/files/large") as body:
        parts = body.aiter_raw(1000)
        await anext(parts)
        await rig.http(admin).delete(f"/api/admin/users/{user_id}")
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in parts:
                pass
    with pytest.raises(Unauthorized):
        await asyncio.wait_for(program, 10)
    assert rig.app.state.ingress.ended._watches == {}


LOGIN = Login("u", "f")


def revocations() -> Revocations:
    return Revocations(None, ManualClock(), keep=900.0)


def handler(ended: Revocations, *, begin: bool):
    """Return an application that belongs to the login, and never ends by itself."""
    started = asyncio.Event()

    async def app(scope, _receive, send):
        scope["state"]["under_way"].belongs_to(LOGIN, ended)
        if begin:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        started.set()
        await asyncio.Event().wait()

    return EndsWithLogin(app), started


async def test_a_request_that_is_not_answered_yet_gets_a_401_at_the_end_of_its_login():
    ended = revocations()
    app, started = handler(ended, begin=False)
    asking = asyncio.create_task(asked(app, http_scope()))
    await started.wait()
    ended.add("u", "f", 1.0)
    answer = await asking
    assert answer[0]["status"] == 401
    assert ended._watches == {}


async def test_an_answer_that_has_begun_is_broken_off():
    ended = revocations()
    app, started = handler(ended, begin=True)
    asking = asyncio.create_task(asked(app, http_scope()))
    await started.wait()
    ended.add("u", "f", 1.0)
    with pytest.raises(ClientDisconnect):
        await asking


async def test_whoever_ends_their_own_login_is_answered():
    ended = revocations()

    async def app(scope, _receive, send):
        scope["state"]["under_way"].belongs_to(LOGIN, ended)
        ended.add("u", "f", 1.0)
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 204, "headers": []})

    assert (await asked(EndsWithLogin(app), http_scope()))[0]["status"] == 204


async def test_a_login_that_has_ended_already_is_refused():
    ended = revocations()
    ended.add("u", "f", 1.0)

    async def app(scope, _receive, _send):
        await asyncio.sleep(0)
        scope["state"]["under_way"].belongs_to(LOGIN, ended)

    with pytest.raises(Unauthenticated):
        await asked(EndsWithLogin(app), http_scope())


async def test_any_other_cancellation_is_the_servers():
    app, started = handler(revocations(), begin=False)
    asking = asyncio.create_task(asked(app, http_scope()))
    await started.wait()
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
