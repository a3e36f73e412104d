"""Requests under way end with the login that made them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from coditect import Unauthorized
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

    await wait_until(watched, bool, 10)
    await rig.http(admin).delete(f"/api/admin/users/{user_id}")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
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
