"""The person's whole way, in Chromium: log in, type, save, lose the container, come back."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.async_api import expect

from tests.support.pages import see, sign_in, terminal_ready, terminal_text, type_line
from tests.support.people import PASSWORD
from tests.support.server_process import ADMIN_EMAIL, ADMIN_PASSWORD

pytestmark = [pytest.mark.ray, pytest.mark.browser]


async def test_a_person_works_loses_the_container_and_comes_back(page, context, person, server):
    await sign_in(page, server.url, person.email)
    await type_line(page, "echo he''llo; echo from-shell > made.txt")
    await see(page, "hello")

    details = await person.client.session(person.session_id)
    os.kill(server.containers()[details.container_id], signal.SIGKILL)
    await type_line(page, "cat made.txt")
    await see(page, "from-shell")
    assert "hello" in await terminal_text(page)
    assert page.url.endswith(f"/workspaces/{person.session_id}")

    await page.close()
    again = await context.new_page()
    await again.goto(f"{server.url}/workspaces/{person.session_id}")
    await terminal_ready(again)
    await type_line(again, "echo ba''ck")
    await see(again, "back")


async def test_a_file_edited_in_the_page_is_read_by_the_shell(page, person, server):
    await person.client.write_file(person.session_id, "notes.txt", b"first\n")
    await sign_in(page, server.url, person.email)
    await page.get_by_test_id("tree").get_by_text("notes.txt").click()
    editor = page.get_by_test_id("editor").locator(".cm-content")
    await expect(editor).to_contain_text("first")
    await editor.click()
    await page.keyboard.press("Control+End")
    await page.keyboard.type("second")
    await page.keyboard.press("Control+s")
    await expect(page.get_by_test_id("receipt")).to_contain_text(re.compile(r"v\d+"))
    await type_line(page, "cat notes.txt; echo")
    await see(page, "second")


async def test_a_wrong_password_is_reported(page, person, server):
    await page.goto(server.url)
    await page.get_by_test_id("login-email").fill(person.email)
    await page.get_by_test_id("login-password").fill("not it")
    await page.get_by_test_id("login-submit").click()
    await expect(page.get_by_role("alert")).to_be_visible()


async def test_a_stranger_is_sent_to_the_login_page_and_back(page, person, server):
    await page.goto(f"{server.url}/workspaces/{person.session_id}")
    await page.get_by_test_id("login-email").fill(person.email)
    await page.get_by_test_id("login-password").fill(PASSWORD)
    await page.get_by_test_id("login-submit").click()
    await page.wait_for_url(re.compile(f"/workspaces/{person.session_id}"))
    await terminal_ready(page)


async def test_the_operators_page_shows_sessions_pool_and_health(page, server, person):
    await page.goto(server.url)
    await page.get_by_test_id("login-email").fill(ADMIN_EMAIL)
    await page.get_by_test_id("login-password").fill(ADMIN_PASSWORD)
    await page.get_by_test_id("login-submit").click()
    await page.wait_for_url(re.compile(r"/workspaces/"))
    await page.goto(f"{server.url}/admin")
    details = await person.client.session(person.session_id)
    sessions = page.get_by_role("region", name=re.compile("^Sessions"))
    row = sessions.get_by_role("row").filter(has_text=person.email)
    await expect(row).to_contain_text("ready")
    await expect(row.get_by_title(details.container_id)).to_be_visible()
    users = page.get_by_role("region", name=re.compile("^Users"))
    await expect(users.get_by_role("row").filter(has_text=person.email)).to_be_visible()
    health = page.get_by_role("region", name="Health").get_by_role("listitem")
    for component in ("store", "journal", "supervisor"):
        shown = health.filter(has=page.get_by_text(component, exact=True))
        await expect(shown).to_contain_text(re.compile(r"\d ms.*ok|\d s.*ok"))
    pool = page.get_by_role("region", name="Warm pool")
    await expect(pool).to_contain_text(re.compile("Claims[1-9]"))
    for kind in ("Actors", "Containers"):
        await expect(pool).to_contain_text(re.compile(rf"{kind}[3-9] ready of 3"), timeout=90_000)


async def test_files_that_are_not_archived_are_reported_until_they_are(page, person, server, admin):
    user_id = (await person.client.me()).user_id
    await admin.set_quotas(user_id, file_bytes=100_000)
    await sign_in(page, server.url, person.email)
    usage = page.get_by_test_id("usage")
    await expect(usage).to_contain_text("of 97.7 KiB")
    await type_line(page, "head -c 200000 /dev/zero > large")
    await expect(page.get_by_test_id("unarchived")).to_have_text("1 file not archived: quota")
    await expect(page.get_by_text("1 file is not archived (195 KiB)").first).to_be_visible()
    await admin.set_quotas(user_id, file_bytes=None)
    await expect(page.get_by_test_id("unarchived")).to_be_hidden()
    await expect(usage).to_contain_text("of 20.0 GiB")
