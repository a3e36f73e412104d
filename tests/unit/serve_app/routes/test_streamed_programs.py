"""Programs whose output is read as it comes: as server-sent events, and over a socket."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from coditect import Client, Forbidden, NotFound, ProgramEnd, ProgramOutput
from serve_app.http import server_events
from tests.support.waiting import wait_until

EVENTS = {"accept": "text/event-stream"}


def parsed(text: str) -> list[tuple[str, dict]]:
    """Return the events of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


async def test_events_bring_both_outputs_and_the_end(rig, ada, session_id):
    url, script = (
        f"/api/v1/sessions/{session_id}/exec",
        "cat; echo err >&2; printf '\\303\\251'; exit 3",
    )
    body = {"argv": ["sh", "-c", script], "stdin": "in \udcff\n"}
    content = json.dumps(body)
    answer = await rig.http(ada).post(
        url, content=content, headers=EVENTS | {"content-type": "application/json"}
    )
    assert answer.headers["content-type"].startswith(server_events.MEDIA_TYPE)
    names, data = zip(*parsed(answer.text), strict=True)
    assert names[0] == "started"
    assert names[-1] == "exit"
    texts = {
        stream: "".join(d["text"] for n, d in zip(names, data, strict=True) if n == stream)
        for stream in ("stdout", "stderr")
    }
    assert texts == {"stdout": "in \udcff\né", "stderr": "err\n"}
    assert (data[-1]["exit_code"], data[-1]["timed_out"]) == (3, False)


async def test_events_come_while_the_program_runs_and_end_it_with_their_reader(
    rig, ada, session_id
):
    http, url = rig.http(ada), f"/api/v1/sessions/{session_id}"
    body = {"argv": ["sh", "-c", "echo on; exec sleep 86403"], "timeout_seconds": 3600}
    async with http.stream("POST", f"{url}/exec", json=body, headers=EVENTS) as answer:
        async for line in answer.aiter_lines():
            if line == 'data: {"text":"on\\n"}':
                break

    async def ended() -> bool:
        listed = (await http.get(f"{url}/processes")).json()["processes"]
        return not any(each["command"] == "sleep 86403" for each in listed)

    await wait_until(ended, pause_seconds=0.05)


async def test_events_name_the_limit_and_what_cannot_be_run(rig, ada, session_id):
    http, url = rig.http(ada), f"/api/v1/sessions/{session_id}/exec"
    body = {"argv": ["sleep", "60"], "timeout_seconds": 0.3}
    name, data = parsed((await http.post(url, json=body, headers=EVENTS)).text)[-1]
    assert (name, data["exit_code"], data["timed_out"]) == ("exit", -9, True)
    refused = await http.post(url, json={"argv": ["no-such"]}, headers=EVENTS)
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


async def test_a_silent_stream_is_not_silent():
    heard, found = asyncio.Event(), []

    async def events():
        await heard.wait()
        yield b"late"

    async for each in server_events.never_silent(events(), silence_seconds=0.01):
        found.append(each)
        if len(found) == 2:
            heard.set()
    assert found[-1] == b"late"
    assert len(found) > 2
    assert set(found[:-1]) == {b": still here\n\n"}


class TestClient:
    async def test_a_program_is_written_to_and_read_to_the_byte(self, ada, session_id):
        data = os.urandom(1 << 20)
        async with await ada.program(session_id, ["cat"], env={"A": "b"}) as program:

            async def give():
                await program.write(data)
                await program.end_input()

            giving = asyncio.create_task(give())
            got = b"".join([output.data async for output in program])
            await giving
        assert (got == data, program.end) == (True, ProgramEnd(0))

    async def test_outputs_are_apart_and_a_signal_has_its_name(self, ada, session_id):
        script = "echo out; echo err >&2; while :; do sleep 0.05; done"
        async with await ada.program(session_id, ["sh", "-c", script]) as program:
            found = {await program.read(), await program.read()}
            assert found == {ProgramOutput("stdout", b"out\n"), ProgramOutput("stderr", b"err\n")}
            await program.signal("TERM")
            assert await program.wait() == ProgramEnd(-15, "TERM")

    async def test_what_cannot_be_run_is_typed(self, ada, session_id):
        await ada.write_file(session_id, "plain", b"x")
        with pytest.raises(NotFound, match="no program"):
            await ada.program(session_id, ["no-such"])
        with pytest.raises(Forbidden, match="not executable"):
            await ada.program(session_id, ["./plain"])
        with pytest.raises(NotFound):
            await ada.program("s-none", ["true"])

    async def test_the_other_client_has_it_too(self, rig, ada, session_id):
        def use():
            with (
                Client(rig.url, access_token=ada.access_token) as client,
                client.program(
                    session_id, ["sh", "-c", "stty size; read x; exit $x"], tty=(70, 20)
                ) as program,
            ):
                text = b""
                while b"\n" not in text:
                    text += program.read().data
                program.write("5\n")
                return text, program.wait()

        assert await asyncio.to_thread(use) == (b"20 70\r\n", ProgramEnd(5))


class TestSocket:
    def url(self, rig, session_id, query=""):
        return f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/exec/ws{query}"

    async def test_a_ticket_opens_it_and_nothing_else_does(self, rig, ada, session_id):
        with pytest.raises(InvalidStatus):
            await connect(self.url(rig, session_id))
        url = self.url(rig, session_id, f"?ticket={await ada.ticket()}")
        async with connect(url) as socket:
            await socket.send('{"type": "start", "argv": ["echo", "on"]}')
            frames = [frame async for frame in socket]
        assert [json.loads(frames[0])["type"], *frames[1:]] == [
            "started",
            b"\x01on\n",
            '{"type":"ended","code":0,"signal":null}',
        ]

    @pytest.mark.parametrize("frame", [b"input", "no", '{"type": "start", "argv": 7}'])
    async def test_what_is_no_start_is_refused(self, rig, ada, session_id, frame):
        headers = {"authorization": f"Bearer {ada.access_token}"}
        async with connect(self.url(rig, session_id), additional_headers=headers) as socket:
            await socket.send(frame)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await socket.recv()
        assert closed.value.rcvd.code == 4400

    async def test_a_container_that_dies_is_no_end_of_the_program(self, rig, ada, session_id):
        headers = {"authorization": f"Bearer {ada.access_token}"}
        async with connect(self.url(rig, session_id), additional_headers=headers) as socket:
            await socket.send('{"type": "start", "argv": ["sleep", "60"]}')
            await socket.recv()
            await rig.kill_container(session_id)
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd.code == 1013
