"""Steps that the tests in a browser share."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page

from tests.support.people import PASSWORD
from tests.support.waiting import wait_until


async def sign_in(page: Page, url: str, email: str, password: str = PASSWORD) -> None:
    await page.goto(url)
    await page.get_by_test_id("login-email").fill(email)
    await page.get_by_test_id("login-password").fill(password)
    await page.get_by_test_id("login-submit").click()
    await page.wait_for_url(re.compile(r"/workspaces/"))
    await terminal_ready(page)


async def terminal_text(page: Page) -> str:
    """Return the rows that the terminal on the page shows now."""
    rows = page.locator(".terminal-host:not([hidden]) .xterm-rows > div")
    return "\n".join(await rows.all_text_contents()).replace("\N{NO-BREAK SPACE}", " ")


async def terminal_ready(page: Page) -> None:
    await wait_until(lambda: terminal_text(page), lambda text: text.strip())


async def type_line(page: Page, line: str) -> None:
    await page.get_by_test_id("terminal").first.click()
    await page.keyboard.type(line)
    await page.keyboard.press("Enter")


async def see(page: Page, text: str) -> None:
    await wait_until(
        lambda: terminal_text(page),
        lambda shown: any(line.strip() == text for line in shown.splitlines()),
    )


def in_tree(page: Page, name: str) -> Locator:
    return (
        page.get_by_test_id("tree").get_by_role("treeitem").filter(has_text=re.compile(f"^{name}$"))
    )


async def open_file(page: Page, name: str) -> Locator:
    """Open a file from the tree and return the text of the editor."""
    await in_tree(page, name).click()
    editor = page.get_by_test_id("editor").locator(".cm-content")
    await editor.wait_for()
    return editor
