"""Several terminals at once: each is typed into by itself, and they are there again."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.support.pages import see, sign_in

pytestmark = pytest.mark.browser


async def widths(page: Page) -> list[int]:
    """Return the widths of the terminals that are shown."""
    shown = page.locator(".terminal-host:not([hidden])")
    return await shown.evaluate_all("(all) => all.map((each) => Math.round(each.offsetWidth))")


async def test_terminals_are_split_sized_and_there_again(page, resident, rig):
    await sign_in(page, rig.url, resident.email)
    shown = page.locator(".terminal-host:not([hidden])")
    await page.keyboard.press("Control+Shift+Digit5")
    await expect(shown).to_have_count(2)
    await expect(page.locator(".terminal-host.current")).to_contain_text(re.compile(r"[#$]"))
    await page.keyboard.type("echo to-the-second\n")
    await see(page, "to-the-second")
    await expect(page.locator(".terminal-host.current")).to_contain_text("to-the-second")

    # The border moves with the arrow keys, and is remembered.
    left, right = await widths(page)
    assert abs(left - right) <= 2
    border = page.get_by_role("separator", name="Space of main")
    for _ in range(3):
        await border.press("ArrowRight")
    left, right = await widths(page)
    assert left > right + 50
    async with page.expect_request(
        lambda request: "terminal_groups" in (request.post_data or "")
    ) as kept:
        await border.press("ArrowRight")
    await (await kept.value).response()
    left, right = await widths(page)
    await page.reload()
    await expect(shown).to_have_count(2)
    await expect(page.locator(".terminal-host.current")).to_contain_text("to-the-second")
    assert await widths(page) == [left, right]

    # One that is clicked into is the active one; one in a tab of its own has all the space.
    await shown.first.click()
    await expect(page.get_by_role("tab", name="main")).to_have_attribute("aria-selected", "true")
    await page.get_by_test_id("split").click()
    await page.get_by_role("menuitem", name="Show this one in a tab").click()
    await expect(shown).to_have_count(1)
    await expect(page.get_by_role("tab", name="shell-2")).to_be_visible()
