"""Files in the page: nothing typed is lost, nothing saved is changed that nobody edited."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
from playwright.async_api import Page, expect

from tests.support.pages import in_tree, open_file, see, sign_in, terminal_ready, type_line
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser

# What a file from the desktop does: it is held over an element, then let go.
DROP = """(element) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array([0, 255, 1])], "dropped.bin"));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const event = new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer });
        element.dispatchEvent(event);
        if (kind === "dragover" && !event.defaultPrevented) throw new Error("it is opened instead");
    }
}"""


async def kept_drafts(page: Page) -> list[str]:
    """Return the texts that the browser keeps because they are not saved."""
    return await page.evaluate(
        """() => new Promise((resolve) => {
            const opening = indexedDB.open("coditect", 1);
            opening.onsuccess = () => {
                const all = opening.result.transaction("drafts").objectStore("drafts").getAll();
                all.onsuccess = () => {
                    opening.result.close();
                    resolve(all.result.map((draft) => draft.text));
                };
            };
        })"""
    )


async def test_what_was_typed_survives_a_reload_and_the_files_own_changes(page, resident, rig):
    client, session = resident.client, resident.session_id
    await client.write_file(session, "notes.txt", b"one\ntwo\nthree\n")
    await sign_in(page, rig.url, resident.email)
    editor = await open_file(page, "notes.txt")
    notice = page.get_by_test_id("editor-notice")
    save = page.get_by_test_id("save")

    # A file that nobody edits here follows the one on disk.
    await client.write_file(session, "notes.txt", b"one\ntwo\nthree\nfour\n")
    await expect(editor).to_contain_text("four")
    await expect(save).to_be_disabled()

    await editor.click()
    await page.keyboard.press("Control+Home")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.type("typed-")
    await page.reload()
    await expect(editor).to_contain_text("typed-two")
    await expect(notice).to_contain_text("are back")
    await expect(save).to_be_enabled()
    await expect(page.locator(".cm-editor.cm-focused")).to_be_visible()
    await page.keyboard.type("on-")  # where the cursor was
    await expect(editor).to_contain_text("typed-on-two")

    # Changed on both sides: nothing is decided without the resident.
    await client.write_file(session, "notes.txt", b"one\ntheirs\nthree\n")
    await expect(notice).to_contain_text("has changed")
    await page.keyboard.press("Control+s")
    await expect(page.get_by_text("was not saved").first).to_be_visible()
    assert await client.read_file(session, "notes.txt") == b"one\ntheirs\nthree\n"
    await wait_until(lambda: kept_drafts(page), lambda texts: "typed-on-two" in "".join(texts))
    await page.reload()
    await expect(notice).to_contain_text("has changed since")
    await notice.get_by_role("button", name="Compare").click()
    await expect(page.get_by_test_id("diff")).to_contain_text("theirs")
    await page.keyboard.press("Escape")
    await notice.get_by_role("button", name="Keep mine").click()
    await save.click()
    await expect(page.get_by_test_id("receipt")).to_contain_text(re.compile(r"v\d+"))
    assert await client.read_file(session, "notes.txt") == b"one\ntyped-on-two\nthree\nfour\n"
    assert await wait_until(lambda: kept_drafts(page), lambda texts: not texts) == []

    # Every version can be looked at and had back.
    await page.get_by_test_id("history").click()
    await page.get_by_role("button", name=re.compile("v1 ")).click()
    await expect(page.get_by_test_id("diff")).to_contain_text("typed-on-two")
    await page.get_by_test_id("restore-version").click()
    await expect(editor).not_to_contain_text("typed-on-two")
    assert await client.read_file(session, "notes.txt") == b"one\ntwo\nthree\n"


async def test_windows_on_one_file_keep_what_each_has_typed(page, resident, rig):
    await resident.client.write_file(resident.session_id, "notes.txt", b"shared\n")
    await sign_in(page, rig.url, resident.email)
    second = await page.context.new_page()
    await second.goto(page.url)
    for window, text in ((page, "first-"), (second, "second-")):
        await window.bring_to_front()
        editor = await open_file(window, "notes.txt")
        await editor.click()
        await window.keyboard.press("Control+Home")
        await window.keyboard.type(text)
        await expect(editor).to_contain_text(f"{text}shared")
    expected = {"first-shared\n", "second-shared\n"}
    await wait_until(lambda: kept_drafts(page), lambda texts: set(texts) == expected)
    for window, text in ((page, "first-"), (second, "second-")):
        await window.reload()
        await expect(window.locator(".cm-content").first).to_contain_text(f"{text}shared")
    # What a window leaves behind goes to the next one that opens; the first goes on with its own.
    await second.close()
    third = await page.context.new_page()
    await third.goto(page.url)
    await expect(third.locator(".cm-content").first).to_contain_text("second-shared")
    await expect(page.locator(".cm-content").first).to_contain_text("first-shared")
    assert sorted(await kept_drafts(page)) == sorted(expected)


async def test_bytes_that_nobody_edited_are_saved_as_they_were(page, resident, rig):
    client, session = resident.client, resident.session_id
    for name, before, shown, after in (
        ("bom.txt", b"\xef\xbb\xbffirst\r\nlast", "first", b"\xef\xbb\xbf+first\r\nlast"),
        ("latin.txt", b"caf\xe9 \x80\r\n", "café €", b"+caf\xe9 \x80\r\n"),
        ("mixed.txt", b"a\r\nb\nc\rd", "a", b"+a\r\nb\nc\rd"),
    ):
        await client.write_file(session, name, before)
        if name == "bom.txt":
            await sign_in(page, rig.url, resident.email)
        else:
            await page.get_by_role("button", name="Refresh", exact=True).click()
        editor = await open_file(page, name)
        await expect(editor.locator(".cm-line").first).to_have_text(re.compile(f"^{shown}"))
        await editor.click()
        await page.keyboard.press("Control+Home")
        await page.keyboard.type("+")
        await page.keyboard.press("Control+s")
        await expect(page.get_by_test_id("receipt")).to_contain_text("saved")
        assert await client.read_file(session, name) == after
    await in_tree(page, "latin.txt").click()
    await expect(page.get_by_test_id("editor-notice")).to_contain_text("Windows-1252")
    await page.locator(".cm-content").click()
    await page.keyboard.type("→")
    await page.keyboard.press("Control+s")
    await page.get_by_role("button", name="Save as UTF-8").click()
    await expect(page.get_by_test_id("editor-notice")).to_be_hidden()
    saved = await wait_until(
        lambda: client.read_file(session, "latin.txt"), lambda content: "→".encode() in content
    )
    assert "é €" in saved.decode()


async def test_the_tree_makes_moves_and_downloads_and_is_there_again(page, resident, rig, tmp_path):
    client, session = resident.client, resident.session_id
    await client.write_file(session, "folder/inner.txt", b"inner")
    await client.write_file(session, "loose.txt", b"loose")
    await sign_in(page, rig.url, resident.email)
    await in_tree(page, "folder").click()
    await page.get_by_role("button", name="New file").click()
    await page.keyboard.type("made.txt")
    await page.keyboard.press("Enter")
    await expect(page.locator(".cm-editor.cm-focused")).to_be_visible()
    await page.keyboard.type("x y")
    await page.keyboard.press("Control+s")
    await expect(page.get_by_test_id("receipt")).to_contain_text("saved")
    assert await client.read_file(session, "folder/made.txt") == b"x y"

    # Ctrl+H replaces in the editor, and is a backspace in the terminal.
    await page.keyboard.press("Control+h")
    await expect(page.locator(".cm-search")).to_be_visible()
    await page.keyboard.press("Escape")
    await type_line(page, "echo ok")
    await page.keyboard.type("echo okk")
    await page.keyboard.press("Control+h")
    await page.keyboard.type("-then")
    await page.keyboard.press("Enter")
    await see(page, "ok-then")

    # The shell's history comes into the tree before the others: nothing shifts under the mouse after it.
    await expect(in_tree(page, ".bash_history")).to_be_visible()
    await in_tree(page, "loose.txt").drag_to(in_tree(page, "folder"))
    await wait_until(
        lambda: client.tree(session, "folder"), lambda found: "loose.txt" in [e.name for e in found]
    )
    await in_tree(page, "folder").evaluate(DROP)
    await expect(in_tree(page, "dropped.bin")).to_be_visible()
    assert await client.read_file(session, "folder/dropped.bin") == bytes([0, 255, 1])
    await page.get_by_test_id("terminal").first.evaluate(DROP)  # beside the tree: nothing happens

    # A folder goes up as one stream; what is there already is replaced only when that is meant.
    long = "n" * 120
    (tmp_path / "site" / "deep").mkdir(parents=True)
    (tmp_path / "site" / "deep" / long).write_bytes(b"x" * 5000)
    (tmp_path / "site" / "index.html").write_text("first")

    async def upload_site() -> None:
        await page.get_by_role("button", name="Upload", exact=True).click()
        async with page.expect_file_chooser() as chosen:
            await page.get_by_role("menuitem", name="A folder…").click()
        await (await chosen.value).set_files(tmp_path / "site")

    await upload_site()
    await expect(page.get_by_text("2 of 2 uploaded.")).to_be_visible()
    place = "folder/" if "site" in [e.name for e in await client.tree(session, "folder")] else ""
    assert await client.read_file(session, f"{place}site/deep/{long}") == b"x" * 5000
    (tmp_path / "site" / "index.html").write_text("second")
    await upload_site()
    await page.get_by_role("button", name="Replace").click()

    async def index() -> bytes:
        return await client.read_file(session, f"{place}site/index.html")

    await wait_until(index, lambda found: found == b"second")

    # What a mouse drags, the keyboard moves; folders on the way are made.
    await in_tree(page, "dropped.bin").click(button="right")
    await page.get_by_role("menuitem", name="Move…").click()
    await page.keyboard.type("deep/er/moved.bin")
    await page.keyboard.press("Enter")
    await expect(in_tree(page, "dropped.bin")).to_be_hidden()
    assert await client.read_file(session, "deep/er/moved.bin") == bytes([0, 255, 1])

    # Several are chosen with Ctrl and a click, and by keyboard, and are moved and deleted together.
    await in_tree(page, "made.txt").click()
    await in_tree(page, "loose.txt").click(modifiers=["Control"])
    await in_tree(page, "loose.txt").click(button="right")
    await page.get_by_role("menuitem", name="Move 2 entries…").click()
    await page.keyboard.type("deep")
    await page.keyboard.press("Enter")
    await in_tree(page, "deep").click()
    await expect(in_tree(page, "made.txt")).to_have_attribute("aria-level", "2")
    assert await client.read_file(session, "deep/loose.txt") == b"loose"
    await in_tree(page, "loose.txt").click()
    await page.keyboard.press("Shift+ArrowDown")
    await page.keyboard.press("Delete")
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(in_tree(page, "loose.txt")).to_be_hidden()
    await expect(in_tree(page, "made.txt")).to_be_hidden()

    # A folder of the desktop comes with all it holds.
    (tmp_path / "desktop/below").mkdir(parents=True)
    (tmp_path / "desktop/below/one.txt").write_text("one")
    await in_tree(page, "folder").focus()
    await page.get_by_role("button", name="Upload").click()
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("menuitem", name="A folder…").click()
    await (await choosing.value).set_files(tmp_path / "desktop")
    await expect(in_tree(page, "desktop")).to_be_visible()
    assert await client.read_file(session, "folder/desktop/below/one.txt") == b"one"

    await page.reload()
    await terminal_ready(page)
    await expect(in_tree(page, "inner.txt")).to_be_visible()
    await in_tree(page, "folder").click(button="right")
    async with page.expect_download() as downloading:
        await page.get_by_role("menuitem", name="Download as .tar").click()
    download = await downloading.value
    assert download.suggested_filename == "folder.tar"
    with tarfile.open(fileobj=io.BytesIO((await download.path()).read_bytes())) as found:
        assert found.extractfile("folder/inner.txt").read() == b"inner"
