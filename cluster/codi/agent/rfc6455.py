"""The frames of a WebSocket's client (RFC 6455, 5), read as they come. No I/O.

CODI takes frames from the server alone, without extensions: a library that can do more costs each container
its import, a tenth of the start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, INVALID, TOO_BIG = 1000, 1002, 1007, 1009

_CONTINUATION = 0x0
_OPCODES = frozenset((_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_FINAL, _RESERVED, _MASKED = 0x80, 0x70, 0x80
_MOST_OF_CONTROL = 125
_EXTENDED = {126: (2, 126), 127: (8, 1 << 16)}
"""Lengths that say where the length is: its bytes, and the least that takes so many."""


class Broken(Exception):
    """What came is no frame, and nothing behind it can be read."""


class Piece(NamedTuple):
    """A part of a message, TEXT or BINARY, or the whole of a control frame; ``last``: it is all there."""

    kind: int
    data: bytes
    last: bool


class Frames:
    """Reads frames of a client. Holds back at most a head and a control frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._message = 0  # the kind of the one that is to be continued
        self._kind = 0
        self._final = False
        self._left = -1  # bytes of the frame that are still to come; -1: its head is
        self._mask = b""

    def take(self, data: bytes) -> Iterator[Piece]:
        """Take bytes and yield what they complete. Raises Broken."""
        self._buffer += data
        while self._left >= 0 or self._read_head():
            arrived = len(self._buffer)
            if arrived < self._left and (self._kind >= CLOSE or not arrived):
                return
            masked = bytes(self._buffer[: self._left])
            del self._buffer[: len(masked)]
            self._left -= len(masked)
            piece = _unmasked(masked, self._mask)
            turned = len(masked) % 4
            self._mask = self._mask[turned:] + self._mask[:turned]
            last = not self._left
            if last:
                self._left = -1
            yield Piece(self._kind, piece, last and self._final)

    def _read_head(self) -> bool:
        """Read the head of the next frame; false while it is not all there."""
        if len(self._buffer) < 2:
            return False
        first, second = self._buffer[:2]
        opcode, size = first & 0x0F, second & 0x7F
        self._check(first, second)
        more, least = _EXTENDED.get(size, (0, 0))
        begin = 2 + more + 4
        if len(self._buffer) < begin:
            return False
        if more:
            size = int.from_bytes(self._buffer[2 : 2 + more], "big")
            if size < least or size >> 63:
                raise Broken("the length of a frame is not written as it should be")
        self._mask = bytes(self._buffer[2 + more : begin])
        del self._buffer[:begin]
        self._kind, self._final, self._left = opcode or self._message, bool(first & _FINAL), size
        if opcode < CLOSE:
            self._message = 0 if self._final else self._kind
        return True

    def _check(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if opcode not in _OPCODES or first & _RESERVED:
            raise Broken("there is no such frame")
        if not second & _MASKED:
            raise Broken("the frames of a client are masked")
        if opcode >= CLOSE:
            if not first & _FINAL or second & 0x7F > _MOST_OF_CONTROL:
                raise Broken("a control frame is short, and whole")
        elif (opcode == _CONTINUATION) is not bool(self._message):
            raise Broken("a message begins once, and ends before the next")


def frame(kind: int, payload: bytes) -> tuple[bytes, bytes]:
    """Return head and payload of a server's frame (5.2). Every output is one, so this is short."""
    size = len(payload)
    if size <= _MOST_OF_CONTROL:
        return bytes((_FINAL | kind, size)), payload
    if size < 1 << 16:
        return bytes((_FINAL | kind, 126)) + size.to_bytes(2, "big"), payload
    return bytes((_FINAL | kind, 127)) + size.to_bytes(8, "big"), payload


def may_close(payload: bytes) -> bool:
    """Return whether that is what a close frame may hold: nothing, or a code (7.4) and a reason."""
    if not payload:
        return True
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (
        1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code < 5000
    ):
        return False
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return False
    return True


def _unmasked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    order = sys.byteorder
    return (int.from_bytes(data, order) ^ int.from_bytes(key, order)).to_bytes(size, order)
