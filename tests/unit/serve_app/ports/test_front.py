"""The whole way to a program's page: who is let in, and what gets through."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_its_owner_is_led_in_by_a_ticket_that_works_once(private):
    browser = await private.signed_in()
    begun = await browser.get(f"{private.way_in}/seen?a=%2F")
    assert begun.status_code == 303
    ticket = begun.headers["location"]
    assert ticket.startswith(private.url("/.coditect/enter?ticket="))
    entered = await browser.get(ticket)
    assert (entered.status_code, entered.headers["location"]) == (303, private.url("/seen?a=%2F"))
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "omain" not in cookie
    page = await browser.get(entered.headers["location"])
    assert page.status_code == 200, page.text
    seen = page.json()
    assert (seen["path"], seen["query"]) == ("/seen", "a=%2F")
    headers = dict(seen["headers"])
    assert headers["host"] == f"localhost:{private.port}"
    assert "cookie" not in headers
    again = await private.browser().get(ticket)
    assert again.status_code == 403


async def test_a_visit_without_a_pass_is_led_to_the_platform_and_back(private):
    browser = await private.signed_in()
    direct = await browser.get(private.url("/seen?x=1"))
    assert direct.status_code == 303
    led = private.way_in.replace("127.0.0.1", "localhost") + "/seen?x=1"
    assert direct.headers["location"] == led
    # Whoever is not signed in there does that first, and goes on from there.
    there = await private.browser().get(led)
    assert there.status_code == 303
    assert there.headers["location"].startswith("/?next=/workspaces/")
    assert "seen%3Fx%3D1" in there.headers["location"]


@pytest.mark.parametrize("headers", [{"accept": "*/*"}, {"sec-fetch-mode": "cors"}])
async def test_what_is_no_visit_of_a_page_is_refused(private, headers):
    browser = private.browser(**headers)
    assert (await browser.get(private.url("/seen"))).status_code == 401
    assert (await browser.post(private.url("/seen"))).status_code == 401


async def test_shares_decide_who_comes_in(private):
    stranger = await private.signed_in("eve@example.com")
    way_in = f"{private.way_in}/"
    assert (await stranger.get(way_in)).status_code == 404
    other = f"{private.rig.url}/workspaces/s-nobodys/ports/80/"
    assert (await stranger.get(other)).status_code == 404

    await private.share(visibility="signed-in")
    eve = await private.entered("eve@example.com")
    assert (await eve.get(private.url("/seen"))).status_code == 200
    assert (await private.browser().get(private.url("/seen"))).status_code == 303

    await private.share(visibility="public")
    assert (await private.browser().get(private.url("/seen"))).status_code == 200

    await private.share(visibility="private")
    assert (await eve.get(private.url("/seen"))).status_code == 303
    ada = await private.entered()
    assert (await ada.get(private.url("/seen"))).status_code == 200


async def test_a_pass_is_of_one_port_of_one_session(private):
    browser = await private.entered()
    [cookie] = [each for each in browser.cookies.jar if each.name == "coditect_port"]
    forged = private.browser(cookie=f"coditect_port={cookie.value}")
    assert (await forged.get(private.url("/seen"))).status_code == 200
    for url in (private.url("/", port=private.port - 1), private.url("/", session_id="s-another")):
        assert (await forged.get(url)).status_code == 303
    access = next(each.value for each in browser.cookies.jar if "access" in each.name)
    for token in (access, cookie.value[:-3] + "abc", ""):
        wrong = private.browser(cookie=f"coditect_port={token}")
        assert (await wrong.get(private.url("/seen"))).status_code == 303


async def test_a_login_that_ends_takes_its_passes_along(private):
    browser = await private.entered()
    answer = await browser.post(
        f"{private.rig.url}/api/v1/auth/logout", headers={"origin": private.rig.url}
    )
    assert answer.status_code == 204
    led = await browser.get(private.url("/seen"))
    assert led.status_code == 303
    assert (
        led.headers["location"] == f"{private.way_in}/seen"
    )  # by the name under which they know us


async def test_a_link_lets_in_until_it_is_ended(private):
    http = private.rig.http(private.ada)
    path = f"/api/v1/sessions/{private.session_id}/ports/{private.port}/link"
    made = (await http.post(path, json={"seconds": 60})).json()
    guest = private.browser()
    page = await guest.get(made["url"], follow_redirects=True)
    assert page.status_code in {200, 404}
    assert (await guest.get(private.url("/seen"))).status_code == 200
    assert (await http.delete(path)).status_code == 204
    assert (await guest.get(private.url("/seen"))).status_code == 303
    assert (await http.post(path, json={"seconds": 1})).status_code == 422


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("5173--s-a.b.localhost", 421),
        ("0--s-a.localhost", 421),
        ("70000--s-a.localhost", 421),
        ("05173--s-a.localhost", 421),
        ("x.localhost", 421),
        ("80--.localhost", 421),
        ("80--s-a.localhost.", 421),
        ("80--s-a.localhost:99", 401),
        ("80--s-a.evil.com", 200),
        ("localhost", 200),
        ("evil.com", 200),
    ],
)
async def test_hosts_that_stand_for_nothing_are_misdirected(house, host, status):
    http = house.rig.http(headers={"host": host})
    answer = await http.get("/healthz")
    assert answer.status_code == status


async def test_the_platform_is_not_to_be_had_under_a_ports_host(private):
    await private.share(visibility="public")
    token = {"authorization": f"Bearer {private.ada.access_token}"}
    answer = await private.browser(**token).get(private.url("/api/v1/auth/me"))
    assert (answer.status_code, answer.text) == (404, "Not Found")  # the program's own answer
    seen = (await private.browser(**token).get(private.url("/seen"))).json()
    assert (
        dict(seen["headers"])["authorization"] == token["authorization"]
    )  # is the program's matter


async def test_pages_of_ports_may_not_use_the_platform(private):
    browser = await private.entered()
    origin = private.url("")
    for given in (origin, f"http://x.localhost:{private.served_at}", "null"):
        answer = await browser.post(
            f"{private.rig.url}/api/v1/sessions/{private.session_id}/exec",
            json={"argv": ["true"]},
            headers={"origin": given},
        )
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
