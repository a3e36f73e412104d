"""The terminal protocol: who gets which byte, and when to stop reading. Frames in, frames out.

No I/O, no clock, nothing but the standard library: CODI ships this file into containers.

A terminal's output is one numbered stream, of which the journal keeps the newest part. Each
connection has a position in it and takes what it can carry; nothing is ever queued per connection,
so memory is bounded by the journal. Input is counted per client id, so that a client that
reconnects knows what arrived.

**Numbering survives shells.** A client knows a terminal by the offset after the last byte it saw.
When the shell is a new one (its container was lost), that offset may lie beyond what the new
journal was told to begin with, since whoever keeps the marks lags behind. Such a client has seen
nothing of this journal; it is shown all of it, in its own numbering, *shifted* to go on without a
gap. The shift is remembered for the client's next connections.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_OFFSET = (1 << 53) - 1
"""The largest offset: JSON numbers are exact up to here in every language (RFC 8259, 6)."""

MAX_SIZE = 1000
"""The largest number of columns or rows."""

MAX_NAME = 128
PAUSE_BEHIND = 256 << 10
CUT_BEHIND = 1 << 20
READ_SIZE = 64 << 10
_SMALLEST_PART = 4 << 10
_KNOWN_CLIENTS = 1024

CLOSE_BAD_FRAME = 4400
CLOSE_SLOW = 4408
CLOSE_ENDED = 4410
CLOSE_REPLACED = 4411


class BadFrame(ValueError):
    """A frame or a parameter that the protocol does not allow; its text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a connection asks for. ``offset`` None: everything kept."""

    client: str | None = None
    offset: int | None = None
    input_offset: int = 0
    size: tuple[int, int] | None = None
    create: bool = False


@dataclass(frozen=True, slots=True)
class Attached:
    """Where a connection begins, in its client's numbering, and whom it replaces, if anybody."""

    output_offset: int
    input_offset: int
    truncated: bool
    restarted: bool
    replaced: int | None


def parse_request(query: Mapping[str, str]) -> Request:
    """Read a socket's query parameters. Raises BadFrame."""
    client = query.get("client") or None
    if client is not None and (len(client) > MAX_NAME or not client.isprintable()):
        raise BadFrame(f"client: up to {MAX_NAME} printable characters")
    size = None
    if query.get("cols") or query.get("rows"):
        size = (
            _number(query, "cols", 80, 1, MAX_SIZE),
            _number(query, "rows", 24, 1, MAX_SIZE),
        )
    return Request(
        client=client,
        offset=_number(query, "offset", 0, 0, MAX_OFFSET) if query.get("offset") else None,
        input_offset=_number(query, "input_offset", 0, 0, MAX_OFFSET),
        size=size,
        create=query.get("create") == "1",
    )


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high):
        raise BadFrame(f"{name}: a number from {low} to {high}")
    return int(text)


def check_size(cols: Any, rows: Any) -> tuple[int, int]:
    """Return a terminal's size if it is one. Raises BadFrame."""
    for name, value in (("cols", cols), ("rows", rows)):
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise BadFrame(f"{name}: a number from 1 to {MAX_SIZE}")
    return cols, rows


def parse_control(text: str) -> tuple[int, int] | None:
    """Read a client's text frame: the new size, or None for a type that is unknown. Raises BadFrame.

    Unknown types are ignored, so that newer clients work with an older CODI.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFrame("text frames are JSON objects") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame('text frames are JSON objects with a "type"')
    if frame["type"] != "resize":
        return None
    return check_size(frame.get("cols"), frame.get("rows"))


def control(kind: str, **fields: Any) -> str:
    """Return a text frame."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


class Journal:
    """The newest ``capacity`` bytes of a numbered stream."""

    def __init__(self, capacity: int, base: int = 0) -> None:
        self.capacity = capacity
        self.base = self.start = self.end = base
        self._parts: deque[bytes] = deque()
        self._first = base  # the number of the first byte of the first part; never after start

    def append(self, data: bytes) -> None:
        """Add bytes at the end and forget the oldest beyond the capacity."""
        if not data:
            return
        if self._parts and len(self._parts[-1]) + len(data) <= _SMALLEST_PART:
            self._parts[-1] += data  # many tiny parts would take far more memory than their bytes
        else:
            self._parts.append(data)
        self.end += len(data)
        self.start = max(self.start, self.end - self.capacity)
        while self._first + len(self._parts[0]) <= self.start:
            self._first += len(self._parts.popleft())

    def read(self, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes from ``offset``, which lies between ``start`` and ``end``."""
        if not self.start <= offset <= self.end:
            raise ValueError(f"offset {offset} is not kept ({self.start} to {self.end})")
        # Readers are mostly near the end: look for the part from there.
        index, begin = len(self._parts), self.end
        while begin > offset:
            index -= 1
            begin -= len(self._parts[index])
        found: list[bytes] = []
        skip = offset - begin
        while limit > 0 and index < len(self._parts):
            piece = self._parts[index][skip : skip + limit]
            found.append(piece)
            limit -= len(piece)
            index, skip = index + 1, 0
        return found[0] if len(found) == 1 else b"".join(found)


@dataclass(slots=True)
class _Client:
    """What is remembered of a client id between its connections."""

    shell: int
    shift: int = 0
    accepted: int = 0


@dataclass(slots=True)
class _Connection:
    client_id: str | None
    client: _Client
    position: int
    acknowledged: int


class TerminalProtocol:
    """One terminal: its journal, its clients and its connections.

    The shell round it calls ``attach`` and ``detach`` for connections (``key`` is its own number
    for one), ``output`` for what the terminal printed, ``take`` when a connection can carry more,
    and ``accept`` for input. After ``output`` and ``take`` it reads ``paused`` and ``laggards``.
    """

    def __init__(self, capacity: int, *, base_offset: int = 0, restarted: bool = False) -> None:
        self.journal = Journal(capacity, base_offset)
        self._restarted = restarted
        self._shell = 0
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._connections: dict[int, _Connection] = {}
        # A journal smaller than the usual bounds must still hold what a reader has not taken.
        self.read_size = min(READ_SIZE, capacity // 2)
        self._pause_behind = min(PAUSE_BEHIND, capacity // 2)
        self._cut_behind = min(CUT_BEHIND, capacity)

    @property
    def connections(self) -> list[int]:
        """The keys of all connections."""
        return list(self._connections)

    def new_shell(self) -> None:
        """Note that another shell prints from now on; the numbering goes on."""
        self._shell += 1

    def attach(self, key: int, request: Request) -> Attached:
        """Add a connection; a former one of the same client is forgotten and named in the answer."""
        assert key not in self._connections
        client, known = self._client(request)
        wanted = request.offset
        position, truncated, shift = self.journal.start, False, client.shift
        if wanted is not None:
            first = self.journal.base
            foreign = self._restarted and wanted > first
            if not known and (foreign or wanted > self.journal.end):
                shift = wanted - first
            local = wanted - shift
            # Beyond the end although it is known: it counted wrongly. It goes on from the end.
            position = min(max(local, self.journal.start), self.journal.end)
            shift += max(local - self.journal.end, 0)
            truncated = position > local
        restarted = wanted is not None and (
            client.shell != self._shell if known else self._restarted or shift > 0
        )
        client.shell, client.shift = self._shell, shift
        client.accepted = max(client.accepted, request.input_offset)
        replaced = self._key_of(request.client)
        if replaced is not None:
            del self._connections[replaced]
        self._connections[key] = _Connection(request.client, client, position, client.accepted)
        return Attached(position + shift, client.accepted, truncated, restarted, replaced)

    def detach(self, key: int) -> None:
        """Forget a connection. Idempotent: a replaced one is forgotten already."""
        self._connections.pop(key, None)

    def output(self, data: bytes) -> None:
        """Take what the terminal printed: ``read_size`` bytes at most, and only while not ``paused``."""
        self.journal.append(data)

    def take(self, key: int, limit: int) -> bytes:
        """Return what a connection gets next, up to ``limit`` bytes, and count it as sent."""
        connection = self._connections[key]
        data = self.journal.read(connection.position, limit)
        connection.position += len(data)
        return data

    def behind(self, key: int) -> int:
        """Return how many bytes a connection has not taken yet."""
        return self.journal.end - self._connections[key].position

    @property
    def paused(self) -> bool:
        """True while everybody who is attached is far behind: the terminal must wait."""
        return bool(self._connections) and self._fastest() > self._pause_behind

    def laggards(self, incoming: int = 0) -> list[int]:
        """Return the connections to cut, before ``incoming`` more bytes are given to ``output``.

        They are further behind than the others by more than the bound, or would lose bytes.
        """
        fastest = self._fastest()
        room = self.journal.capacity - incoming
        return [
            key
            for key in self._connections
            if self.behind(key) - fastest > self._cut_behind or self.behind(key) > max(room, 0)
        ]

    def accept(self, key: int, data: bytes) -> bytes:
        """Count input; return what goes to the terminal: nothing from a connection that was replaced."""
        connection = self._connections.get(key)
        if connection is None:
            return b""
        connection.client.accepted += len(data)
        return data

    def acknowledgement(self, key: int) -> str | None:
        """Return the ``input_ack`` frame that is due to a connection, if one is."""
        connection = self._connections.get(key)
        if connection is None or connection.acknowledged == connection.client.accepted:
            return None
        connection.acknowledged = connection.client.accepted
        return control("input_ack", offset=connection.acknowledged)

    def _fastest(self) -> int:
        return min((self.behind(key) for key in self._connections), default=0)

    def _client(self, request: Request) -> tuple[_Client, bool]:
        """Return what is known of the client, and whether anything was."""
        if request.client is None:
            return _Client(self._shell), False
        client = self._clients.get(request.client)
        if client is not None:
            self._clients.move_to_end(request.client)
            return client, True
        client = self._clients[request.client] = _Client(self._shell)
        while len(self._clients) > _KNOWN_CLIENTS:
            self._clients.popitem(last=False)
        return client, False

    def _key_of(self, client_id: str | None) -> int | None:
        if client_id is None:
            return None
        return next(
            (key for key, known in self._connections.items() if known.client_id == client_id), None
        )
