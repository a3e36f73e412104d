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


async def test_a_terminals_socket_brings_the_sessions_events_to_who_asks_for_them(
    rig, ada, session_id
):
    url = f"ws{rig.url[4:]}/api/v1/sessions/{session_id}/terminals/main/ws"
    ticket = (await rig.http(ada).post("/api/v1/auth/ticket")).json()["ticket"]
    events: list[dict] = []
    async with connect(f"{url}?events=1&ticket={ticket}") as socket, asyncio.timeout(60):

        async def until(kind: str) -> None:
            while kind not in [event["type"] for event in events]:
                frame = await socket.recv()
                if isinstance(frame, str) and (said := json.loads(frame))["type"] == "event":
                    events.append(said["event"])

        await until("status")
        assert events[0]["type"] == "status"  # the state comes first
        assert (await rig.http(ada).delete(f"/api/v1/sessions/{session_id}")).is_success
        with pytest.raises(ConnectionClosed) as closed:
            await until("never")
    assert closed.value.rcvd.code == 4410
