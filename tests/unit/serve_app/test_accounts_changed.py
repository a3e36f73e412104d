"""What a change of an account ends, and what goes on."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from coditect import AsyncClient, Forbidden, Unauthorized
from serve_app.ended_logins import EndedLogins
from tests.fakes.ingress_fakes import EMAIL, PASSWORD

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
    replica = EndedLogins(rig.deps.tokens, rig.deps.clock, keep=900.0)
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

    async def slow(stored, given):
        fits = await verify(stored, given)
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
