"""A session's socket bounds what one browser can have it hold."""

from __future__ import annotations

import asyncio
import json

from serve_app.terminals.session_socket import MAX_CHANNELS, SessionSocket
from tests.support.waiting import wait_until


class Browser:
    """A socket whose browser says some messages, and then nothing."""

    path = "/ws"

    def __init__(self, *messages: str) -> None:
        self._messages = list(messages)
        self.sent: list[str] = []
        self.closed: tuple[int, str] | None = None

    async def receive(self):
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)

    async def send(self, frame):
        self.sent.append(frame)

    async def close(self, code, reason):
        self.closed = code, reason


async def test_terminals_of_a_socket_are_bounded():
    began: list[str] = []

    async def relay(channel, name, request) -> None:
        began.append(name)
        await asyncio.Event().wait()

    names = [f"t{number}" for number in range(MAX_CHANNELS + 1)]
    browser = Browser(*(f'{name}\n{{"type": "attach"}}' for name in names))
    await SessionSocket(browser, relay).run()
    assert len(began) <= MAX_CHANNELS
    assert browser.closed is not None
    assert browser.closed[0] == 4400


async def test_a_relay_that_fails_ends_its_terminal_only():
    async def relay(channel, name, request) -> None:
        if name == "bad":
            raise RuntimeError("a fault")
        await channel.send(request.client)
        await asyncio.Event().wait()

    browser = Browser('bad\n{"type": "attach"}', 'good\n{"type": "attach", "client": "c"}')
    running = asyncio.create_task(SessionSocket(browser, relay).run())

    async def both() -> bool:
        return len(browser.sent) == 2

    await wait_until(both, timeout_seconds=60)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    sent = dict(frame.split("\n", 1) for frame in browser.sent)
    assert sent["good"] == "c"
    assert json.loads(sent["bad"])["code"] == 1011
