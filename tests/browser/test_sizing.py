"""The rule by which several windows share one terminal: seen, chosen and kept."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.support.pages import sign_in, terminal_ready
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


async def size_of_when(resident, done) -> tuple[int, int]:
    async def size() -> tuple[int, int]:
        [found] = await resident.client.terminals(resident.session_id)
        return found.cols, found.rows

    return await wait_until(size, done)


def text_of(size: tuple[int, int]) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, size))


async def choose(page: Page, rule: str) -> None:
    await page.get_by_test_id("size").click()
    await page.get_by_test_id("sizing").get_by_role("radio", name=rule).check()
    await page.keyboard.press("Escape")


async def test_the_rule_for_the_size_is_seen_and_chosen_and_outlives_the_pages(
    page, browser, resident, rig
):
    await sign_in(page, rig.url, resident.email)
    await terminal_ready(page)
    desk = await size_of_when(resident, lambda size: size != (80, 24))
    context = await browser.new_context(**PHONE, color_scheme="dark")
    context.set_default_timeout(60_000)
    phone = await context.new_page()
    await sign_in(phone, rig.url, resident.email)
    await phone.get_by_test_id("foreign-size").wait_for()
    assert await size_of_when(resident, lambda _: True) == desk

    await phone.get_by_test_id("size").click()
    windows = phone.get_by_test_id("sizing-windows").get_by_role("row")
    await expect(windows).to_have_count(2)
    await expect(windows.first).to_contain_text(text_of(desk))
    await expect(windows.first).to_contain_text("Chrome on Linux")
    await expect(windows.first).to_contain_text("sets the size")
    await expect(windows.last).to_contain_text("This window")
    await expect(windows.last).not_to_contain_text("sets the size")
    await phone.keyboard.press("Escape")

    await choose(phone, "The smallest")
    small = await size_of_when(resident, lambda size: size[0] < desk[0])
    await expect(page.get_by_test_id("size")).to_have_text(f"{text_of(small)} smallest")
    await page.locator(".xterm-helper-textarea").press("a")  # who types changes nothing now
    for reloaded in (page, phone):
        await reloaded.reload()
        await expect(reloaded.get_by_test_id("size")).to_contain_text("smallest")
    await size_of_when(resident, lambda size: size == small)
    await choose(page, "The largest")
    await size_of_when(resident, lambda size: size == desk)
    await expect(phone.get_by_test_id("size")).to_have_text(f"{text_of(desk)} largest")

    # What is hidden does not count for it.
    await choose(page, "The smallest")
    await size_of_when(resident, lambda size: size == small)
    await phone.get_by_role("button", name="New terminal").click()
    await expect(page.get_by_test_id("size")).to_have_text(f"{text_of(desk)} smallest")
    await context.close()
