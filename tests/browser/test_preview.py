"""Files as they read, in place of their text; nothing of them runs as a part of the page."""

from __future__ import annotations

import base64
import re

import pytest
from playwright.async_api import expect

from tests.support.pages import in_tree, open_file, sign_in

pytestmark = pytest.mark.browser

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20" onload="top.ran=1">'
    b"<script>top.ran = 1; parent.ran = 1</script></svg>"
)
MARKDOWN = """# Title

[the table](t.csv) <a href="javascript:ran=1">script</a> [outside](../../x)

![pixel](img/pixel.png) ![vector](x.svg) ![elsewhere](https://elsewhere.test/x.png)

<script>ran = 1</script><img src="nothing.png" onerror="ran = 1"><a id="app" name="ran" href="#title">up</a>
<form action="/api/v1/auth/logout"><input name="ran"></form>
<iframe srcdoc="<script>top.ran=1</script>"></iframe>
<div style="position:fixed;inset:0" class="session-notice" data-testid="save">over the page</div>
"""


async def test_files_are_shown_as_they_read_and_nothing_of_them_runs(page, resident, rig):
    client, session = resident.client, resident.session_id
    files = {
        "a.md": MARKDOWN.encode(),
        "img/pixel.png": PIXEL,
        "x.svg": SVG,
        "t.csv": b'name,n\n"a, b",1\n' + b"c,2\n" * 1500,
        "p.pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n",
        "no.pdf": b"<html><script>top.ran = 1</script></html>",
    }
    for path, content in files.items():
        await client.write_file(session, path, content)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await sign_in(page, rig.url, resident.email)
    await open_file(page, "a.md")
    await page.get_by_test_id("preview-toggle").click()
    preview = page.get_by_test_id("preview")
    await expect(preview.get_by_role("heading", name="Title")).to_be_visible()
    await expect(preview.locator("img")).to_have_count(2)
    pixel = preview.get_by_role("img", name="pixel")
    await expect(pixel).to_have_attribute("src", re.compile(f"^blob:{rig.url}"))
    await expect(pixel).to_have_js_property("naturalWidth", 1)
    await expect(preview.get_by_role("img", name="vector")).to_have_attribute(
        "src", re.compile("^data:image/svg")
    )
    await expect(preview.locator(".image-name")).to_have_text(["elsewhere", "image"])
    forbidden = (
        "script, iframe, form, input, [id], [name], [class*=session], [data-testid], [style]"
    )
    assert await preview.locator(".markdown").locator(forbidden).count() == 0
    script = preview.get_by_text("script", exact=True)
    await script.click()
    assert await script.get_attribute("href") is None

    # A link opens the file, as the last one of its kind was shown; the table is cut, and says so.
    await preview.get_by_role("link", name="the table").click()
    await page.locator(".cm-content").wait_for()
    await page.keyboard.press("Control+Shift+V")
    await expect(preview.get_by_role("cell", name="a, b")).to_be_visible()
    await expect(preview).to_contain_text("The first 1,000 of 1,501 rows")
    await client.write_file(session, "t.csv", b"name\nanother\n")
    await expect(preview.get_by_role("cell", name="another")).to_be_visible()

    await in_tree(page, "x.svg").click()
    await page.locator(".cm-content").wait_for()
    await page.get_by_test_id("preview-toggle").click()
    await expect(preview).to_contain_text("30 \N{MULTIPLICATION SIGN} 20")
    await in_tree(page, "p.pdf").click()
    await expect(preview.locator("iframe")).to_have_attribute("src", re.compile("^blob:"))
    await in_tree(page, "no.pdf").click()
    await expect(preview).to_contain_text("no PDF")
    await preview.get_by_role("button", name="Open as text").click()
    await expect(page.locator(".cm-content")).to_contain_text("top.ran")
    await in_tree(page, "img").click()
    await in_tree(page, "pixel.png").click()
    await expect(preview.get_by_role("img", name="pixel.png")).to_have_js_property(
        "naturalWidth", 1
    )
    assert await page.evaluate("window.ran") is None
    assert not [url for url in asked if "elsewhere" in url]
    assert "markdown-view" in " ".join(asked)
