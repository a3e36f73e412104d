"""One woken task at a time, and TLS in records of a byte."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time

import pytest

from cluster.egress import authority, wire
from cluster.egress.authority import Authority
from cluster.egress.tls import TlsWire
from cluster.egress.turns import Turns
from cluster.egress.wire import Wire


async def test_one_task_is_woken_at_a_time_and_the_next_is_of_another_session():
    turns, served = Turns(lambda: 0.0), 0  # no time passes: no slice is over

    async def hog() -> None:
        nonlocal served
        while True:
            await turns.turn("many")
            served += 1

    hogs = [asyncio.create_task(hog()) for _ in range(100)]
    await asyncio.sleep(0)  # all of them wait
    for _ in range(5):
        await turns.turn("one")
    assert served <= 10
    for each in hogs:
        each.cancel()
    await asyncio.gather(*hogs, return_exceptions=True)


class CountedTurns(Turns):
    count = 0

    async def turn(self, session_id: str) -> None:
        self.count += 1
        await super().turn(session_id)


@pytest.fixture
async def secured(tmp_path):
    """Both ends of TLS that have shaken hands, and the client's socket."""
    served = Authority(tmp_path, time.time).context("u", "h.test")
    trusting = ssl.create_default_context(cadata=authority.certificate(tmp_path, time.time()))
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    turns = CountedTurns(asyncio.get_running_loop().time)
    server = TlsWire(Wire(pair[0], turns, "s"), served, server_side=True)
    client = TlsWire(Wire(pair[1], turns, "s"), trusting, host="h.test")
    await asyncio.gather(server.handshake(), client.handshake())
    yield server, client, turns
    for each in pair:
        each.close()


async def test_records_of_a_byte_are_read_together_and_give_others_their_turns(
    secured, monkeypatch
):
    server, client, turns = secured
    monkeypatch.setattr(wire, "_SLICE_SECONDS", -1.0)  # every pause is a turn
    for _ in range(1000):
        client._tls.write(b"z")
    await client._flush(None)
    turns.count = 0
    assert await server.read() == b"z" * 1000
    assert turns.count >= 1000


async def test_what_came_before_a_broken_record_is_read_first(secured):
    server, client, _ = secured
    await client.write(b"whole")
    await client._wire.write(b"garbage that is no record")
    assert await server.read() == b"whole"
    with pytest.raises(ConnectionAbortedError):
        await server.read()
    with pytest.raises(ConnectionAbortedError):
        await server.read()


async def test_watching_loses_nothing_when_it_is_cancelled(secured):
    server, client, _ = secured
    watching = asyncio.create_task(server.watch())
    await asyncio.sleep(0)
    sending = asyncio.create_task(client.write(b"next"))
    watching.cancel()
    await asyncio.gather(watching, sending, return_exceptions=True)
    assert await server.watch() == b"next"
    await client.farewell()
    assert await server.watch() == b""
