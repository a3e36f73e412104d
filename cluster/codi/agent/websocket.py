"""A WebSocket (RFC 6455) on a transport, framed by wsproto: no task, no queue but the transport's."""

from __future__ import annotations

import asyncio
import base64
import binascii
import struct
from collections.abc import Iterator

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from cluster.codi.agent.errors import AgentError, invalid
from cluster.codi.agent.exchange import Exchange

MAX_MESSAGE = 1 << 20
_CLOSE_NORMAL = 1000
_CLOSE_INVALID = 1007
_CLOSE_TOO_BIG = 1009
_MAX_REASON = 120
_KEY_BYTES = 16


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
        self._connection = Connection(ConnectionType.SERVER)
        self._taken = 0
        self._text: list[str] = []

    @property
    def open(self) -> bool:
        """True until a side begins to close."""
        return self._connection.state is ConnectionState.OPEN

    def send(self, *messages: bytes | str) -> None:
        """Send messages as a frame each, together; nothing once a side has begun to close."""
        if messages and self.open:
            self._transport.write(b"".join(part for each in messages for part in _frame(each)))

    def ping(self) -> None:
        """Ask the other side whether it is there: ``receive`` takes the answer as it takes any bytes."""
        if self.open:
            self._write(Ping())

    def close(self, code: int, reason: str) -> None:
        """Begin to close, or answer the other side's close; the connection ends once both have."""
        if self.open:
            short = reason.encode()[:_MAX_REASON].decode(errors="ignore")
            self._write(CloseConnection(code=code, reason=short))

    def receive(self, data: bytes) -> Iterator[bytes | str]:
        """Yield the bytes of binary messages as they come, and text messages whole.

        Pings and a close are answered. Raises Unreadable for a text that cannot be taken.
        """
        if self._connection.state is ConnectionState.CLOSED:
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            match event:
                case BytesMessage() | TextMessage():
                    if self.open:  # behind what was refused nothing more is taken
                        yield from self._take(event)
                case Ping():
                    if self.open:
                        self._write(event.response())
                case CloseConnection():
                    self._closed(event)

    def _take(self, event: BytesMessage | TextMessage) -> Iterator[bytes | str]:
        piece = event.data
        self._taken += len(piece.encode() if isinstance(piece, str) else piece)
        if self._taken > self._max_message:
            self.close(_CLOSE_TOO_BIG, f"messages have up to {self._max_message} bytes")
        elif not isinstance(piece, str):
            yield bytes(piece)
        elif self._taken > self._max_text:
            raise Unreadable(f"text frames have up to {self._max_text} bytes")
        else:
            self._text.append(piece)
            if event.message_finished:
                text, self._text = "".join(self._text), []
                yield text
        if event.message_finished:
            self._taken = 0

    def _closed(self, event: CloseConnection) -> None:
        """End what the other side has closed; what it has sent and cannot be read is its error."""
        if not self.open:
            if self._connection.state is ConnectionState.REMOTE_CLOSING:
                self._write(event.response())
            self._transport.close()
        elif event.code == _CLOSE_INVALID:
            raise Unreadable("text frames are UTF-8")
        else:
            self.close(event.code, event.reason or "")

    def _write(self, event: Event) -> None:
        self._transport.write(self._connection.send(event))


def _frame(message: bytes | str) -> tuple[bytes, bytes]:
    """Return head and payload of a server's frame (RFC 6455, 5.2). Every output is one, so this is short."""
    payload = message.encode() if isinstance(message, str) else message
    kind, size = 0x81 if isinstance(message, str) else 0x82, len(payload)
    if size < 126:
        return bytes((kind, size)), payload
    if size < 1 << 16:
        return struct.pack(">BBH", kind, 126, size), payload
    return struct.pack(">BBQ", kind, 127, size), payload


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
    return generate_accept_token(key.encode()).decode()


def upgrade(exchange: Exchange, protocol: asyncio.Protocol, accept: str) -> bytes:
    """Accept an upgrade and give its connection to ``protocol``; return what came behind the request."""
    early = exchange.switch([("upgrade", "websocket"), ("sec-websocket-accept", accept)])
    exchange.link.transport.set_protocol(protocol)
    return early
