"""The operators' calls, and the changes of accounts by administrators."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from coditect import (
    AsyncClient,
    Forbidden,
    NotFound,
    Unauthorized,
)
from serve_app.auth.revocations import Revocations
from tests.fakes.ingress_fakes import EMAIL, PASSWORD
from tests.support.problems import is_problem


async def test_metrics_are_for_administrators_when_others_can_reach_the_server(rig, ada, admin):
    rig.app.state.ingress.deps.settings.__dict__["public_url"] = "https://example.com"
    assert (await rig.http().get("/api/admin/metrics")).status_code == 401
    assert (await rig.http(ada).get("/api/admin/metrics")).status_code == 403
    assert (await rig.http(admin).get("/api/admin/metrics")).status_code == 200


async def test_an_operator_finds_the_actor_of_a_session_by_the_name_it_has_in_ray(
    rig, admin, session_id
):
    [reported] = [each async for each in admin.all_sessions() if each.session_id == session_id]
    assert reported.actor == f"session-{await rig.owner(session_id)}"
    assert reported.user_id is not None


async def test_administrators_see_all_sessions_and_containers(rig, ada, admin, session_id):
    http = rig.http(admin)
    listed = (await http.get("/api/admin/sessions?limit=1")).json()
    rest = (await http.get(f"/api/admin/sessions?after={listed['next']}")).json()
    assert session_id in {s["session_id"] for s in listed["sessions"] + rest["sessions"]}
    assert (await http.get("/api/admin/containers")).status_code == 200
    assert (await http.get("/api/admin/overview")).json()["sessions"]
    is_problem(await rig.http(ada).get("/api/admin/sessions"), 403, "permission_denied")


async def test_administrators_see_the_nodes_and_have_one_emptied(rig, ada, admin):
    assert [node.status for node in await admin.nodes()] == ["ready", "ready"]
    assert [node.status for node in await admin.drain_node("n-3")] == ["ready", "draining"]
    assert [line["resource"] for line in await admin.audit(action="node")] == ["node/n-3"]
    with pytest.raises(NotFound):
        await admin.drain_node("n-9")
    with pytest.raises(Forbidden):
        await ada.nodes()


async def login(http: httpx.AsyncClient, password: str = PASSWORD, **headers: str):
    body = {"email": EMAIL, "password": password}
    return await http.post("/api/v1/auth/login", json=body, headers=headers)


async def test_users_are_made_changed_and_disabled_by_administrators_only(rig, ada, admin):
    with pytest.raises(Forbidden):
        await ada.create_user("x@example.com", PASSWORD)
    made = await admin.create_user("x@example.com", PASSWORD)
    http = rig.http(admin)
    conflict = await http.post(
        "/api/admin/users", json={"email": "X@example.com", "password": PASSWORD}
    )
    assert conflict.status_code == 409
    async with AsyncClient(rig.url) as person:
        await person.login("x@example.com", PASSWORD)
        assert (await http.delete(f"/api/admin/users/{made.user_id}")).status_code == 204
        with pytest.raises(Unauthorized):
            await person.me()
    change = {"disabled": False, "password": "another password", "role": "admin"}
    answer = await http.patch(f"/api/admin/users/{made.user_id}", json=change)
    assert answer.json()["role"] == "admin"
    async with AsyncClient(rig.url) as person:
        await person.login("x@example.com", "another password")
    assert (await http.patch("/api/admin/users/u-none", json=change)).status_code == 404
    mine = (await admin.me()).user_id
    assert (await http.delete(f"/api/admin/users/{mine}")).status_code == 400


async def test_a_new_password_ends_the_logins_made_with_the_old_one(rig, ada, admin):
    http = rig.http()

    async def refresh(token: str) -> httpx.Response:
        return await http.post("/api/v1/auth/refresh", json={"refresh_token": token})

    user_id = (await ada.me()).user_id
    change = {"password": "another password"}
    path = f"/api/admin/users/{user_id}"
    assert (await rig.http(admin).patch(path, json=change)).status_code == 200
    answers = [await refresh(ada.refresh_token) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert (await rig.http(ada).get("/api/v1/auth/me")).status_code == 401
    anew = (await login(http, "another password")).json()
    assert (await refresh(anew["refresh_token"])).status_code == 200
    bearer = {"authorization": f"Bearer {anew['access_token']}"}
    assert (await rig.http(headers=bearer).get("/api/v1/auth/me")).status_code == 200


NEW = "a password that is new"


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
                await asyncio.wait_for(mine.recv(), 60)
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
