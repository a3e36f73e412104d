"""CODI's side of a WebSocket, against the client's side of a library."""

from __future__ import annotations

import os

import pytest
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from cluster.codi.agent.errors import AgentError
from cluster.codi.agent.websocket import MAX_MESSAGE, Unreadable, WebSocket, check_upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = {
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}


class Wire:
    """A transport whose other end is a client of a library."""

    def __init__(self) -> None:
        self.client = ClientProtocol(parse_uri("ws://codi/"), max_size=None)
        self.client.state = State.OPEN
        self.client.parser = self.client.parse()
        next(self.client.parser)
        self.closed = False

    def write(self, data: bytes) -> None:
        self.client.receive_data(data)

    def close(self) -> None:
        self.closed = True

    def frames(self) -> list[Frame]:
        return [event for event in self.client.events_received() if isinstance(event, Frame)]

    def sent(self) -> bytes:
        return b"".join(self.client.data_to_send())


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def socket(wire) -> WebSocket:
    return WebSocket(wire, max_text=100)


def received(socket: WebSocket, data: bytes) -> list[bytes | str]:
    return list(socket.receive(data))


class TestMessages:
    def test_each_message_is_sent_as_one_frame(self, wire, socket):
        socket.send(b"\x00\xff" * 40_000)
        socket.send("größe")
        binary, text = wire.frames()
        assert (binary.opcode, binary.fin, bytes(binary.data)) == (
            Opcode.BINARY,
            True,
            b"\x00\xff" * 40_000,
        )
        assert (text.opcode, bytes(text.data).decode()) == (Opcode.TEXT, "größe")

    @pytest.mark.parametrize("size", [1, 7, 1000])
    def test_binary_comes_as_it_arrives_and_text_whole(self, wire, socket, size):
        wire.client.send_binary(b"ab", fin=False)
        wire.client.send_ping(b"between")
        wire.client.send_continuation(b"cd", fin=True)
        wire.client.send_text("grö".encode()[:3], fin=False)
        wire.client.send_continuation("grö".encode()[3:] + b"x", fin=True)
        sent = wire.sent()
        messages = []
        for at in range(0, len(sent), size):
            messages += received(socket, sent[at : at + size])
        assert b"".join(m for m in messages if isinstance(m, bytes)) == b"abcd"
        assert [m for m in messages if isinstance(m, str)] == ["gröx"]
        (pong,) = wire.frames()
        assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"between")

    def test_texts_follow_one_another_within_their_limit_each(self, wire, socket):
        for _ in range(3):
            wire.client.send_text(b"x" * 100)
        assert received(socket, wire.sent()) == ["x" * 100] * 3

    def test_a_text_is_limited_in_bytes(self, wire, socket):
        wire.client.send_text(("é" * 51).encode())
        with pytest.raises(Unreadable, match="100 bytes"):
            received(socket, wire.sent())

    def test_a_text_that_is_not_utf8_is_unreadable(self, wire, socket):
        wire.client.send_text(b"\xff\xfe")
        with pytest.raises(Unreadable, match="UTF-8"):
            received(socket, wire.sent())

    def test_a_binary_message_of_the_limit_is_taken_and_a_larger_one_closes(self, wire, socket):
        wire.client.send_binary(os.urandom(MAX_MESSAGE))
        assert sum(map(len, received(socket, wire.sent()))) == MAX_MESSAGE
        assert socket.open
        wire.client.send_binary(b"x" * MAX_MESSAGE, fin=False)
        wire.client.send_continuation(b"y", fin=True)
        wire.client.send_binary(b"z")
        assert {b"y", b"z"}.isdisjoint(received(socket, wire.sent()))
        assert not socket.open
        assert wire.client.close_rcvd.code == CloseCode.MESSAGE_TOO_BIG


class TestTheEnd:
    def test_our_close_waits_for_its_answer(self, wire, socket):
        socket.close(4001, "é" * 100)
        assert (wire.client.close_rcvd.code, wire.client.close_rcvd.reason) == (4001, "é" * 60)
        assert not socket.open
        assert not wire.closed
        assert received(socket, wire.sent()) == []
        assert wire.closed
        assert received(socket, b"more") == []

    @pytest.mark.parametrize(("code", "answer"), [(1000, 1000), (4400, 4400), (None, 1005)])
    def test_their_close_is_answered(self, wire, socket, code, answer):
        wire.client.send_binary(b"last")
        wire.client.send_close(code, "gone" if code else "")
        assert received(socket, wire.sent()) == [b"last"]
        assert wire.client.close_rcvd.code == answer
        assert wire.closed

    def test_nothing_is_sent_behind_a_close(self, wire, socket):
        socket.close(1000, "")
        wire.frames()
        socket.send(b"late")
        socket.ping()
        socket.close(1001, "again")
        assert wire.frames() == []

    def test_what_is_no_frame_closes_with_its_error(self, wire, socket):
        assert received(socket, b"\x81\x01x") == []  # a client's frames are masked (RFC 6455, 5.1)
        assert wire.client.close_rcvd.code == CloseCode.PROTOCOL_ERROR
        assert not socket.open
        assert received(socket, b"\x81\x01x") == []


class Request:
    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


class TestUpgrade:
    def test_the_answer_is_the_one_of_the_rfc(self):
        assert check_upgrade(Request(HEADERS)) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    @pytest.mark.parametrize(
        ("field", "value", "status"),
        [
            ("connection", "keep-alive", 426),
            ("upgrade", "h2c", 426),
            ("sec-websocket-version", "8", 426),
            ("sec-websocket-key", "c2hvcnQ=", 400),
            ("sec-websocket-key", "no base64!", 400),
            ("sec-websocket-key", "é", 400),
            ("content-length", "1", 400),
            ("transfer-encoding", "chunked", 400),
        ],
    )
    def test_anything_else_is_refused(self, field, value, status):
        with pytest.raises(AgentError) as refused:
            check_upgrade(Request(HEADERS | {field: value}))
        assert refused.value.status == status

    @pytest.mark.parametrize("field", list(HEADERS))
    def test_nothing_may_be_missing(self, field):
        with pytest.raises(AgentError):
            check_upgrade(Request({k: v for k, v in HEADERS.items() if k != field}))
