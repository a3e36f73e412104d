"""A browser that reads nothing: its socket is ended, and nothing that it missed is passed over."""

from __future__ import annotations

import asyncio
import json

from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from serve_app.http import browser_socket as sockets
from tests.support.waiting import wait_until


async def test_who_reads_nothing_is_cut_and_told_what_is_missing_when_they_come_back(
    rig, ada, session_id, monkeypatch
):
    monkeypatch.setattr(sockets, "SEND_SECONDS", 0.5)
    metrics = rig.app.state.ingress.metrics
    bearer = {"authorization": f"Bearer {ada.access_token}"}
    url = (
        f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/terminals/slow/ws?client=me"
    )
    uri = parse_uri(url)
    reader, writer = await asyncio.open_connection(uri.host, uri.port, limit=1 << 12)
    protocol = ClientProtocol(uri, max_size=None)
    request = protocol.connect()
    request.headers["authorization"] = bearer["authorization"]
    protocol.send_request(request)
    writer.writelines(protocol.data_to_send())
    protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
    protocol.send_binary(b"yes 0123456789\r")
    writer.writelines(protocol.data_to_send())

    async def open_sockets() -> int:
        return metrics.sockets

    await wait_until(open_sockets, lambda count: count == 1, 20)
    await wait_until(open_sockets, lambda count: count == 0, 60)  # here it reads nothing
    while data := await reader.read(1 << 16):
        protocol.receive_data(data)
    writer.close()
    frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
    texts = [json.loads(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]
    attached = next(text for text in texts if text["type"] == "attached")
    seen = sum(len(frame.data) for frame in frames if frame.opcode is Opcode.BINARY)
    assert seen > 1 << 16, "as much as the sockets on the way hold"

    wanted = attached["output_offset"] + seen
    async with connect(
        f"{url}&offset={wanted}", additional_headers=bearer, close_timeout=0.2
    ) as back:
        first = json.loads(await back.recv())
        assert first["type"] == "attached"
        assert first["output_offset"] == wanted or first["truncated"]
        assert first["output_offset"] >= wanted
        await back.send(b"\x03")
