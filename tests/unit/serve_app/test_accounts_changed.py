"""What a change of an account ends, and what goes on."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from coditect import AsyncClient, Forbidden, Unauthorized
from serve_app.auth.revocations import Revocations
from tests.fakes.ingress_fakes import EMAIL, PASSWORD
from tests.support.waiting import wait_until

NEW = "a password that is new"


async def test_ones_own_new_password_ends_the_other_logins_and_keeps_this_one(rig, ada):
    other = await rig.sign_in()
    await ada.change_password(PASSWORD, NEW)
    await ada.me()
    await ada.refresh()
    await ada.me()
    for refused in (other.me(), other.refresh()):
        with pytest.raises(Unauthorized):
            await refused
    async with AsyncClient(rig.url) as again:
        with pytest.raises(Unauthorized):
            await again.login(EMAIL, PASSWORD)
        await again.login(EMAIL, NEW)
        await again.change_password(NEW, PASSWORD)  # now it is this login that is kept
        await again.me()
    with pytest.raises(Unauthorized):
        await ada.me()
    await other.close()


async def test_a_wrong_current_password_changes_nothing_and_says_so(rig, ada):
    other = await rig.sign_in()
    with pytest.raises(Forbidden) as refused:
        await ada.change_password("not the password", NEW)
    assert refused.value.code == "wrong_password"
    await other.me()
    await other.close()


@pytest.mark.parametrize(
    "change", [{"disabled": True}, {"password": NEW}, {"role": "admin"}], ids=str
)
async def test_a_change_by_an_administrator_ends_tokens_and_sockets(
    rig, ada, admin, session_id, change
):
    user_id = (await ada.me()).user_id
    url = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/events"
    bearer = {"authorization": f"Bearer {ada.access_token}"}
    replica = Revocations(rig.deps.tokens, rig.deps.clock, keep=900.0)
    async with connect(url, additional_headers=bearer) as mine:
        await mine.recv()
        patch = await rig.http(admin).patch(f"/api/admin/users/{user_id}", json=change)
        assert patch.status_code == 200
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(mine.recv(), 10)
        assert mine.close_code == 4401
    for refused in (ada.me(), ada.refresh()):
        with pytest.raises(Unauthorized):
            await refused
    await replica.catch_up()
    assert len(replica) > 0
    back = await rig.http(admin).patch(f"/api/admin/users/{user_id}", json={"disabled": False})
    assert back.status_code == 200
    with pytest.raises(Unauthorized):
        await ada.me()
    async with AsyncClient(rig.url) as again:
        await again.login(EMAIL, change.get("password", PASSWORD))
        await again.me()


async def test_what_changes_nothing_ends_nothing(rig, ada, admin):
    user_id = (await ada.me()).user_id
    http = rig.http(admin)
    for change in ({"role": "user"}, {"disabled": False}, {"quotas": {"files": 7}}):
        assert (await http.patch(f"/api/admin/users/{user_id}", json=change)).status_code == 200
        await ada.me()


async def test_an_administrator_who_resets_their_own_password_goes_on(rig, admin):
    user_id = (await admin.me()).user_id
    answer = await rig.http(admin).patch(f"/api/admin/users/{user_id}", json={"password": NEW})
    assert answer.status_code == 200
    await admin.me()
    await admin.refresh()


async def test_a_login_whose_password_was_checked_before_the_change_is_over(rig, monkeypatch):
    user = await rig.add_user()
    passwords = rig.app.state.ingress.passwords
    verify = passwords.verify

    async def slow(stored, given, **party):
        fits = await verify(stored, given, **party)
        await rig.users.change(user.user_id, now=1.0, password_hash="changed meanwhile")
        return fits

    monkeypatch.setattr(passwords, "verify", slow)
    async with AsyncClient(rig.url) as late:
        await late.login(EMAIL, PASSWORD)
        with pytest.raises(Unauthorized):
            await late.me()


async def test_another_replica_believes_the_login_after_a_change_at_once(rig, ada, admin):
    """What it knew of the account was older than the login, so it asks anew."""
    identity = rig.app.state.ingress.identity
    user_id = (await ada.me()).user_id
    await rig.users.change(user_id, now=1.0, disabled=True)
    await rig.users.change(user_id, now=1.0, disabled=False)
    assert user_id in identity._known
    async with AsyncClient(rig.url) as again:
        await again.login(EMAIL, PASSWORD)
        await again.me()


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
