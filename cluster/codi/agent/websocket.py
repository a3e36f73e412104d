"""A WebSocket (RFC 6455) on a transport, framed by ``rfc6455``: no task, no queue but the transport's."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Iterator

from cluster.codi.agent import rfc6455
from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import Exchange

MAX_MESSAGE = 1 << 20
_MAX_REASON = 120
_KEY_BYTES = 16
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Unreadable(Exception):
    """A text frame is too long, or not UTF-8."""


class WebSocket:
    """One open connection, written to as frames and read as messages."""

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        max_text: int = MAX_MESSAGE,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._transport = transport
        self._max_message = max_message
        self._max_text = max_text
        self._frames = rfc6455.Frames()
        self._closing = self._closed = False
        self._taken = 0
        self._text = bytearray()

    @property
    def open(self) -> bool:
        """True until a side begins to close."""
        return not self._closing

    def send(self, *messages: bytes | str) -> None:
        """Send messages as a frame each, together; nothing once a side has begun to close."""
        if messages and self.open:
            self._transport.write(b"".join(part for each in messages for part in _framed(each)))

    def ping(self) -> None:
        """Ask the other side whether it is there: ``receive`` takes the answer as it takes any bytes."""
        self._control(rfc6455.PING, b"")

    def close(self, code: int, reason: str) -> None:
        """Begin to close; the connection ends once the other side has closed, too."""
        short = reason.encode()[:_MAX_REASON].decode(errors="ignore").encode()
        self._control(rfc6455.CLOSE, code.to_bytes(2, "big") + short)
        self._closing = True

    def receive(self, data: bytes) -> Iterator[bytes | str]:
        """Yield the bytes of binary messages as they come, and text messages whole.

        Pings and a close are answered. Raises Unreadable for a text that cannot be taken.
        """
        if self._closed:
            return
        try:
            for piece in self._frames.take(data):
                if piece.kind == rfc6455.CLOSE:
                    self._end(piece.data)
                    return
                if piece.kind == rfc6455.PING:
                    self._control(rfc6455.PONG, piece.data)
                elif (
                    piece.kind != rfc6455.PONG and self.open
                ):  # behind what was refused nothing is taken
                    yield from self._take(piece)
        except rfc6455.Broken as error:
            self._closed = True
            self.close(rfc6455.PROTOCOL_ERROR, str(error))
            self._transport.close()

    def _take(self, piece: rfc6455.Piece) -> Iterator[bytes | str]:
        self._taken += len(piece.data)
        if self._taken > self._max_message:
            self.close(rfc6455.TOO_BIG, f"messages have up to {self._max_message} bytes")
        elif piece.kind == rfc6455.BINARY:
            yield piece.data
        elif self._taken > self._max_text:
            raise Unreadable(f"text frames have up to {self._max_text} bytes")
        else:
            self._text += piece.data
            if piece.last:
                text, self._text = bytes(self._text), bytearray()
                try:
                    yield text.decode()
                except UnicodeDecodeError:
                    raise Unreadable("text frames are UTF-8") from None
        if piece.last:
            self._taken = 0

    def _end(self, payload: bytes) -> None:
        """Answer the other side's close, unless it is the answer to ours."""
        self._closed = True
        if rfc6455.may_close(payload):
            self._control(rfc6455.CLOSE, payload)
            self._closing = True
        else:
            self.close(rfc6455.PROTOCOL_ERROR, "a close frame holds a code and a reason")
        self._transport.close()

    def _control(self, kind: int, payload: bytes) -> None:
        if self.open:
            self._transport.write(b"".join(rfc6455.frame(kind, payload)))


def _framed(message: bytes | str) -> tuple[bytes, bytes]:
    if isinstance(message, str):
        return rfc6455.frame(rfc6455.TEXT, message.encode())
    return rfc6455.frame(rfc6455.BINARY, message)


def check_upgrade(exchange: Exchange) -> str:
    """Return the answer to an upgrade's key (RFC 6455, 4.2.1). Raises AgentError for anything else."""
    headers = exchange.headers
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise invalid("the request of a WebSocket has no body")
    wanted = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    if "upgrade" not in wanted or headers.get("upgrade", "").lower() != "websocket":
        raise AgentError(426, "upgrade_required", "this is a WebSocket")
    if headers.get("sec-websocket-version") != "13":
        raise AgentError(426, "upgrade_required", "the version of a WebSocket is 13")
    key = headers.get("sec-websocket-key", "")
    try:
        usable = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        usable = False
    if not usable:
        raise invalid("sec-websocket-key: 16 bytes in base64")
    accepted = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False)
    return base64.b64encode(accepted.digest()).decode()


def upgrade(exchange: Exchange, protocol: asyncio.Protocol, accept: str) -> bytes:
    """Accept an upgrade and give its connection to ``protocol``; return what came behind the request."""
    early = exchange.switch([("upgrade", "websocket"), ("sec-websocket-accept", accept)])
    exchange.link.transport.set_protocol(protocol)
    return early
