"""Sockets refuse bad parameters and frames with a reason."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


async def test_absurd_terminal_parameters_are_refused(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/main/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    for query in ("cols=0&rows=24", "cols=80&rows=100000", "offset=-1", "offset=x", "client=%00"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}?{query}", additional_headers=headers)
        assert refused.value.response.status_code == 400, query
        assert json.loads(refused.value.response.body)["code"] == "invalid_argument"


async def drained(socket) -> None:
    while True:
        await asyncio.wait_for(socket.recv(), 60)


async def test_bad_frames_close_the_socket_with_a_reason(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/main/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    resize = '{"type": "resize", "cols": 0, "rows": 5}'
    for frame in ("{not json", "[]", resize, b"x" * ((1 << 20) + 1), "[" * 60_000):
        async with connect(url, additional_headers=headers) as socket:
            assert json.loads(await socket.recv())["type"] == "attached"
            await socket.send(frame)
            with pytest.raises(ConnectionClosed) as closed:
                await drained(socket)
        assert closed.value.rcvd.code == 4400
        assert closed.value.rcvd.reason


async def test_unknown_frames_are_ignored(rig, ada, session_id):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/main/ws"
    headers = {"authorization": f"Bearer {ada.access_token}"}
    async with connect(url, additional_headers=headers) as socket, asyncio.timeout(60):
        await socket.send('{"type": "from the future"}')
        await socket.send(b"echo fi''ne\r")
        shown = b""
        while b"fine\r\n" not in shown:
            frame = await socket.recv()
            shown += frame if isinstance(frame, bytes) else b""


class SessionSocket:
    """A client of a session's one socket: what came, by terminal; events have no name."""

    def __init__(self, socket) -> None:
        self.socket = socket
        self.said: dict[str, list[dict]] = {}
        self.shown: dict[str, bytes] = {}

    async def attach(self, name: str, **parameters) -> None:
        await self.socket.send(f"{name}\n" + json.dumps({"type": "attach", **parameters}))

    async def type(self, name: str, data: bytes) -> None:
        await self.socket.send(name.encode() + b"\n" + data)

    async def until(self, reached) -> None:
        while not reached():
            async with asyncio.timeout(60):
                message = await self.socket.recv()
            if isinstance(message, bytes):
                name, _, data = message.partition(b"\n")
                self.shown[name.decode()] = self.shown.get(name.decode(), b"") + data
            else:
                name, _, frame = message.partition("\n")
                self.said.setdefault(name, []).append(json.loads(frame))

    async def until_said(self, name: str, kind: str) -> dict:
        def found() -> list[dict]:
            return [frame for frame in self.said.get(name, []) if frame["type"] == kind]

        await self.until(found)
        return found()[-1]

    async def until_shown(self, name: str, text: bytes) -> None:
        await self.until(lambda: text in self.shown.get(name, b""))


@pytest.fixture
async def session_socket(rig, ada, session_id):
    ticket = (await rig.http(ada).post("/api/v1/auth/ticket")).json()["ticket"]
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/ws?ticket={ticket}"
    async with connect(url) as socket:
        yield SessionSocket(socket)


async def test_one_socket_has_a_sessions_events_and_its_terminals(
    rig, ada, session_id, session_socket
):
    here = session_socket
    assert (await here.until_said("", "status"))["data"]["phase"]
    for name in ("main", "second one"):
        await here.attach(name, cols=90, rows=20, client=f"c-{name}", label="")
        assert (await here.until_said(name, "attached"))["cols"] == 90
        assert name in (await here.until_said("", "terminals"))["data"]["names"]
    await here.type("main", b"echo fi''rst\r")
    await here.type("second one", b"echo sec''ond\r")
    await here.until_shown("main", b"first\r\n")
    await here.until_shown("second one", b"second\r\n")
    assert b"first" not in here.shown["second one"]
    assert (await rig.http(ada).delete(f"/api/v1/sessions/{session_id}")).is_success
    with pytest.raises(ConnectionClosed) as closed:
        await here.until_said("", "never")
    assert closed.value.rcvd.code == 4410


async def test_a_terminal_is_left_and_attached_again_on_the_same_socket(session_socket):
    here = session_socket
    await here.attach("main", client="c")
    await here.until_said("main", "attached")
    await here.type("main", b"echo fi''ne\r")
    await here.until_shown("main", b"fine\r\n")
    await here.socket.send('main\n{"type": "detach"}')
    assert (await here.until_said("main", "closed"))["code"] == 1000
    await here.type("main", b"is not heard")
    here.said.clear()
    here.shown.clear()
    await here.attach("main", client="c", offset=0)
    assert (await here.until_said("main", "attached"))["input_offset"] == len(b"echo fi''ne\r")
    await here.until_shown("main", b"fine\r\n")


async def test_a_bad_frame_ends_its_terminal_only(session_socket):
    here = session_socket
    for name in ("main", "second"):
        await here.attach(name)
        await here.until_said(name, "attached")
    await here.socket.send('second\n{"type": "resize", "cols": 0, "rows": 5}')
    end = await here.until_said("second", "closed")
    assert (end["code"], bool(end["reason"])) == (4400, True)
    await here.type("main", b"echo fi''ne\r")
    await here.until_shown("main", b"fine\r\n")


async def test_a_terminal_that_takes_nothing_does_not_keep_the_others_waiting(session_socket):
    here = session_socket
    for name in ("main", "deaf"):
        await here.attach(name)
        await here.until_said(name, "attached")
    await here.type("deaf", b"stty raw -echo; echo re''ady; exec sleep 60\r")
    await here.until_shown("deaf", b"ready\n")
    for _ in range(80):
        await here.type("deaf", bytes(64 << 10))
    await here.type("main", b"echo fi''ne\r")
    await here.until_shown("main", b"fine\r\n")
    assert (await here.until_said("deaf", "closed"))["code"] == 4408


async def test_what_is_asked_wrongly_of_a_terminal_ends_that_one_only(session_socket):
    here = session_socket
    for name, parameters in (("a/b", {}), ("second", {"cols": 0, "rows": 1})):
        await here.attach(name, **parameters)
        assert (await here.until_said(name, "closed"))["code"] == 4400
    await here.attach("main")
    await here.until_said("main", "attached")


@pytest.mark.parametrize(
    "message",
    [
        "no line feed",
        b"no line feed",
        'main\n{"type": "attach"}\n',
    ],
)
async def test_what_breaks_the_protocol_closes_the_socket(session_socket, message):
    here = session_socket
    await here.attach("main")
    await here.until_said("main", "attached")
    await here.socket.send(message)
    with pytest.raises(ConnectionClosed) as closed:
        await here.until_said("", "never")
    assert closed.value.rcvd.code == 4400
    assert closed.value.rcvd.reason
