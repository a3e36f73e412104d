"""A browser that reads nothing: its socket is ended, and nothing that it missed is passed over."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from actors.core.errors.access import PermissionDenied, Unauthenticated
from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.requests import InvalidArgument, NotFound
from serve_app.http import browser_socket as sockets
from serve_app.http.browser_socket import BrowserSocket, Disconnected, close_code
from tests.support.waiting import wait_until


async def test_who_reads_nothing_is_cut_and_hears_what_is_missing_when_they_come_back(
    rig, ada, session_id, monkeypatch
):
    monkeypatch.setattr(sockets, "SEND_SECONDS", 0.5)
    metrics = rig.app.state.ingress.metrics
    bearer = {"authorization": f"Bearer {ada.access_token}"}
    url = (
        f"ws{rig.url.removeprefix('http')}/api/v1/sessions/{session_id}/terminals/slow/ws?client=me"
    )
    uri = parse_uri(url)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
    link.connect((uri.host, uri.port))
    reader, writer = await asyncio.open_connection(sock=link, limit=1 << 12)
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

    await wait_until(open_sockets, lambda count: count == 1)
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


class Wire:
    """The server's side of a socket: what it delivers, and what was sent through it."""

    def __init__(self, *messages, **headers: str) -> None:
        self.messages = [{"type": "websocket.connect"}, *messages]
        self.sent: list[dict] = []
        self.error: Exception | None = None
        scope = {
            "type": "websocket",
            "path": "/ws",
            "query_string": b"a=1&b=%ff",
            "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
            "extensions": {"websocket.http.response": {}},
        }
        self.socket = BrowserSocket(scope, self.receive, self.send)

    async def receive(self):
        return self.messages.pop(0)

    async def send(self, message) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(message)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgument("cols", "a number"), 4400),
        (Unauthenticated(), 4401),
        (PermissionDenied("no"), 4403),
        (NotFound("session", "s"), 4404),
        (Unavailable("store", "away"), 1013),
    ],
)
def test_a_close_code_stands_for_what_the_caller_did_or_asks_for_another_try(error, code):
    assert close_code(error) == code


async def test_frames_arrive_as_bytes_and_text_until_the_browser_goes():
    binary = {"type": "websocket.receive", "bytes": b"b"}
    text = {"type": "websocket.receive", "text": "t"}
    wire = Wire(binary, text, {"type": "websocket.disconnect"})
    await wire.socket.accept()
    assert [await wire.socket.receive() for _ in range(3)] == [b"b", "t", None]
    await wire.socket.close(1000, "nobody is there")
    assert [message["type"] for message in wire.sent] == ["websocket.accept"]
    assert wire.socket.query == {"a": "1", "b": "\N{REPLACEMENT CHARACTER}"}


async def test_a_program_is_refused_with_a_problem_document_and_a_page_with_a_close_code():
    error: CoditectError = NotFound("session", "s")
    program, page = Wire(), Wire(origin="https://example.com")
    await program.socket.refuse(error)
    assert program.sent[0]["status"] == 404
    assert b'"not_found"' in program.sent[1]["body"]
    await page.socket.refuse(error)
    assert [message["type"] for message in page.sent] == ["websocket.accept", "websocket.close"]
    assert page.sent[1]["code"] == 4404


async def test_a_connection_that_breaks_while_it_is_sent_to_is_a_disconnect():
    wire = Wire()
    await wire.socket.accept()
    wire.error = OSError("reset")
    with pytest.raises(Disconnected):
        await wire.socket.send(b"x")
    await wire.socket.close(1000, "a second end is none")


async def test_a_reason_is_cut_to_what_a_close_frame_holds():
    wire = Wire()
    await wire.socket.accept()
    await wire.socket.close(4400, "\N{EURO SIGN}" * 100)
    await wire.socket.close(4400, "again")
    [closing] = wire.sent[1:]
    assert closing["reason"] == "\N{EURO SIGN}" * 40
