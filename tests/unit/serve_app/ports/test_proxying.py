"""What gets through to a program and back, and what a program can do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serve_app.ports import upstream
from tests.support.port_program import BLOCK
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE = 100 << 20
TRIES = 60


@pytest_asyncio.fixture(loop_scope="module")
async def public(house):
    await house.share(visibility="public", wake=False, label="")
    yield house


@contextlib.asynccontextmanager
async def raw_program(house, serve):
    """Run something that is no HTTP server; yield the address of its port, which is public."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await house.share(port, visibility="public")
    try:
        yield house.url(port=port)
    finally:
        server.close()
        await house.share(port, visibility="private")


async def test_every_method_and_its_body_gets_through(public):
    browser = public.browser()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        body = b"" if method in {"GET", "OPTIONS"} else b"what was sent"
        answer = await browser.request(method, public.url("/seen/a%20b//c;d?q=%00&q"), content=body)
        seen = answer.json()
        assert seen["method"] == method
        assert (seen["path"], seen["query"]) == ("/seen/a%20b//c;d", "q=%00&q")
        assert seen["body"] == body.decode()
    assert (await browser.head(public.url("/seen"))).status_code == 200


async def test_headers_are_worded_for_the_program(public):
    origin, other = public.url(""), public.url("", port=3000)
    sent = {
        "cookie": "a=1; coditect_port=secret; b=2",
        "origin": origin,
        "referer": f"{origin}/page",
        "x-forwarded-host": "forged",
        "te": "trailers",
        "connection": "x-hop",
        "x-hop": "1",
        "x-app": "kept",
    }
    browser = public.browser(**sent)
    seen = dict((await browser.get(public.url("/seen"))).json()["headers"])
    inner = f"http://localhost:{public.port}"
    assert (seen["origin"], seen["referer"]) == (inner, f"{inner}/page")
    assert (seen["cookie"], seen["x-app"]) == ("a=1; b=2", "kept")
    assert seen["x-forwarded-for"] == "127.0.0.1"
    # A name other than its Origin's would make it refuse forms and sockets.
    assert not {"te", "x-hop", "x-forwarded-host", "x-forwarded-proto"} & seen.keys()
    seen = dict(
        (await browser.get(public.url("/seen"), headers={"origin": other})).json()["headers"]
    )
    assert seen["origin"] == "http://localhost:3000"
    evil = {"origin": "http://evil.com"}
    seen = dict((await browser.get(public.url("/seen"), headers=evil)).json()["headers"])
    assert seen["origin"] == "http://evil.com"


async def test_redirects_lead_to_the_origin_and_cookies_stay_there(public):
    browser = public.browser()
    answer = await browser.get(public.url("/redirect"))
    assert answer.headers["location"] == public.url("/seen?after=1")
    answer = await browser.get(public.url("/cookies"))
    cookies = answer.headers.get_list("set-cookie")
    assert cookies == ["mine=1; Path=/; HttpOnly", "other=2"]
    assert answer.headers["x-app"] == "kept"
    assert not {"clear-site-data", "alt-svc"} & answer.headers.keys()
    # The platform's own policy is not the program's, nor the other way round.
    assert "content-security-policy" not in answer.headers
    assert answer.headers["origin-agent-cluster"] == "?1"


async def test_events_come_as_they_are_sent_and_the_program_hears_when_their_reader_goes(public):
    browser = public.browser()
    async with browser.stream("GET", public.url("/events")) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        got = [line async for line in _first(lines, 6)]
        assert [line for line in got if line] == ["data: 0", "data: 1", "data: 2"]


async def _first(lines, count):
    async with asyncio.timeout(60):
        for _ in range(count):
            yield await anext(lines)


async def test_a_hundred_megabytes_go_up_and_down_unchanged(public):
    browser, digest = public.browser(), hashlib.blake2b()

    async def parts():
        for _ in range(LARGE // len(BLOCK)):
            digest.update(BLOCK)
            yield BLOCK

    answer = await browser.post(public.url("/upload"), content=parts())
    assert answer.text == f"{LARGE} {digest.hexdigest()} chunked"
    sized = await browser.put(public.url("/upload"), content=BLOCK)
    assert sized.text.startswith(f"{len(BLOCK)} ")
    assert sized.text.endswith(f" {len(BLOCK)}")
    came = hashlib.blake2b()
    async with browser.stream("GET", public.url(f"/download/{LARGE}")) as answer:
        assert answer.headers["content-length"] == str(LARGE)
        async for part in answer.aiter_raw():
            came.update(part)
    assert came.digest() == digest.digest()


def ws(house, path, **options):
    headers = options.pop("headers", {})
    return connect(
        f"ws://{house.host()}{path}",
        host="127.0.0.1",
        port=int(house.served_at),
        additional_headers=headers,
        proxy=None,
        **options,
    )


async def test_a_socket_carries_text_and_bytes_subprotocol_cookies_and_close_codes(public):
    headers = {"origin": public.url(""), "cookie": "coditect_port=x; a=1"}
    async with ws(public, "/echo?q=1", headers=headers, subprotocols=["one", "two"]) as opened:
        assert opened.subprotocol == "two"
        assert opened.response.headers["set-cookie"] == "ws=1"
        seen = json.loads(await opened.recv())
        assert seen["origin"] == f"http://localhost:{public.port}"
        assert (seen["host"], seen["cookie"]) == (f"localhost:{public.port}", "a=1")
        for message in ("text", b"bytes", "x" * (1 << 20), b""):
            await opened.send(message)
            assert await opened.recv() == message
        await opened.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            await opened.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as asked")


async def test_a_socket_that_the_program_refuses_is_refused_with_its_answer(public):
    with pytest.raises(InvalidStatus) as refused:
        async with ws(public, "/refuse"):
            pass
    response = refused.value.response
    assert (response.status_code, response.headers["x-why"]) == (403, "so")


async def test_a_socket_without_a_pass_is_refused(house):
    await house.share(visibility="private")
    with pytest.raises(InvalidStatus) as refused:
        async with ws(house, "/echo"):
            pass
    assert refused.value.response.status_code == 401


async def test_a_port_without_a_program_says_so_and_tries_again(public):
    with contextlib.closing(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as made:
        port = made.sockets[0].getsockname()[1]
    await public.share(port, visibility="public")
    page = await public.browser().get(public.url(port=port))
    assert (page.status_code, page.headers["retry-after"]) == (502, "2")
    assert 'http-equiv="refresh"' in page.text
    assert f"port {port}" in page.text
    plain = await public.browser(accept="*/*").get(public.url(port=port))
    assert plain.text.startswith(f"Nothing listens on port {port}.")
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            f"ws://{public.host(port)}/", host="127.0.0.1", port=int(public.served_at), proxy=None
        ):
            pass
    assert refused.value.response.status_code == 502


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: else\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-more: " + b"y" * (200 << 10),
    ],
)
async def test_what_answers_with_something_else_than_http_is_said_to(public, answer):
    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with raw_program(public, serve) as url:
        page = await public.browser().get(url)
        assert (page.status_code, "not a page" in page.text) == (502, True)
        with pytest.raises(InvalidStatus) as refused:
            port = int(url.partition("//")[2].partition("--")[0])
            async with connect(
                f"ws://{public.host(port)}/",
                host="127.0.0.1",
                port=int(public.served_at),
                proxy=None,
            ):
                pass
        assert refused.value.response.status_code in {200, 502}


async def test_a_program_that_never_answers_or_never_ends_its_headers_is_given_up(public):
    async def drip(reader, writer):
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not reader.at_eof():
                writer.write(b"x-more: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()

    began = time.monotonic()
    page = await public.browser().get(public.url("/hang"))
    assert (page.status_code, "too long" in page.text) == (504, True)
    async with raw_program(public, drip) as url:
        page = await public.browser().get(url)
        assert page.status_code == 504
    assert time.monotonic() - began < 60


async def test_a_body_that_comes_too_slowly_frees_its_connection(public, monkeypatch):
    monkeypatch.setattr(public.rig.app.state.ingress.ports.proxy, "_patience", 0.2)

    async def begun() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(public.served_at))
        head = f"POST /seen HTTP/1.1\r\nHost: {public.host()}\r\nContent-Length: 99\r\n\r\nx"
        writer.write(head.encode())
        try:
            return await asyncio.wait_for(reader.readline(), 20)
        finally:
            writer.close()

    many = upstream.MAX_CONNECTIONS + 8
    answers = await asyncio.gather(*(begun() for _ in range(many)))
    assert {line.split()[1] for line in answers} == {b"408"}
    assert (await public.browser().get(public.url("/seen"))).status_code == 200


async def test_an_answer_that_breaks_off_is_broken_off(public):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        writer.close()

    async with raw_program(public, serve) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await public.browser().get(url)


async def test_what_was_not_modified_says_how_long_it_would_be(public):
    async def serve(reader, writer):
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\netag: x\r\n\r\n")
        await reader.read()
        writer.close()

    async with raw_program(public, serve) as url:
        browser = public.browser()
        for _ in range(2):
            answer = await browser.get(url, headers={"if-none-match": "x"})
            assert (answer.status_code, answer.headers["etag"]) == (304, "x")


async def test_who_goes_before_the_answer_frees_the_connection(public):
    open_now = 0

    async def hang(reader, writer):
        nonlocal open_now
        open_now += 1
        await reader.read()
        open_now -= 1
        writer.close()

    async def opened() -> int:
        return open_now

    async with raw_program(public, hang) as url:
        browser = public.browser()
        asking = asyncio.create_task(browser.get(url))
        await wait_until(opened, lambda number: number == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await wait_until(opened, lambda number: number == 0)


async def test_a_page_of_another_session_does_nothing_with_a_visitors_pass(private):
    browser = await private.entered()
    foreign = {"origin": private.url("").replace(private.session_id, "s-other")}
    assert (await browser.post(private.url("/seen"), headers=foreign)).status_code == 403
    own = {"origin": private.url("")}
    assert (await browser.post(private.url("/seen"), headers=own)).status_code == 200


async def test_many_that_hang_leave_the_server_to_the_others(public):
    async def hang(reader, writer):
        await reader.read()
        writer.close()

    async with raw_program(public, hang) as url:
        browser = public.browser()
        hanging = [asyncio.create_task(browser.get(url)) for _ in range(TRIES)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        assert (await public.rig.http().get("/healthz")).status_code == 200
        assert (await public.browser().get(public.url("/seen"))).status_code == 200
        assert time.monotonic() - began < 30
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_container_that_is_replaced_is_found_again(public):
    browser = public.browser()
    assert (await browser.get(public.url("/seen"))).status_code == 200
    await public.rig.kill_container(public.session_id)

    async def look():
        return (await browser.get(public.url("/seen"))).status_code

    assert await look() in {200, 503}
    await public.ada.exec(public.session_id, ["true"])  # somebody brings it up
    assert await wait_until(look, lambda status: status == 200) == 200


async def test_a_sleeping_workspace_wakes_only_where_its_owner_said_so(public):
    browser = public.browser()
    await public.ada.hibernate(public.session_id)

    async def page() -> tuple[int, bool]:
        answer = await browser.get(public.url("/seen"))
        return answer.status_code, "sleeps" in answer.text

    await wait_until(page, lambda seen: seen == (503, True))  # a replica believes for a second
    assert (await public.rig.ledger.session(public.session_id)).phase == "hibernated"
    await public.share(visibility="private", wake=True)
    assert (await browser.get(public.url("/seen"))).status_code == 303
    assert (await public.rig.ledger.session(public.session_id)).phase == "hibernated"
    await public.share(visibility="public", wake=True)

    async def look():
        return (await browser.get(public.url("/seen"))).status_code

    first = await browser.get(public.url("/seen"))
    assert (first.status_code, "starting" in first.text) == (503, True)
    await wait_until(look, lambda status: status == 200)
