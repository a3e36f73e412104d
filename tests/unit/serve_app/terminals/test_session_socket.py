"""A session's socket bounds what one browser can have it hold, and loses nothing that was typed."""

from __future__ import annotations

import asyncio
import json

from serve_app.http.browser_socket import Disconnected
from serve_app.terminals.session_socket import MAX_CHANNELS, SessionSocket
from tests.support.waiting import wait_until


class Browser:
    """A socket whose browser says some messages, and then nothing, or goes when it is told to."""

    path = "/ws"

    def __init__(self, *messages: str | bytes) -> None:
        self._messages = list(messages)
        self.sent: list[str] = []
        self.reads = True
        self.gone = asyncio.Event()
        self.closed: tuple[int, str] | None = None

    async def receive(self):
        if not self._messages:
            await self.gone.wait()
            return None
        return self._messages.pop(0)

    async def send(self, frame):
        if not self.reads:
            raise Disconnected("the browser reads nothing")
        self.sent.append(frame)

    async def close(self, code, reason):
        self.closed = code, reason

    def said(self) -> dict[str, str]:
        return dict(frame.split("\n", 1) for frame in self.sent)


def attach(name: str, **parameters: str) -> str:
    return f"{name}\n" + json.dumps({"type": "attach", **parameters})


async def ended(running: asyncio.Task[None]) -> None:
    async with asyncio.timeout(60):
        await running


async def says(browser: Browser, count: int) -> None:
    async def enough() -> bool:
        return len(browser.sent) >= count

    await wait_until(enough, timeout_seconds=60)


async def test_terminals_of_a_socket_are_bounded():
    began: list[str] = []

    async def relay(channel, name, request) -> None:
        began.append(name)
        await channel.receive()

    names = [f"t{number}" for number in range(MAX_CHANNELS + 1)]
    browser = Browser(*map(attach, names))
    running = asyncio.create_task(SessionSocket(browser, relay).run())
    await says(browser, 1)
    assert list(browser.said()) == names[-1:]
    assert json.loads(browser.said()[names[-1]])["code"] == 4429
    assert browser.closed is None
    browser.gone.set()
    await ended(running)
    assert sorted(began) == sorted(names[:-1])


async def test_a_relay_that_fails_ends_its_terminal_only():
    async def relay(channel, name, request) -> None:
        if name == "bad":
            raise RuntimeError("a fault")
        await channel.send(request.client)
        await channel.receive()

    browser = Browser(attach("bad"), attach("good", client="c"))
    running = asyncio.create_task(SessionSocket(browser, relay).run())
    await says(browser, 2)
    assert not running.done()
    assert browser.said()["good"] == "c"
    assert json.loads(browser.said()["bad"])["code"] == 1011
    browser.gone.set()
    await ended(running)


async def test_what_was_typed_before_a_terminal_is_left_is_taken():
    taken: list[bytes] = []

    async def relay(channel, name, request) -> None:
        await asyncio.sleep(0.01)  # busy with something else
        while (frame := await channel.receive()) is not None:
            taken.append(frame)

    browser = Browser(attach("main"), b"main\none", b"main\ntwo", 'main\n{"type": "detach"}')
    running = asyncio.create_task(SessionSocket(browser, relay).run())
    await says(browser, 1)
    assert taken == [b"one", b"two"]
    assert json.loads(browser.said()["main"])["code"] == 1000
    browser.gone.set()
    await ended(running)


async def test_a_browser_that_reads_nothing_loses_the_socket_and_not_a_terminal_of_it():
    """Of a terminal that ended alone it would never hear."""
    stalled = asyncio.Event()

    async def relay(channel, name, request) -> None:
        if name == "main":
            await channel.receive()
            return
        await stalled.wait()
        await channel.send("output")

    browser = Browser(attach("main"), attach("flood"))
    running = asyncio.create_task(SessionSocket(browser, relay).run())
    browser.reads = False
    stalled.set()
    await ended(running)
