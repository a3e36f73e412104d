"""Files found by letters of their path, and by what is in them."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.support.pages import in_tree, sign_in

pytestmark = pytest.mark.browser


async def test_files_are_found_by_name_and_by_what_is_in_them(page, resident, rig):
    client, session = resident.client, resident.session_id
    lines = [f"line {number}" for number in range(300)]
    lines[250] = "here is the Needle, $(touch ran) 'quoted'"
    await client.write_file(session, "src/deep/haystack.py", "\n".join(lines).encode())
    await client.write_file(session, "src/other.py", b"needle too\r\n")
    await client.write_file(session, "node_modules/needle.js", b"needle in what tools made")
    await client.write_file(session, "picture.bin", b"\0needle")
    await sign_in(page, rig.url, resident.email)

    # From the terminal with Shift: Ctrl+P alone is the shell's own.
    await page.keyboard.press("Control+Shift+P")
    opening = page.get_by_test_id("quick-open")
    await opening.wait_for()
    await page.keyboard.type("hay")
    await expect(opening.get_by_role("option")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(page.locator(".cm-editor.cm-focused")).to_contain_text("line 1")
    await expect(opening).to_be_hidden()
    await page.keyboard.press("Control+p")
    await opening.wait_for()
    await page.keyboard.type("needle")
    await expect(opening.get_by_role("status")).to_have_text("No file has these letters")
    await page.keyboard.press("Escape")
    await expect(page.locator(".cm-editor.cm-focused")).to_be_visible()

    await page.keyboard.press("Control+Shift+F")
    search = page.get_by_test_id("search")
    await search.wait_for()
    await page.keyboard.type("needle")
    await expect(search.get_by_role("status")).to_have_text("2 lines in 2 files")
    await search.get_by_role("button", name="251").click()
    editor = page.get_by_test_id("editor")
    await expect(editor.locator(".cm-activeLine")).to_contain_text("here is the Needle")
    assert await page.evaluate("getSelection().toString()") == "Needle"
    # What is looked for is text and no command; a capital letter means itself.
    field = search.get_by_role("searchbox")
    await field.fill("$(touch ran) '")
    await expect(search.get_by_role("status")).to_have_text("1 line in 1 file")
    await field.fill("Needle")
    await expect(search.get_by_role("status")).to_have_text("1 line in 1 file")
    await field.fill("-r")
    await expect(search.get_by_role("status")).to_have_text("Not found")
    await field.press("Escape")
    await expect(in_tree(page, "src")).to_be_visible()
    assert "ran" not in [each.name for each in await client.tree(session, "")]
