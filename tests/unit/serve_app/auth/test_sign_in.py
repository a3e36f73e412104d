"""Signing in."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from argon2 import PasswordHasher

from coditect import (
    AsyncClient,
    ServerBusy,
    TooManyRequests,
    Unauthorized,
)
from tests.fakes.ingress_fakes import ADMIN_EMAIL, EMAIL, PASSWORD

LOGIN = "/api/v1/auth/login"


async def test_a_login_from_many_at_once_all_succeed(rig):
    emails = [f"crowd{number}@example.com" for number in range(8)]
    for email in emails:
        await rig.add_user(email)
    http = rig.http()
    answers = await asyncio.gather(
        *(http.post(LOGIN, json={"email": email, "password": PASSWORD}) for email in emails)
    )
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["session_id"] for answer in answers}) == 8
    assert EMAIL not in emails


async def login(http: httpx.AsyncClient, password: str = PASSWORD, **headers: str):
    body = {"email": EMAIL, "password": password}
    return await http.post("/api/v1/auth/login", json=body, headers=headers)


async def test_login_answers_what_the_contract_promises_and_sets_safe_cookies(rig):
    await rig.add_user()
    answer = await login(rig.http())
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {
        "session_id",
        "workspace_url",
        "container_status",
        "access_token",
        "refresh_token",
        "token_type",
        "expires_in",
        "ticket",
    }
    assert body["token_type"] == "Bearer"
    assert body["workspace_url"] == f"{rig.url}/workspaces/{body['session_id']}"
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 3
    assert all("HttpOnly" in cookie and "SameSite=" in cookie for cookie in cookies)
    assert any("Path=/api/v1/auth" in cookie for cookie in cookies)


async def test_login_attaches_to_the_session_that_runs(rig, ada, session_id):
    again = await ada.login(EMAIL.upper(), PASSWORD)
    assert again.session_id == session_id
    assert rig.pool.opened == 1


async def test_the_same_key_of_two_people_opens_two_sessions(rig):
    http = rig.http(headers={"idempotency-key": "shared"})
    sessions = []
    for email in (EMAIL, "eve@example.com"):
        await rig.add_user(email)
        body = {"email": email, "password": PASSWORD}
        answer = await http.post("/api/v1/auth/login", json=body)
        sessions.append(answer.json()["session_id"])
        http.cookies.clear()
    assert sessions[0] != sessions[1]


async def test_unknown_user_wrong_password_and_disabled_account_get_the_same_answer(rig):
    user = await rig.add_user()
    http = rig.http()
    wrong = await login(http, "wrong")
    unknown = await http.post(
        "/api/v1/auth/login", json={"email": "nobody@example.com", "password": "wrong"}
    )
    await rig.users.change(user.user_id, now=1.0, disabled=True)
    disabled = await login(http)
    documents = [answer.json() for answer in (wrong, unknown, disabled)]
    assert [answer.status_code for answer in (wrong, unknown, disabled)] == [401] * 3
    assert documents[0] == documents[1] == documents[2]


async def test_an_unknown_user_costs_the_same_check_as_a_wrong_password(rig, monkeypatch):
    checked: list[str] = []
    verify = PasswordHasher.verify

    def counted(self, stored, password):
        checked.append(stored)
        return verify(self, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    await rig.add_user()
    http = rig.http()
    for email in (EMAIL, "nobody@example.com"):
        body = {"email": email, "password": "wrong"}
        assert (await http.post("/api/v1/auth/login", json=body)).status_code == 401
    wrong, unknown = checked
    # Version, memory, time and parallelism: everything that decides how long a check takes.
    assert wrong.split("$")[1:4] == unknown.split("$")[1:4]


async def test_many_failures_have_to_wait_and_others_get_in(rig):
    await rig.add_user()
    http = rig.http()
    answers = await asyncio.gather(*(login(http, "wrong") for _ in range(40)))
    assert [answer.status_code for answer in answers].count(401) == 10
    refused = await login(http)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    await rig.add_user("grace@example.com")
    async with AsyncClient(rig.url) as other:
        await other.login("grace@example.com", PASSWORD)


async def test_when_no_more_launches_are_taken_login_returns_when_to_come_back(rig):
    await rig.add_user()
    rig.pool.busy = True
    async with AsyncClient(rig.url, retry_seconds=6) as client:  # less than it is asked to wait
        with pytest.raises(ServerBusy) as refused:
            await client.login(EMAIL, PASSWORD)
    assert refused.value.retry_after == 7


async def test_a_foreign_page_cannot_sign_its_visitor_in(rig):
    await rig.add_user()
    assert (await login(rig.http(), origin="http://evil.example")).status_code == 403


@pytest.mark.parametrize(
    "written",
    ["J\xf6rg@b\xfccher.example", "Jo\u0308rg@B\xdcCHER.example", "jörg@xn--bcher-kva.example"],
)
async def test_an_account_is_found_by_its_address_however_it_is_written(rig, admin, written):
    made = await admin.create_user("jörg@bücher.example", PASSWORD)
    assert [user.user_id async for user in admin.users(email=written)] == [made.user_id]
    assert [user async for user in admin.users(email="nobody@example.com")] == []
    assert len([user async for user in admin.users()]) > 1


async def test_password_checks_queue_up_to_a_bound(rig, monkeypatch):
    await rig.add_user()
    passwords = rig.app.state.ingress.passwords
    monkeypatch.setattr(passwords._turns, "_room", 1)
    emails = [f"person{number}@example.com" for number in range(12)]
    http = rig.http()
    bodies = [{"email": email, "password": "wrong"} for email in emails]
    answers = await asyncio.gather(
        *(http.post("/api/v1/auth/login", json=body) for body in bodies), login(http)
    )
    statuses = [answer.status_code for answer in answers]
    assert 429 in statuses
    assert set(statuses) <= {200, 401, 429}
    assert all("retry-after" in a.headers for a in answers if a.status_code == 429)


async def test_the_client_raises_too_many_requests(rig, monkeypatch):
    turns = rig.app.state.ingress.passwords._turns
    monkeypatch.setattr(turns, "_free", 0)
    monkeypatch.setattr(turns, "_room", 0)
    async with AsyncClient(rig.url, retry_seconds=0.5) as client:
        with pytest.raises(TooManyRequests):
            await client.login(ADMIN_EMAIL, PASSWORD)


async def test_a_decomposed_address_is_the_same_account_everywhere(rig, admin):
    http, password = rig.http(admin), "p\u00e4ssw\u00f6rt"
    for email, status in (
        ("jos\u00e9@example.com", 201),
        ("JOSE\u0301@example.com", 409),
        ("jos\u00e9\u200b@example.com", 422),
        ("jos\u00e9\u202e@example.com", 422),
    ):
        body = {"email": email, "password": password}
        answer = await http.post("/api/admin/users", json=body)
        assert answer.status_code == status, email
    body = {"email": "Jose\u0301@example.com", "password": "pa\u0308sswo\u0308rt"}
    assert (await rig.http().post("/api/v1/auth/login", json=body)).status_code == 200
    unseen = {"email": "x@example.com", "password": "bell\x07bell"}
    refused = await http.post("/api/admin/users", json=unseen)
    assert (refused.status_code, refused.json()["field"]) == (400, "password")


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
