"""Logouts and changes of one's own password."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from coditect import AsyncClient, Forbidden, Unauthorized
from serve_app.auth.revocations import Revocations
from serve_app.auth.tokens import Login
from tests.fakes.ingress_fakes import EMAIL, PASSWORD


async def test_logout_ends_the_login_and_nothing_else(rig, ada, session_id):
    refresh = ada.refresh_token
    other = await rig.sign_in()
    await ada.logout()
    answer = await rig.http().post("/api/v1/auth/refresh", json={"refresh_token": refresh})
    assert answer.status_code == 401
    await other.refresh()
    assert (await other.session(session_id)).session_id == session_id
    await other.close()
    assert (await rig.http().post("/api/v1/auth/logout")).status_code == 204


async def test_after_a_logout_neither_access_token_nor_ticket_is_worth_anything(rig, ada):
    http, other = rig.http(ada), await rig.sign_in()
    ticket = (await http.post("/api/v1/auth/ticket")).json()["ticket"]
    assert (await http.get("/api/v1/auth/me")).status_code == 200
    await ada.logout()
    refused = await http.get("/api/v1/auth/me")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    [mine] = await other.sessions()
    url = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{mine.session_id}/events"
    with pytest.raises(ConnectionClosed) as closed:
        await socket(f"{url}?ticket={ticket}", origin=rig.url)
    assert closed.value.rcvd.code == 4401
    await other.close()


async def test_a_logout_by_refresh_token_alone_ends_the_login_too(rig, ada):
    refresh = {"refresh_token": ada.refresh_token}
    assert (await rig.http().post("/api/v1/auth/logout", json=refresh)).status_code == 204
    assert (await rig.http(ada).get("/api/v1/auth/me")).status_code == 401


async def test_another_replica_hears_of_a_logout_and_a_new_one_knows_of_it(rig, ada):
    reported = Revocations(rig.deps.tokens, rig.deps.clock, keep=900.0)
    await reported.catch_up()
    assert len(reported) == 0
    await ada.logout()
    await reported.catch_up()
    assert len(reported) == 1
    late = Revocations(rig.deps.tokens, rig.deps.clock, keep=900.0)
    await late.catch_up()
    [ended] = await rig.deps.tokens.ended_after(None)
    assert late.is_over(Login(ended.user_id, str(ended.family_id)))


async def test_a_logout_closes_the_sockets_of_that_login_and_no_others(rig, ada, session_id):
    other = await rig.sign_in()
    url = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/events"
    headers = [{"authorization": f"Bearer {c.access_token}"} for c in (ada, other)]
    async with (
        connect(url, additional_headers=headers[0]) as mine,
        connect(url, additional_headers=headers[1]) as theirs,
    ):
        await asyncio.gather(mine.recv(), theirs.recv())
        await ada.logout()
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(mine.recv(), 60)
        assert mine.close_code == 4401
        assert theirs.close_code is None
        await theirs.ping()
    await other.close()


async def socket(url: str, **options) -> str:
    async with connect(url, **options) as open_socket:
        return str(await asyncio.wait_for(open_socket.recv(), 60))


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


async def test_a_wrong_current_password_changes_nothing_and_is_reported(rig, ada):
    other = await rig.sign_in()
    with pytest.raises(Forbidden) as refused:
        await ada.change_password("not the password", NEW)
    assert refused.value.code == "wrong_password"
    await other.me()
    await other.close()
