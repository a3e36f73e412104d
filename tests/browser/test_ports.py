"""A program listens in the workspace, and its page is there: notice, panel, origin, socket."""

from __future__ import annotations

import os
import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.support.pages import see, sign_in, type_line

pytestmark = [pytest.mark.ray, pytest.mark.browser]

PROGRAM = Path(__file__).parents[1] / "support" / "echo_page.py"


async def test_a_page_of_a_program_is_noticed_opened_and_shared(page, context, person, server):
    await person.client.write_file(person.session_id, "serve.py", PROGRAM.read_bytes())
    await sign_in(page, server.url, person.email)
    await type_line(page, "python3 serve.py 8000")
    await see(page, "serving on http://localhost:8000/")
    notice = page.get_by_role("status").filter(has_text="listens on port 8000")
    await expect(notice).to_be_visible(timeout=5000)
    async with context.expect_page() as opening:
        await notice.get_by_text("Open").click()
    opened = await opening.value
    await expect(opened.locator("h1")).to_have_text("hello from inside")
    await expect(opened.locator("#said")).to_have_text("echo: ping")
    assert re.fullmatch(rf"http://8000--{person.session_id}\.localhost:\d+/", opened.url)
    assert "coditect" not in await opened.evaluate("document.cookie")

    origin = opened.url
    port = int(origin.rpartition(":")[2].rstrip("/"))
    stranger = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers={"host": origin.split("/")[2]},
        trust_env=False,
    )
    async with stranger:
        assert (await stranger.get("/")).status_code == 401
        await page.get_by_test_id("ports-button").click()
        line = page.locator('.port[data-port="8000"]')
        await expect(line).to_contain_text("python3")
        if "CODITECT_TEST_SHOTS" in os.environ:
            for scheme in ("dark", "light"):
                await page.emulate_media(color_scheme=scheme)
                await page.screenshot(
                    path=f"{os.environ['CODITECT_TEST_SHOTS']}/ports-{scheme}.png"
                )
        await line.get_by_test_id("port-menu").click()
        await page.get_by_role("menuitemcheckbox", name="Everybody who has the address").click()
        await page.get_by_role("button", name="Make it public").click()
        await expect(line).to_contain_text("Public")
        answer = await stranger.get("/")
        assert (answer.status_code, "hello from inside" in answer.text) == (200, True)
        misdirected = await stranger.get("/", headers={"host": "x.localhost"})
        assert misdirected.status_code == 421

    await line.get_by_test_id("port-menu").click()
    await page.get_by_role("menuitem", name="Stop the program…").click()
    await page.get_by_role("button", name="Stop it").click()
    await expect(line).to_contain_text("Nothing listens")
    await opened.reload()
    await expect(opened.locator("h1")).to_have_text("Nothing listens on port 8000")
