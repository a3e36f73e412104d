"""The terminal's socket, with the public client, over real CODIs that are killed."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from coditect import NotFound, TerminalClosed
from tests.support.breakable import breakable, times_attached
from tests.support.waiting import wait_until


async def read_to_the_end(terminal) -> None:
    while True:
        await terminal.read(60)


async def read_frames(socket, frames) -> None:
    while True:
        frames.append(await asyncio.wait_for(socket.recv(), 60))


async def raw_frames(rig, ada, session_id, *, until, typed=b"", name="main"):
    """Open a terminal as a browser does; return all frames up to that output, the JSON ones read."""
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/{name}/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    frames, shown = [], b""
    async with connect(url, additional_headers=headers) as socket, asyncio.timeout(60):
        await socket.send(typed)
        while until not in shown:
            frame = await socket.recv()
            frames.append(frame if isinstance(frame, bytes) else json.loads(frame))
            shown += frame if isinstance(frame, bytes) else b""
    return frames


async def test_a_typed_command_answers(ada, session_id):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo $((6 * 7))$((1 + 1))\r")
        await terminal.read_until(b"422\r\n", 60)


async def test_a_terminal_outlives_its_container_without_a_reconnect(rig, ada, session_id):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo bef''ore\r")
        await terminal.read_until(b"before\r\n", 60)
        lost = await rig.kill_container(session_id)
        await terminal.send("echo aft''er\r")
        await terminal.read_until(b"after\r\n", 60)
        assert times_attached(terminal) == 1
        kinds = [(e["type"], e.get("status")) for e in terminal.events if e["type"] != "input_ack"]
        assert kinds[0] == ("attached", None)
        recovery = [kind for kind in kinds if kind[0] in {"status", "restarted"}]
        assert recovery[0] == ("status", "recovering")
        assert set(recovery[1:]) == {("restarted", None), ("status", "ready")}
    assert (await ada.session(session_id)).container_id != lost


async def test_a_terminal_outlives_its_actor_unnoticed(rig, ada, session_id):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("x=ke''pt\r")
        await rig.kill_actor(session_id)
        await ada.session(session_id)
        await terminal.send("echo $x-still\r")
        await terminal.read_until(b"kept-still\r\n", 60)
        assert times_attached(terminal) == 1


async def test_a_client_that_comes_back_sees_every_byte_once(ada, session_id):
    async with (
        breakable(ada) as (client, line),
        await client.terminal(session_id, "main") as terminal,
    ):
        await terminal.send(
            "for i in $(seq 1 300); do echo line$i; sleep 0.001; done; echo do''ne\r"
        )
        seen, cuts = bytearray(), 1
        while b"done\r\n" not in seen:
            seen += await terminal.read(60)
            if len(seen) > 500 * cuts and cuts <= 3:
                line.cut()
                cuts += 1
        numbers = [int(number) for number in re.findall(rb"line(\d+)\r\n", bytes(seen))]
        assert numbers == list(range(1, 301))
        assert times_attached(terminal) > 1


async def test_a_hibernated_session_resumes_when_somebody_types(ada, session_id):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo awa''ke\r")
        await terminal.read_until(b"awake\r\n", 60)
        await ada.hibernate(session_id)

        async def status() -> str:
            return terminal.status

        await wait_until(status, lambda s: s == "hibernated")
        assert (await ada.session(session_id)).status == "hibernated"
        await terminal.send("echo bac''k\r")
        await terminal.read_until(b"back\r\n", 60)
        assert times_attached(terminal) == 1


async def test_a_new_socket_shows_what_a_lost_container_had_printed_and_where_another_shell_began(
    rig, ada, session_id
):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo bef''ore\r")
        await terminal.read_until(b"before\r\n", 60)
    await rig.kill_container(session_id)
    frames = await raw_frames(rig, ada, session_id, until=b"after\r\n", typed=b"echo aft''er\r")
    shown = frames.index({"type": "restarted"})
    former = b"".join(frame for frame in frames[:shown] if isinstance(frame, bytes))
    present = b"".join(frame for frame in frames[shown:] if isinstance(frame, bytes))
    assert b"before\r\n" in former
    assert b"before" not in present
    assert frames[0]["type"] == "attached"
    assert (frames[0]["output_offset"], frames[0]["truncated"]) == (0, False)


async def test_a_hibernated_session_shows_its_transcript_before_there_is_a_container(
    rig, ada, session_id
):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo bef''ore\r")
        await terminal.read_until(b"before\r\n", 60)
    await ada.hibernate(session_id)
    rig.runtime.refuse = True  # no container comes
    frames = await raw_frames(rig, ada, session_id, until=b"before\r\n")
    assert frames[0]["type"] == "attached"
    assert frames[0]["output_offset"] == 0


async def test_nothing_is_lost_while_the_journal_is_away(rig, ada, session_id):
    async with await ada.terminal(session_id, "main") as terminal:
        await terminal.send("echo fir''st\r")
        await terminal.read_until(b"first\r\n", 60)
        await rig.journalist.pause()
        await terminal.send("echo sec''ond\r")
        rig.journalist.start()
        await terminal.read_until(b"second\r\n", 60)
        assert times_attached(terminal) == 1


async def test_a_deleted_terminal_begins_anew_and_its_numbers_go_on(rig, ada, session_id):
    async with await ada.terminal(session_id, "t") as terminal:
        await terminal.send("echo gon''e\r")
        await terminal.read_until(b"gone\r\n", 60)
    ended = await rig.http(ada).delete(f"/api/v1/sessions/{session_id}/terminals/t")
    assert ended.status_code == 204
    record = await rig.deps.journal.terminal(session_id, "t")
    assert record.deleted
    frames = await raw_frames(
        rig, ada, session_id, name="t", until=b"anew\r\n", typed=b"echo an''ew\r"
    )
    assert frames[0]["output_offset"] == record.end
    assert b"gone" not in b"".join(frame for frame in frames if isinstance(frame, bytes))


async def test_exit_closes_with_its_code(ada, session_id):
    async with await ada.terminal(session_id, "short") as terminal:
        await terminal.send("exit 7\r")
        with pytest.raises(TerminalClosed) as closed:
            await read_to_the_end(terminal)
        assert closed.value.exit_code == 7


async def test_an_ended_session_closes_its_sockets(ada, session_id):
    async with await ada.terminal(session_id, "main") as terminal:
        await ada.end_session(session_id)
        with pytest.raises(TerminalClosed):
            await read_to_the_end(terminal)
    with pytest.raises(NotFound):
        await ada.session(session_id)


async def test_two_clients_see_the_same_and_a_slow_one_holds_up_nobody(ada, session_id):
    slow = await ada.terminal(session_id, "shared")
    quick = await ada.terminal(session_id, "shared")
    try:
        await quick.send("head -c 6000000 /dev/zero | tr '\\0' x; echo; echo fin''ished\r")
        await quick.read_until(b"finished\r\n", 60)
        async with asyncio.timeout(60):
            await ada.session(session_id)
    finally:
        await slow.close()
        await quick.close()


async def test_a_browser_that_reads_nothing_is_cut_and_holds_up_nobody(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/flood/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    quick = await ada.terminal(session_id, "flood")
    # Not compressed: 30 MB of one letter would fit into the buffers on the way.
    deaf = connect(url, additional_headers=headers, max_queue=1, compression=None)
    async with quick, deaf as socket:
        await socket.recv()
        await quick.send("head -c 30000000 /dev/zero | tr '\\0' x; echo; echo fin''ished\r")
        await quick.read_until(b"finished\r\n", 60)
        frames: list[bytes] = []
        with pytest.raises(ConnectionClosed) as closed:
            await read_frames(socket, frames)
    assert closed.value.rcvd.code == 4408
    assert sum(map(len, frames)) < 30_000_000


async def test_a_rule_for_the_size_holds_for_everybody_and_outlives_the_container(
    rig, ada, session_id
):
    async with (
        await ada.terminal(session_id, "main", cols=140, rows=30, label="desk") as desk,
        await ada.terminal(session_id, "main", cols=60, rows=50, label="phone") as phone,
    ):
        with pytest.raises(ValueError, match="latest, smallest, largest"):
            await desk.set_sizing("widest")
        assert desk.sizing == "latest"
        await phone.set_sizing("smallest")
        await desk.set_sizing("smallest")  # is in force already: nothing to wait for
        await until_size(ada, session_id, (60, 30))
        shown = [(each.label, each.cols, each.rows, each.sets) for each in phone.windows]
        assert shown == [("desk", 140, 30, True), ("phone", 60, 50, True)]
        assert [each.own for each in phone.windows] == [False, True]
        await rig.kill_container(session_id)
        await desk.send("echo aft''er\r")
        await desk.read_until(b"after\r\n", 60)
        await until_size(ada, session_id, (60, 30))
    await ada.hibernate(session_id)
    [resting] = await ada.terminals(session_id)
    assert resting.sizing == "smallest"
    async with await ada.terminal(session_id, "main", cols=140, rows=30) as desk:
        await desk.send("echo bac''k\r")
        await desk.read_until(b"back\r\n", 60)
        assert desk.sizing == "smallest"
        await until_size(ada, session_id, (140, 30))  # of those that show it now


async def until_size(client, session_id: str, size: tuple[int, int]) -> None:
    async def sizes() -> list[tuple[int, int]]:
        return [(each.cols, each.rows) for each in await client.terminals(session_id)]

    await wait_until(sizes, lambda found: found == [size])
