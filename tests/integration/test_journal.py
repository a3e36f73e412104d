"""Output of a terminal is kept, and shown byte for byte, whatever dies under it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from coditect import NotFound
from tests.support.breakable import breakable, times_attached
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

TICKER = "i=0; while true; do i=$((i+1)); echo t$i; sleep 0.01; done"


async def kill_container(person, server) -> None:
    container_id = (await person.client.session(person.session_id)).container_id
    pid = server.containers()[container_id]
    os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: asyncio.sleep(0, not Path(f"/proc/{pid}").exists()))


async def transcript(person, name: str = "main", offset: int = 0) -> bytes:
    parts = [p async for p in person.client.output(person.session_id, name, offset=offset)]
    return b"".join(parts)


async def test_the_old_output_is_there_after_the_containers_death(person, server):
    async with await person.client.terminal(person.session_id, "main") as terminal:
        await terminal.send("mkdir -p deep && cd deep && echo be''fore\r")
        seen = await terminal.read_until(b"before\r\n")
        await terminal.send(TICKER + "\r")
        seen += await terminal.read_until(b"t50\r\n")
        await kill_container(person, server)
        await terminal.send("pwd; echo af''ter\r")
        seen += await terminal.read_until(b"after\r\n")
        assert times_attached(terminal) == 1
        assert [e["type"] for e in terminal.events].count("restarted") == 1
    assert b"/workspace/deep\r\n" in seen
    # Another browser, that has seen nothing, is shown the very same bytes.
    async with await person.client.terminal(person.session_id, "main", offset=0) as other:
        replayed = await other.read_until(b"after\r\n")
        assert replayed == seen
        assert "restarted" in {event["type"] for event in other.events}
    assert (await transcript(person)).startswith(seen)


async def test_no_byte_is_lost_or_repeated_over_many_deaths(person, server):
    """Numbered lines over dropped connections and killed containers: shown once, in order."""
    seen = b""
    async with (
        breakable(person.client) as (client, line),
        await client.terminal(person.session_id, "main") as terminal,
    ):
        for round_number in range(4):
            await terminal.send(f"for i in $(seq 400); do echo r{round_number}n$i; done\r")
            seen += await terminal.read_until(b"r%dn100\r\n" % round_number)
            if round_number % 2:
                await kill_container(person, server)
            line.cut()
            await terminal.send(f"echo en''d{round_number}\r")
            seen += await terminal.read_until(b"end%d\r\n" % round_number, 60)
        assert "gap" not in {event["type"] for event in terminal.events}
    assert (await transcript(person)).startswith(seen)
    for round_number in range(0, 4, 2):  # whose container lived
        numbers = [int(n) for n in re.findall(rb"\br%dn(\d+)\r\n" % round_number, seen)]
        assert numbers == list(range(1, 401))
    for round_number in range(1, 4, 2):  # whose container died: no hole before its end
        numbers = [int(n) for n in re.findall(rb"\br%dn(\d+)\r\n" % round_number, seen)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= 100


async def test_a_hibernated_session_shows_its_transcript_before_its_container(person):
    async with await person.client.terminal(person.session_id, "main") as terminal:
        await terminal.send("echo kee''p me\r")
        seen = await terminal.read_until(b"keep me\r\n")
    await person.client.hibernate(person.session_id)
    await wait_until(
        lambda: person.client.session(person.session_id), lambda s: s.status == "hibernated"
    )
    [listed] = await person.client.terminals(person.session_id)
    assert (listed.name, listed.exited) == ("main", False)
    assert (await transcript(person)).startswith(seen)
    async with await person.client.terminal(person.session_id, "main") as terminal:
        await terminal.send("echo aga''in\r")  # typed while the container starts
        shown = await terminal.read_until(b"again\r\n", 60)
    assert shown.startswith(seen)
    assert (await person.client.session(person.session_id)).status == "ready"


async def test_a_terminal_that_prints_without_end_costs_bounded_room(person):
    async with await person.client.terminal(person.session_id, "main") as terminal:
        await terminal.send("yes | head -c 3000000; echo do''ne\r")
        assert (await person.client.exec(person.session_id, ["echo", "1"])).stdout == "1\n"
        await terminal.read_until(b"done\r\n", 60)
    [listed] = await person.client.terminals(person.session_id)
    assert listed.end_offset > 1 << 20
    kept = await transcript(person)
    assert len(kept) <= 1 << 20
    assert b"done\r\n" in kept


async def test_a_deleted_terminal_is_forgotten_and_its_numbers_go_on(person):
    async with await person.client.terminal(person.session_id, "side") as terminal:
        await terminal.send("echo one\r")
        await terminal.read_until(b"one\r\n")
    await person.client.end_terminal(person.session_id, "side")
    with pytest.raises(NotFound):
        await transcript(person, "side")
    async with await person.client.terminal(person.session_id, "side") as terminal:
        assert terminal.events[0]["output_offset"] > 0
        await terminal.send("echo tw''o\r")
        assert b"one" not in await terminal.read_until(b"two\r\n")
