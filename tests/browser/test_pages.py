"""The pages as a whole: for everybody, in both themes, wide and narrow; and what an account can do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.fakes.ingress_fakes import ADMIN_EMAIL
from tests.support.pages import in_tree, open_file, sign_in, terminal_ready
from tests.support.people import PASSWORD

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / "serve_app/frontend/node_modules/axe-core/axe.min.js"
PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada@laptop"
)
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


async def violations(page: Page) -> list[str]:
    """Return what axe finds wrong, with the elements."""
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['impact']} {each['id']}: {[node['html'][:120] for node in each['nodes'][:3]]}"
        for each in found["violations"]
    ]


async def visit(browser: Browser, size: dict, scheme: str) -> BrowserContext:
    context = await browser.new_context(
        viewport=size, color_scheme=scheme, reduced_motion="reduce", has_touch=size is PHONE
    )
    context.set_default_timeout(60_000)
    await context.add_init_script(path=AXE)
    return context


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_axe_finds_nothing(browser, rig, size, scheme):
    if not AXE.exists():
        pytest.skip("`make pages` installs axe-core")
    admin = await rig.sign_in(ADMIN_EMAIL)
    session = (await admin.sessions())[0].session_id
    await admin.write_file(session, "src/main.py", b"def main():\n    return 'x'  # says x\n")
    await admin.write_file(session, "src/main.py", b"def main():\n    return 'y'  # says y\n")
    await admin.write_file(session, "latin.txt", b"caf\xe9\n")
    await admin.write_file(session, "notes.md", b"# shown\n\n[x](main.py) `code`\n\n> quoted\n")
    await admin.write_file(session, "table.csv", b"name,n\nshown,1\n")
    context = await visit(browser, size, scheme)
    page = await context.new_page()
    await page.goto(f"{rig.url}/nothing")
    assert await violations(page) == []
    await page.goto(rig.url)
    await page.get_by_test_id("login-email").wait_for()
    assert await violations(page) == []
    await sign_in(page, rig.url, ADMIN_EMAIL)
    assert await violations(page) == []
    await page.get_by_test_id("session-state").get_by_text("Ready").wait_for()
    if size is WIDE:  # on a phone it is shown while there is another window
        await page.get_by_test_id("size").click()
        await page.get_by_test_id("sizing").wait_for()
        assert await violations(page) == []
        await page.keyboard.press("Escape")
    if size is PHONE:
        await page.get_by_role("button", name="Files", exact=True).click()
    if not await in_tree(page, "main.py").is_visible():
        await in_tree(page, "src").click()
    await in_tree(page, "main.py").wait_for()
    assert await violations(page) == []
    await open_file(page, "main.py")
    if size is PHONE:
        await page.get_by_role("button", name="Files", exact=True).click()
    await open_file(page, "latin.txt")
    await page.get_by_test_id("editor-notice").wait_for()
    assert await violations(page) == []
    if size is WIDE:
        for name in ("notes.md", "table.csv"):
            await open_file(page, name)
            await page.get_by_test_id("preview-toggle").click()
            await page.get_by_test_id("preview").get_by_text("shown").wait_for()
            assert await violations(page) == []
        await page.keyboard.press("Control+Shift+Digit5")
        await page.get_by_role("separator", name="Space of main").wait_for()
        assert await violations(page) == []
    await page.get_by_role("tab", name="main.py").click()
    await page.get_by_test_id("history").click()
    await page.get_by_test_id("diff").locator(".cm-content").first.wait_for()
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    for entry, inside in (
        ("Sessions…", "sessions"),
        ("Settings…", "settings"),
        ("Network…", "network"),
    ):
        await page.get_by_test_id("user-menu").click()
        assert await violations(page) == []
        await page.get_by_role("menuitem", name=entry).click()
        await page.get_by_test_id(inside).wait_for()
        assert await violations(page) == []
        await page.keyboard.press("Escape")
    await page.goto(f"{rig.url}/admin")
    await page.get_by_text("journal").first.wait_for()
    await page.get_by_role("heading", name=re.compile("Users")).wait_for()
    assert await violations(page) == []
    await context.close()
    await admin.close()


async def test_a_first_visit_leaves_the_console_empty(page, resident, rig):
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for path in ("/", f"/workspaces/{resident.session_id}", "/admin"):
        await page.goto(rig.url + path)
        await page.get_by_test_id("login-email").wait_for()
        await page.wait_for_load_state("networkidle")
    assert said == []
    await page.goto(f"{rig.url}/login")
    await sign_in(page, rig.url, resident.email)
    await page.goto(f"{rig.url}/login")  # who is signed in is sent on
    await page.wait_for_url(re.compile("/workspaces/"))
    await page.goto(f"{rig.url}/workspaces/{resident.session_id}/")
    await terminal_ready(page)
    assert said == []
    await page.goto(f"{rig.url}/nowhere")
    await page.get_by_role("link", name="Go to your workspace").click()
    await page.wait_for_url(re.compile("/workspaces/"))


async def test_an_account_has_sessions_a_password_and_is_asked_before_programs_end(
    page, resident, rig
):
    await sign_in(page, rig.url, resident.email)
    menu = page.get_by_test_id("user-menu")
    await menu.click()
    await page.get_by_role("menuitem", name="Settings…").click()
    await page.get_by_role("tab", name="Password").click()
    for field, text in (
        ("current", "not it"),
        ("next", "another good one"),
        ("again", "another good one"),
    ):
        await page.get_by_test_id(f"password-{field}").fill(text)
    await page.get_by_test_id("change-password").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("wrong")
    await page.get_by_test_id("password-current").fill(PASSWORD)
    await page.get_by_test_id("change-password").click()
    await expect(page.get_by_text("The password is changed")).to_be_visible()

    await page.get_by_test_id("session-switcher").click()
    await expect(page.get_by_test_id("sessions")).to_contain_text("default")
    await page.get_by_test_id("new-session-name").fill("second one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("session-switcher")).to_contain_text("second one")
    await terminal_ready(page)
    await menu.click()
    await page.get_by_role("menuitem", name="Put to sleep…").click()
    await expect(page.get_by_role("dialog")).to_contain_text("programs in its terminals end")
    await page.get_by_role("button", name="Cancel").click()
    await menu.click()
    await page.get_by_role("menuitem", name="Sign out").click()
    await page.get_by_test_id("login-email").wait_for()
    await sign_in(page, rig.url, resident.email, "another good one")
    await page.goto(rig.url)
    await page.wait_for_url(re.compile(resident.session_id))


async def test_an_account_keeps_secrets_and_keys_and_sees_what_the_network_allows(
    page, resident, rig
):
    client = resident.client
    await sign_in(page, rig.url, resident.email)
    menu = page.get_by_test_id("user-menu")
    await menu.click()
    await page.get_by_role("menuitem", name="Settings…").click()
    settings = page.get_by_test_id("settings")
    await settings.get_by_label("Name").fill("API_TOKEN")
    await settings.get_by_label("Value").fill("hush")
    await settings.get_by_test_id("environment-save").click()
    await expect(settings.get_by_role("listitem")).to_contain_text("API_TOKEN")
    await settings.get_by_label("Secret: nobody").uncheck()
    await settings.get_by_label("Name").fill("PATH")
    await settings.get_by_label("Value").fill("/nowhere")
    await settings.get_by_test_id("environment-save").click()
    await expect(settings.get_by_role("alert")).to_be_visible()  # the workspace sets it itself
    await settings.get_by_label("Name").fill("GREETING")
    await settings.get_by_label("Value").fill("hello")
    await settings.get_by_test_id("environment-save").click()
    await expect(settings.get_by_role("listitem")).to_have_count(2)
    await expect(settings).not_to_contain_text("hush")
    assert [each.name async for each in client.secrets()] == ["API_TOKEN"]
    await settings.get_by_role("button", name="Change API_TOKEN").click()
    await settings.get_by_label("Value").fill("hush")
    await settings.get_by_label("Only for this host").fill("git.example")
    await settings.get_by_label("Added as").select_option("basic")
    await settings.get_by_role("textbox", name="User name").fill("ada")
    await settings.get_by_test_id("environment-save").click()
    await expect(settings.get_by_role("listitem").first).to_contain_text("HTTPS, password of ada")
    assert (await client.secret("API_TOKEN")).https
    await settings.get_by_role("button", name="Delete API_TOKEN").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(settings.get_by_role("listitem")).to_have_count(1)
    await expect(settings.get_by_role("listitem")).to_contain_text("hello")

    await settings.get_by_role("tab", name="SSH keys").click()
    await settings.get_by_label("Public key").fill("no key")
    await settings.get_by_test_id("ssh-key-add").click()
    await expect(settings.get_by_role("alert")).to_be_visible()
    await settings.get_by_label("Public key").fill(PUBLIC_KEY)
    await settings.get_by_test_id("ssh-key-add").click()
    await expect(settings.get_by_role("listitem")).to_contain_text("ada@laptop")
    await page.keyboard.press("Escape")

    await menu.click()
    await page.get_by_role("menuitem", name="Network…").click()
    network = page.get_by_test_id("network")
    await network.get_by_label("Listed hosts").check()
    await network.get_by_label("Hosts, one a line").fill("example.com")
    await network.get_by_test_id("network-save").click()
    await expect(page.get_by_text("may reach is changed").first).to_be_attached()
    found = await client.network(resident.session_id)
    assert (found.policy, found.allow) == ("allow-list", ["example.com"])
