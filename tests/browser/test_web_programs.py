"""A program with a page of its own: from the registry into a workspace, and worked in."""

from __future__ import annotations

import re
from functools import partial

import pytest
from playwright.async_api import expect

from tests.support import registries
from tests.support.pages import sign_in
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.timeout(900)]

INSTALL_MILLISECONDS = 600_000
ANSWER_MILLISECONDS = 60_000


async def test_jupyterlab_is_installed_and_runs_a_cell_that_is_there_after_a_reload(
    page, context, person, server
):
    if not registries.is_reached():
        pytest.skip("the registry of Python packages is not reached")
    await sign_in(page, server.url.replace("127.0.0.1", "localhost"), person.email)
    await page.get_by_test_id("web-programs").click()
    await page.get_by_role("menuitem", name="JupyterLab").click()
    stage = page.get_by_test_id("web-program-stage")
    await expect(stage).to_have_attribute("data-stage", "ready", timeout=INSTALL_MILLISECONDS)
    async with context.expect_page() as opened:
        await page.get_by_test_id("web-program-open").click()
    lab = await opened.value
    await lab.locator('.jp-LauncherCard[data-category="Notebook"]').first.click(
        timeout=ANSWER_MILLISECONDS
    )
    # The notebook is drawn anew when its kernel answers.
    idle = lab.get_by_role("button", name=re.compile("Idle"))
    await expect(idle).to_be_visible(timeout=ANSWER_MILLISECONDS)
    cell = lab.locator(".jp-Notebook .cm-content").first
    await cell.click()
    await lab.keyboard.type("6 * 7")
    await expect(cell).to_have_text("6 * 7")
    await lab.keyboard.press("Shift+Enter")
    output = lab.locator(".jp-OutputArea-output").first
    await expect(output).to_have_text("42", timeout=ANSWER_MILLISECONDS)
    await lab.keyboard.press("Control+s")
    # It asks once for a better name.
    await lab.locator(".jp-Dialog .jp-mod-accept").click()
    read = partial(person.client.read_file, person.session_id, "Untitled.ipynb")
    await wait_until(read, lambda content: b"6 * 7" in content)
    await lab.reload()
    await expect(output).to_have_text("42", timeout=ANSWER_MILLISECONDS)
    assert person.session_id in lab.url
