"""One terminal under several eyes: who answers, whose size it has, and what gets into it."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from playwright.async_api import Browser, Page

from tests.support.pages import see, sign_in, terminal_text, type_line
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.browser]

ASK = b"""\
import os, select, sys, termios, time, tty
before = termios.tcgetattr(0)
tty.setraw(0)
os.write(1, eval(sys.argv[1]) + b"\\x1b[5n")
said, until = b"", time.monotonic() + 60
while time.monotonic() < until:
    if select.select([0], [], [], 0.1)[0]:
        said += os.read(0, 4096)
        if b"\\x1b[0n" in said:  # and perhaps another window's answer behind it
            until = min(until, time.monotonic() + 0.5)
termios.tcsetattr(0, termios.TCSADRAIN, before)
open("answer.part", "wb").write(said)
os.rename("answer.part", "answer")
"""
PASTE = """text => {
  const data = new DataTransfer();
  data.setData("text/plain", text);
  const event = new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
  document.querySelector(".terminal-host:not([hidden]) .xterm-helper-textarea").dispatchEvent(event);
}"""


async def size_of(person, name: str) -> tuple[int, int]:
    found = await person.client.terminals(person.session_id)
    return next(((each.cols, each.rows) for each in found if each.name == name), (80, 24))


async def another_page(browser: Browser, server, person, **options) -> Page:
    options = {"viewport": {"width": 1280, "height": 800}} | options
    opened = await (await browser.new_context(**options)).new_page()
    opened.set_default_timeout(60_000)
    await sign_in(opened, server.url, person.email)
    return opened


async def asked(person, page: Page, question: str) -> bytes:
    """Have a program ask the terminal, and return all that it was answered.

    Behind the question it asks whether the terminal works: that is answered always, and last.
    """
    exists = await person.client.exec(person.session_id, ["rm", "-f", "answer"])
    assert exists.exit_code == 0
    await type_line(page, f'clear; python3 ask.py "{question}"')

    async def answer() -> bytes | None:
        result = await person.client.exec(person.session_id, ["cat", "answer"])
        return b"+" + result.stdout.encode() if result.exit_code == 0 else None

    return (await wait_until(answer, lambda found: found is not None))[1:]


async def test_a_question_is_answered_once_whoever_watches_and_leaves(
    page, browser, person, server
):
    await person.client.write_file(person.session_id, "ask.py", ASK)
    await sign_in(page, server.url, person.email)
    other = await another_page(browser, server, person)
    question = r"b'\x1b[c'"
    first = await asked(person, page, question)
    assert (first.count(b"c"), first.count(b"\x1b[0n")) == (1, 1)
    assert await asked(person, other, question) == first
    await page.close()
    assert await asked(person, other, question) == first
    await other.reload()
    await wait_until(lambda: terminal_text(other), lambda text: "ask.py" in text or "$" in text)
    assert await asked(person, other, question) == first  # and nothing of what was shown again


async def test_what_is_hidden_sets_no_size_and_what_is_used_does(page, browser, person, server):
    await sign_in(page, server.url, person.email)
    await page.get_by_test_id("new-terminal").click()
    desk = await size_of_when(person, "shell-2", lambda size: size != (80, 24))
    phone = await another_page(
        browser,
        server,
        person,
        viewport={"width": 390, "height": 780},
        has_touch=True,
        is_mobile=True,
    )
    await phone.get_by_role("tab", name="shell-2").click()
    await phone.get_by_test_id("foreign-size").wait_for()
    assert await size_of(person, "shell-2") == desk
    # All rows of the larger one can be seen on the smaller one.
    box = await phone.evaluate(
        """() => {
          const view = document.querySelector(".terminal-host:not([hidden]) .terminal-view");
          view.scrollTop = view.scrollHeight;
          const rows = view.querySelector(".xterm-screen").getBoundingClientRect();
          return [rows.bottom, view.getBoundingClientRect().bottom];
        }"""
    )
    assert box[0] <= box[1] + 1
    await phone.get_by_test_id("use-size").click()
    await size_of_when(person, "shell-2", lambda size: size[0] < desk[0])
    await type_line(page, "true")
    assert await size_of_when(person, "shell-2", lambda size: size == desk) == desk
    await phone.get_by_role("tab", name="main").click()
    await phone.reload()
    await wait_until(lambda: terminal_text(phone), lambda text: text.strip())
    assert await size_of(person, "shell-2") == desk


async def size_of_when(person, name: str, done) -> tuple[int, int]:
    return await wait_until(lambda: size_of(person, name), done)


async def test_a_tab_is_there_once_however_late_the_list_comes(page, person, server):
    await sign_in(page, server.url, person.email)
    listed = asyncio.Event()

    async def late(route) -> None:
        await listed.wait()
        await route.continue_()

    followed = asyncio.Event()

    def follow(socket) -> None:
        if "/ws" in socket.url:
            socket.on("framereceived", lambda _: followed.set())

    page.on("websocket", follow)
    await page.route(re.compile(r"/terminals$"), late)
    await page.reload()
    async with asyncio.timeout(60):
        await followed.wait()  # without the list only events inform the page of another terminal
    async with await person.client.terminal(person.session_id, "extra"):
        tabs = page.get_by_role("tab")
        await wait_until(tabs.all_inner_texts, lambda names: sorted(names) == ["extra", "main"])
        await type_line(page, "echo on''ce")
        await wait_until(lambda: terminal_text(page), lambda text: "once" in text)
        listed.set()
        await type_line(page, "echo tw''ice")
        await wait_until(lambda: terminal_text(page), lambda text: "twice" in text)
        assert sorted(await tabs.all_inner_texts()) == ["extra", "main"]


async def test_modes_outlive_the_output_that_set_them(page, person, server):
    program = b"""\
import os, sys, tty
tty.setraw(0)
sys.stdout.write("\\x1b[?1049h\\x1b[?1h\\x1b[?2004h")
for line in range(8000):
    sys.stdout.write("\\x1b[H%07d " % line + "z" * 190)
sys.stdout.write("\\x1b[2JREADY")
sys.stdout.flush()
while True:
    open("keys", "ab").write(os.read(0, 99) + b"\\n")
"""
    await person.client.write_file(person.session_id, "modes.py", program)
    await sign_in(page, server.url, person.email)
    await type_line(page, "python3 modes.py")
    await wait_until(lambda: terminal_text(page), lambda text: "READY" in text)
    await page.reload()
    await wait_until(lambda: terminal_text(page), lambda text: "READY" in text)
    assert "zzz" not in await terminal_text(page)  # the alternate screen alone
    await page.get_by_test_id("terminal").first.click()
    await page.keyboard.press("ArrowUp")

    async def keys() -> str:
        return (await person.client.exec(person.session_id, ["cat", "keys"])).stdout

    assert await wait_until(keys, lambda text: text) == "\x1bOA\n"


async def test_pasted_text_is_typed_and_nothing_in_it_runs(page, person, server):
    await sign_in(page, server.url, person.email)
    await page.get_by_test_id("terminal").first.click()
    await page.evaluate(PASTE, "echo harm''less\x1b[201~\rtouch RAN\r\x1b[200~")
    await wait_until(lambda: terminal_text(page), lambda text: "touch RAN" in text)
    found = await person.client.exec(person.session_id, ["ls"])
    assert "RAN" not in found.stdout.split()


async def test_a_large_paste_arrives_whole(page, person, server):
    await sign_in(page, server.url, person.email)
    await type_line(page, "stty -echo; echo re''ady; cat > pasted; stty echo")
    await see(page, "ready")  # and it is not the shell any more that is pasted into
    lines = "".join(f"{number:07d} {'x' * 56}\n" for number in range(40_000))
    await page.evaluate(PASTE, lines)
    await page.keyboard.press("Control+d")

    async def size() -> int:
        found = await person.client.exec(person.session_id, ["stat", "-c%s", "pasted"])
        return int(found.stdout or 0)

    await wait_until(size, lambda count: count == len(lines), timeout_seconds=90)
    assert await person.client.read_file(person.session_id, "pasted") == lines.encode()


async def test_programs_copy_where_the_browser_lets_them_and_never_read(page, person, server):
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await person.client.write_file(person.session_id, "ask.py", ASK)
    await sign_in(page, server.url, person.email)
    await type_line(page, r"printf '\033]52;c;%s\a' $(printf hello | base64)")
    copied = lambda: page.evaluate("navigator.clipboard.readText()")  # noqa: E731
    await wait_until(copied, lambda text: text == "hello")
    assert await asked(person, page, r"b'\x1b]52;c;?\x07'") == b"\x1b[0n"
    await page.evaluate("navigator.clipboard.writeText('mine')")
    await page.reload()
    await wait_until(lambda: terminal_text(page), lambda text: "ask.py" in text or "$" in text)
    assert await copied() == "mine"  # what is shown again copies nothing


async def test_a_wide_character_takes_as_many_cells_as_the_c_library_reports(page, person, server):
    await person.client.write_file(person.session_id, "ask.py", ASK)
    await sign_in(page, server.url, person.email)
    program = (
        "import ctypes, locale, json\nlocale.setlocale(0, 'C.UTF-8')\n"
        "print(json.dumps([ctypes.CDLL(None).wcwidth(ord(c)) for c in '漢🫠🥷e']))"
    )
    said = await person.client.exec(person.session_id, ["python3", "-c", program])
    shown = []
    for character in "漢🫠🥷e":
        answer = await asked(person, page, rf"'\r{character}\x1b[6n'.encode()")
        shown.append(int(re.search(rb";(\d+)R", answer)[1]) - 1)
    assert shown == json.loads(said.stdout)
