"""Who gets in, how they stay in, and what keeps the others out."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from argon2 import PasswordHasher
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from coditect import AsyncClient, Forbidden, ServerBusy, TooManyRequests, Unauthorized
from serve_app.auth.revocations import Revocations
from serve_app.auth.tokens import Login
from tests.fakes.ingress_fakes import ADMIN_EMAIL, EMAIL, PASSWORD
from tests.fakes.ingress_fakes import rig as make_rig
from tests.support.waiting import wait_until


async def login(http: httpx.AsyncClient, password: str = PASSWORD, **headers: str):
    body = {"email": EMAIL, "password": password}
    return await http.post("/api/v1/auth/login", json=body, headers=headers)


async def test_login_answers_what_the_contract_says_and_sets_safe_cookies(rig):
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
    assert (
        wrong.split("$")[1:4] == unknown.split("$")[1:4] == ["argon2id", "v=19", "m=19456,t=2,p=1"]
    )


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


async def test_when_no_more_launches_are_taken_login_says_when_to_come_back(rig):
    await rig.add_user()
    rig.pool.busy = True
    async with AsyncClient(rig.url, retry_seconds=6) as client:  # less than it is told to wait
        with pytest.raises(ServerBusy) as refused:
            await client.login(EMAIL, PASSWORD)
    assert refused.value.retry_after == 7


async def test_a_refresh_token_rotates_and_its_reuse_ends_the_login(rig, ada):
    http = rig.http()

    async def refresh(token: str) -> httpx.Response:
        return await http.post("/api/v1/auth/refresh", json={"refresh_token": token})

    first = ada.refresh_token
    second = (await refresh(first)).json()["refresh_token"]
    assert second != first
    # Two tabs at once, or a lost answer: within the overlap the same successor is given again.
    assert (await refresh(first)).json()["refresh_token"] == second
    third = (await refresh(second)).json()["refresh_token"]
    real = rig.deps.clock.now()
    rig.deps.clock.now = lambda: real + 100  # the overlap has passed
    assert (await refresh(first)).status_code == 401
    del rig.deps.clock.now
    assert (await refresh(third)).status_code == 401


async def test_bad_refresh_tokens_are_refused(rig):
    http = rig.http()
    for token in ("", "nonsense", "r-x.00", "r-x." + "0" * 64, "é.ü", "x" * 10_000):
        answer = await http.post("/api/v1/auth/refresh", json={"refresh_token": token})
        assert answer.status_code in {401, 422}, token
        assert answer.headers["content-type"] == "application/problem+json"


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
    told = Revocations(rig.deps.tokens, rig.deps.clock, keep=900.0)
    await told.catch_up()
    assert len(told) == 0
    await ada.logout()
    await told.catch_up()
    assert len(told) == 1
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
                await asyncio.wait_for(mine.recv(), 10)
        assert mine.close_code == 4401
        assert theirs.close_code is None
        await theirs.ping()
    await other.close()


async def test_an_administrator_who_enters_anothers_session_is_noted_once(rig, ada, admin):
    [mine] = await ada.sessions()
    await admin.session(mine.session_id)
    await admin.session(mine.session_id)
    await admin.session((await admin.sessions())[0].session_id)
    await ada.session(mine.session_id)

    async def entries() -> list[tuple[str, str]]:
        kept = (await rig.http(admin).get("/api/admin/audit")).json()["entries"]
        return [(e["user_id"], e["resource"]) for e in kept if e["action"] == "session.entered"]

    who = (await admin.me()).user_id
    found = await wait_until(entries, bool, 5)
    assert found == [(who, f"session/{mine.session_id}")]
    url = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{mine.session_id}/events"
    back = await rig.sign_in(ADMIN_EMAIL)
    await socket(url, additional_headers={"authorization": f"Bearer {back.access_token}"})
    await wait_until(entries, lambda seen: len(seen) == 2, 5)
    await back.close()


async def test_bad_access_tokens_are_401(rig):
    for header in ("", "Bearer", "Bearer a.b.c", "Basic YTpi", "Bearer " + "x" * 9000):
        answer = await rig.http(headers={"authorization": header}).get("/api/v1/auth/me")
        assert answer.status_code == 401, header
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_ticket_is_no_access_token(rig, ada):
    ticket = (await rig.http(ada).post("/api/v1/auth/ticket")).json()["ticket"]
    answer = await rig.http(headers={"authorization": f"Bearer {ticket}"}).get("/api/v1/auth/me")
    assert answer.status_code == 401


async def test_an_expired_access_token_is_refused(rig, ada):
    real = rig.deps.clock.now()
    rig.deps.clock.now = lambda: real + 901
    assert (await rig.http(ada).get("/api/v1/auth/me")).status_code == 401


async def test_a_cookie_changes_something_only_from_a_page_of_ours(rig):
    await rig.add_user()
    browser = rig.http()
    await login(browser)
    body = {"name": "second"}
    assert (await browser.get("/api/v1/auth/me")).json()["email"] == EMAIL
    assert (await browser.post("/api/v1/sessions", json=body)).status_code == 403
    secure = rig.url.replace("http:", "https:")
    for origin in ("http://evil.example", "null", rig.url + ".evil.example", "http://[", secure):
        answer = await browser.post("/api/v1/sessions", json=body, headers={"origin": origin})
        assert answer.status_code == 403, origin
    ours = await browser.post("/api/v1/sessions", json=body, headers={"origin": rig.url})
    assert ours.status_code == 201


async def test_a_foreign_page_cannot_sign_its_visitor_in(rig):
    await rig.add_user()
    assert (await login(rig.http(), origin="http://evil.example")).status_code == 403


async def test_a_browser_refreshes_by_cookie(rig):
    await rig.add_user()
    browser = rig.http()
    await login(browser)
    port = rig.url.rpartition(":")[2]
    before = browser.cookies[f"coditect_refresh_{port}"]
    assert (await browser.post("/api/v1/auth/refresh")).status_code == 403
    answer = await browser.post("/api/v1/auth/refresh", headers={"origin": rig.url})
    assert answer.status_code == 200
    assert browser.cookies[f"coditect_refresh_{port}"] != before
    assert (
        await browser.post("/api/v1/auth/logout", headers={"origin": rig.url})
    ).status_code == 204
    assert set(browser.cookies) == {f"coditect_device_{port}"}


async def test_the_cookies_of_another_server_on_this_host_and_of_an_earlier_one_do_no_harm(rig):
    await rig.add_user()
    browser = rig.http()
    for name, path in (("coditect_access", "/"), ("coditect_refresh", "/api/v1/auth")):
        browser.cookies.set(name, "x", domain="127.0.0.1", path=path)
    browser.cookies.set("coditect_access_9", "x", domain="127.0.0.1", path="/")
    answer = await login(browser)
    assert (await browser.get("/api/v1/auth/me")).status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "coditect_access" not in browser.cookies
    assert "coditect_refresh" not in browser.cookies
    assert "coditect_access_9" in browser.cookies


async def test_behind_tls_cookies_are_bound_to_the_host(tmp_path, stage):
    async with make_rig(tmp_path, stage, public_url="https://code.example.com") as rig:
        await rig.add_user()
        proxied = {"host": "code.example.com", "origin": "https://code.example.com"}
        answer = await login(rig.http(), **proxied)
        cookies = answer.headers.get_list("set-cookie")
        assert [cookie.partition("=")[0] for cookie in cookies] == [
            "__Host-coditect_access_443",
            "__Host-coditect_refresh_443",
            "__Host-coditect_device_443",
        ]
        assert all("Secure" in cookie and "Path=/;" in cookie for cookie in cookies)
        plain = proxied | {"origin": "http://code.example.com"}
        assert (await login(rig.http(), **plain)).status_code == 403


async def test_an_authorization_of_another_scheme_is_the_proxys_and_not_ours(rig):
    await rig.add_user()
    browser = rig.http()
    await login(browser)
    for value in ("Basic dTpw", "Negotiate abc", "Digest x", "nonsense"):
        answer = await browser.get("/api/v1/auth/me", headers={"authorization": value})
        assert answer.status_code == 200, value
        assert answer.headers["cache-control"] == "no-store"
    refused = await browser.post(
        "/api/v1/sessions", json={"name": "x"}, headers={"authorization": "Basic dTpw"}
    )
    assert refused.status_code == 403, "a cookie changes nothing without an Origin of ours"


async def socket(url: str, **options) -> str:
    async with connect(url, **options) as open_socket:
        return str(await asyncio.wait_for(open_socket.recv(), 10))


async def test_a_socket_opens_by_ticket_once_and_never_by_cookie(rig, ada, session_id):
    http = rig.http(ada)
    url = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/events"
    port = rig.url.rpartition(":")[2]
    cookie = {"cookie": f"coditect_access_{port}={ada.access_token}"}
    with pytest.raises(ConnectionClosed) as closed:
        await socket(url, origin=rig.url, additional_headers=cookie)
    assert closed.value.rcvd.code == 4401
    ticket = (await http.post("/api/v1/auth/ticket")).json()["ticket"]
    first = await socket(f"{url}?ticket={ticket}", origin=rig.url)
    assert json.loads(first)["data"]["phase"] in {"starting", "ready"}
    with pytest.raises(ConnectionClosed) as closed:
        await socket(f"{url}?ticket={ticket}", origin=rig.url)
    assert "before" in closed.value.rcvd.reason
    ticket = (await http.post("/api/v1/auth/ticket")).json()["ticket"]
    for origin in ("http://evil.example", rig.url.replace("http:", "https:")):
        with pytest.raises(ConnectionClosed) as closed:
            await socket(f"{url}?ticket={ticket}", origin=origin)
        assert closed.value.rcvd.code == 4403


async def test_a_program_opens_a_socket_by_header_or_subprotocol(rig, ada, session_id):
    url = f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/events"
    await socket(url, additional_headers={"authorization": f"Bearer {ada.access_token}"})
    offered = ["coditect", f"bearer.{ada.access_token}"]
    async with connect(url, subprotocols=offered) as open_socket:
        assert open_socket.subprotocol == "coditect"
    with pytest.raises(InvalidStatus) as refused:
        await socket(url)
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "written",
    ["J\xf6rg@b\xfccher.example", "Jo\u0308rg@B\xdcCHER.example", "jörg@xn--bcher-kva.example"],
)
async def test_an_account_is_found_by_its_address_however_it_is_written(rig, admin, written):
    made = await admin.create_user("jörg@bücher.example", PASSWORD)
    assert [user.user_id async for user in admin.users(email=written)] == [made.user_id]
    assert [user async for user in admin.users(email="nobody@example.com")] == []
    assert len([user async for user in admin.users()]) > 1


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


async def test_the_audit_trail_tells_of_sign_ins(rig, admin):
    await login(rig.http(), "wrong")
    http = rig.http(admin)

    async def lines() -> list[tuple[str, str]]:
        entries = (await http.get("/api/admin/audit")).json()["entries"]
        return [(entry["action"], entry["result"]) for entry in entries]

    found = await wait_until(lines, lambda seen: ("login", "refused") in seen, 5)
    assert ("login", "ok") in found
    assert (await rig.http().get("/api/admin/audit")).status_code == 401


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


async def test_the_client_says_too_many_requests(rig, monkeypatch):
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
