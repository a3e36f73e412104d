"""Callers are identified by tokens, cookies of our own pages, and tickets."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from actors.core.errors.access import Unauthenticated
from actors.core.errors.base import Unavailable
from actors.core.records.accounts import Role, UserRecord
from coditect import AsyncClient
from serve_app.auth.identity import KNOWN_SECONDS, STALE_SECONDS, Identity
from serve_app.auth.tokens import Login, Signer
from tests.fakes.ingress_fakes import EMAIL, PASSWORD
from tests.fakes.ingress_fakes import rig as make_rig
from tests.fakes.pool_fakes import ManualClock


async def login(http: httpx.AsyncClient, password: str = PASSWORD, **headers: str):
    body = {"email": EMAIL, "password": password}
    return await http.post("/api/v1/auth/login", json=body, headers=headers)


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
        return str(await asyncio.wait_for(open_socket.recv(), 60))


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


async def test_another_replica_believes_the_login_after_a_change_at_once(rig, ada, admin):
    """Its knowledge of the account was older than the login, so it asks anew."""
    identity = rig.app.state.ingress.identity
    user_id = (await ada.me()).user_id
    await rig.users.change(user_id, now=1.0, disabled=True)
    await rig.users.change(user_id, now=1.0, disabled=False)
    assert user_id in identity._known
    async with AsyncClient(rig.url) as again:
        await again.login(EMAIL, PASSWORD)
        await again.me()


class Accounts:
    """One account in a store that may be away."""

    def __init__(self) -> None:
        self.user: UserRecord | None = UserRecord(
            user_id="u", tenant_id="t", email="a@b.c", password_hash="", created_at=0.0
        )
        self.away: Exception | None = None
        self.asked = 0

    async def by_id(self, _user_id: str) -> UserRecord | None:
        self.asked += 1
        if self.away is not None:
            raise self.away
        return self.user


class Desk:
    """An identity over one account, and a token of its login."""

    def __init__(self) -> None:
        self.clock, self.accounts = ManualClock(), Accounts()
        self.signer = Signer(b"k" * 32, "t", lambda kind: f"{kind}-1")
        self.identity = Identity(
            self.signer, self.accounts, None, lambda _: False, self.clock, None
        )

    async def user(self, generation: int = 0) -> UserRecord:
        login = Login("u", "f", generation)
        token = self.signer.access_token(login, Role.USER, now=self.clock.now(), ttl=900.0)
        bearer = {"authorization": f"Bearer {token}"}
        return (await self.identity.of_request("GET", "https", bearer, {})).user


async def test_an_account_is_looked_up_once_in_a_while_and_after_a_change():
    desk = Desk()
    for _ in range(3):
        await desk.user()
    assert desk.accounts.asked == 1
    desk.clock.advance(KNOWN_SECONDS)
    await desk.user()
    assert desk.accounts.asked == 2
    desk.identity.forget("u")
    await desk.user()
    assert desk.accounts.asked == 3


async def test_a_login_that_is_newer_than_what_is_known_is_looked_up():
    desk = Desk()
    before = await desk.user()
    desk.accounts.user = before.model_copy(update={"generation": 1})
    assert (await desk.user(generation=1)).generation == 1
    with pytest.raises(Unauthenticated):
        await desk.user(generation=0)


async def test_while_the_store_is_away_an_account_that_is_known_is_believed_for_a_minute():
    desk = Desk()
    await desk.user()
    desk.accounts.away = Unavailable("store", "away")
    desk.clock.advance(STALE_SECONDS - 1)
    assert (await desk.user()).user_id == "u"
    desk.clock.advance(1)
    with pytest.raises(Unavailable):
        await desk.user()


async def test_an_account_that_is_gone_or_disabled_identifies_nobody():
    desk = Desk()
    known = await desk.user()
    for user in (known.model_copy(update={"disabled": True}), None):
        desk.accounts.user = user
        desk.identity.forget("u")
        with pytest.raises(Unauthenticated):
            await desk.user()
