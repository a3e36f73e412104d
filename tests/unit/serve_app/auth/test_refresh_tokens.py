"""Refresh tokens: rotation, reuse, cookies."""

from __future__ import annotations

import httpx

from tests.fakes.ingress_fakes import EMAIL, PASSWORD


async def login(http: httpx.AsyncClient, password: str = PASSWORD, **headers: str):
    body = {"email": EMAIL, "password": password}
    return await http.post("/api/v1/auth/login", json=body, headers=headers)


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
