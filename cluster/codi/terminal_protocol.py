"""The terminal protocol: who gets which byte, and when to stop reading. Frames in, frames out.

No I/O, no clock, nothing but the standard library: CODI ships this file into containers.

A terminal's output is one numbered stream, of which the newest part is held here. The numbering is
the journal's (``journal_protocol``): it says where to go on, and a byte is shown only once the journal
has *kept* it. Each connection has a position in the stream and takes what it can carry; nothing is ever
queued per connection, so memory is bounded by the ring. Input is counted per client id, so that a
client that reconnects knows what arrived; the counts are kept together with the output.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.codi.journal_protocol import MAX_INPUTS
from cluster.codi.terminal_checkpoints import Checkpoints
from cluster.codi.terminal_sizing import RULES, Rule, is_rule

MAX_OFFSET = (1 << 53) - 1
"""The largest offset: JSON numbers are exact up to here in every language (RFC 8259, 6)."""

MAX_SIZE = 1000
"""The largest number of columns or rows."""

MAX_NAME = 128
MAX_LABEL = 64
AUTOMATION_PREFIX = "auto-"
"""Terminals of such names are programs': pages do not show them, and alone for long they are ended."""

PAUSE_BEHIND = 256 << 10
CUT_BEHIND = 1 << 20
READ_SIZE = 64 << 10
_KNOWN_CLIENTS = 1024

CLOSE_BAD_FRAME = 4400
CLOSE_SLOW = 4408
CLOSE_ENDED = 4410
CLOSE_REPLACED = 4411


class BadFrame(ValueError):
    """A frame or a parameter that the protocol does not allow; its text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A connection's request. ``offset`` None: everything kept.

    ``size`` None: it does not show the terminal. ``emulator``: it answers what programs ask of a terminal.
    ``label``: what people at other windows see of it.
    """

    client: str | None = None
    offset: int | None = None
    input_offset: int = 0
    size: tuple[int, int] | None = None
    create: bool = False
    emulator: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Resize:
    """The client shows the terminal, this large."""

    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Hidden:
    """The client does not show the terminal any more."""


@dataclass(frozen=True, slots=True)
class Active:
    """A person uses the terminal at this client."""


@dataclass(frozen=True, slots=True)
class ChooseSizing:
    """A person wants the terminal sized by this rule."""

    rule: Rule


Said = Resize | Hidden | Active | ChooseSizing


@dataclass(frozen=True, slots=True)
class Attached:
    """The beginning of a connection, and the one that it replaces, if any.

    ``shell_offset`` is where the present shell began: 0 for a terminal's first. ``snapshot`` is what
    brings a terminal to the state that it begins in, where output before that is missing.
    """

    output_offset: int
    input_offset: int
    truncated: bool
    shell_offset: int
    replaced: int | None
    snapshot: bytes = b""


def parse_request(query: Mapping[str, str]) -> Request:
    """Read a socket's query parameters. Raises BadFrame."""
    client = query.get("client") or None
    if client is not None and (len(client) > MAX_NAME or not client.isprintable()):
        raise BadFrame(f"client: up to {MAX_NAME} printable characters")
    label = query.get("label") or ""
    if len(label) > MAX_LABEL or not label.isprintable():
        raise BadFrame(f"label: up to {MAX_LABEL} printable characters")
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
        emulator=query.get("emulator") == "1",
        label=label,
    )


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high):
        raise BadFrame(f"{name}: a number from {low} to {high}")
    return int(text)


def check_name(name: str) -> str:
    """Return a terminal's name if it is one: a single segment of a URL. Raises BadFrame."""
    good = 0 < len(name) <= MAX_NAME and name.isprintable()
    if not good or "/" in name or name in {".", ".."}:
        raise BadFrame(f"name: 1 to {MAX_NAME} printable characters, no slash, not only dots")
    return name


def check_size(cols: Any, rows: Any) -> tuple[int, int]:
    """Return a terminal's size if it is one. Raises BadFrame."""
    for name, value in (("cols", cols), ("rows", rows)):
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise BadFrame(f"{name}: a number from 1 to {MAX_SIZE}")
    return cols, rows


def parse_control(text: str) -> Said | None:
    """Read a client's text frame; None for a type that is unknown. Raises BadFrame.

    Unknown types are ignored, so that newer clients work with an older CODI.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFrame("text frames are JSON objects") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame('text frames are JSON objects with a "type"')
    match frame["type"]:
        case "resize":
            return Resize(check_size(frame.get("cols"), frame.get("rows")))
        case "hidden":
            return Hidden()
        case "active":
            return Active()
        case "sizing":
            rule = frame.get("rule")
            if not is_rule(rule):
                raise BadFrame(f"rule: one of {', '.join(RULES)}")
            return ChooseSizing(rule)
    return None


def control(kind: str, **fields: Any) -> str:
    """Return a text frame."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def snapshot(state: bytes) -> str:
    """Return the text frame that brings a terminal to where the output that follows begins.

    It is none of the numbered output, and clients that only count bytes need not look at it.
    """
    return control("snapshot", data=base64.b64encode(state).decode())


_STATE_SIZE = 8 << 10
_STATES = 128
HEADER = 256 + 2 * _STATE_SIZE
"""Bytes of a ring's memory in front of what it holds."""

_END, _TARGET, _MARKER, _BASE, _KEPT, _SHELL, _STATE = range(7)  # the words of the header
_NOT_READ = 0xFF
_WORD = 8


class Ring:
    """The newest ``capacity`` bytes of a numbered stream, in memory that can outlive this process.

    ``memory`` has ``HEADER + capacity`` bytes, zeros at first; absent: our own. Every change takes
    effect with the store of one word, so whoever finds the memory of a process that was killed at any
    moment finds a ring: each byte of the terminal that was read is in it, once. Terminals are read in
    packet mode (TIOCPKT, ioctl_tty(2)) straight into it, the mode's own byte, which is never
    ``_NOT_READ``, into the header: so it is known whether a read that was under way took place.
    """

    def __init__(self, capacity: int, memory: memoryview | None = None) -> None:
        self.capacity = capacity
        memory = memory if memory is not None else memoryview(bytearray(HEADER + capacity))
        self._words = memory[:HEADER].cast("Q")
        self._states = [memory[_STATES + at * _STATE_SIZE :][:_STATE_SIZE] for at in (0, 1)]
        self._marker = memory[_MARKER * _WORD : _MARKER * _WORD + 1]
        self._bytes = memory[HEADER : HEADER + capacity]
        self.end_reading()

    @property
    def base(self) -> int:
        """The number of the first byte ever printed; 0 until the journal has given one."""
        return max(0, self._words[_BASE] - 1)

    @property
    def numbered(self) -> bool:
        """True once the journal has given the numbering."""
        return self._words[_BASE] != 0

    @property
    def end(self) -> int:
        """The number of the next byte."""
        return self.base + self._words[_END]

    @property
    def start(self) -> int:
        """The number of the oldest byte that is held."""
        return self.base + max(0, self._words[_END] - self.capacity)

    @property
    def kept(self) -> int:
        """Up to where the journal has it; kept here so that it lasts as long as the bytes."""
        return self.base + self._words[_KEPT]

    @kept.setter
    def kept(self, offset: int) -> None:
        self._words[_KEPT] = offset - self.base

    @property
    def shell_offset(self) -> int:
        """The offset at which the present shell began."""
        return self.base + self._words[_SHELL]

    @shell_offset.setter
    def shell_offset(self, offset: int) -> None:
        self._words[_SHELL] = offset - self.base

    @property
    def state(self) -> tuple[int, bytes]:
        """The count and state of the last ``keep_state``; ``(0, b"")`` before the first."""
        if self._words[_STATE] == 0:
            return 0, b""
        count, which = divmod(self._words[_STATE] - 1, 2)
        kept = self._states[which]
        return count, bytes(kept[2 : 2 + kept[0] * 256 + kept[1]])

    def keep_state(self, count: int, state: bytes) -> None:
        """Keep the state that ``count`` bytes led to; one that is too large is left out."""
        which = self._words[_STATE] % 2  # the other of the two
        if len(state) <= _STATE_SIZE - 2:
            self._states[which][:2] = len(state).to_bytes(2, "big")
            self._states[which][2 : 2 + len(state)] = state
            self._words[_STATE] = 1 + 2 * count + which

    def number(self, base: int) -> None:
        """Set the number of the first byte; all that is counted moves with it."""
        self._words[_BASE] = base + 1

    def append(self, data: bytes) -> None:
        """Add bytes at the end and forget the oldest beyond the capacity."""
        skip = max(0, len(data) - self.capacity)
        self._words[_END] += skip
        data = data[skip:]
        for area in self._areas(len(data)):
            area[:] = data[: len(area)]
            data = data[len(area) :]
            self._words[_END] += len(area)

    def begin_reading(self, size: int) -> list[memoryview]:
        """Return where the terminal is to be read into: exactly ``size`` bytes wait in it."""
        self._marker[0] = _NOT_READ
        self._words[_TARGET] = self._words[_END] + size
        return [self._marker, *self._areas(size)]

    def end_reading(self) -> int:
        """Count what was read, if it was, and not a mere notice of packet mode; return how much.

        All of it or nothing: the kernel copies what waits in a terminal without a pause.
        """
        before = self._words[_END]
        if self._words[_TARGET] > before and self._marker[0] == 0:
            self._words[_END] = self._words[_TARGET]
        self._words[_TARGET] = 0
        return self._words[_END] - before

    def read(self, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes from ``offset``, which lies between ``start`` and ``end``."""
        if not self.start <= offset <= self.end:
            raise ValueError(f"offset {offset} is not kept ({self.start} to {self.end})")
        count = max(0, min(limit, self.end - offset))
        return b"".join(self._areas(count, offset - self.base))

    def _areas(self, count: int, position: int | None = None) -> list[memoryview]:
        """Return the places of ``count`` bytes from ``position``, or behind the end: one, or two."""
        begin = (self._words[_END] if position is None else position) % self.capacity
        first = self._bytes[begin : begin + count]
        rest = self._bytes[: count - len(first)]
        return [area for area in (first, rest) if area]


@dataclass(slots=True)
class _Client:
    """Counts of a client's input: given to the terminal, and kept by the journal."""

    accepted: int = 0
    kept: int = 0


@dataclass(slots=True)
class _Connection:
    client_id: str | None
    client: _Client
    position: int
    acknowledged: int


class TerminalProtocol:
    """One terminal: its newest output, its clients and its connections.

    The shell round it calls ``attach`` and ``detach`` for connections (``key`` is its own number
    for one), ``output`` for what the terminal printed, ``accept`` for input, ``number`` and ``keep`` for
    what the journal says, and ``take`` when a connection can carry more. After ``output``, ``keep`` and
    ``take`` it reads ``paused`` and ``laggards``.
    """

    def __init__(self, capacity: int, memory: memoryview | None = None) -> None:
        self.ring = Ring(capacity, memory)
        self._states = Checkpoints(self.ring)
        self._counted = False
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._connections: dict[int, _Connection] = {}
        # Half of the ring for what is not kept yet, half for one more read behind it.
        self.read_size = min(READ_SIZE, capacity // 2)
        self._pause_behind = min(PAUSE_BEHIND, capacity // 2)
        self._cut_behind = min(CUT_BEHIND, capacity)

    @property
    def numbered(self) -> bool:
        """True once the journal has given the number at which output goes on."""
        return self.ring.numbered

    @property
    def kept(self) -> int:
        """The number of the first byte that the journal does not have."""
        return self.ring.kept

    @property
    def shell_offset(self) -> int:
        """The offset at which the present shell began."""
        return self.ring.shell_offset

    @property
    def connections(self) -> list[int]:
        """The keys of all connections."""
        return list(self._connections)

    # ---- the journal ----------------------------------------------------------------------------

    def number(self, end: int, inputs: Mapping[str, int]) -> None:
        """Take the journal's word on where the numbering goes on and how much input it knows of.

        The first time everything printed so far is numbered on from ``end``; nobody has seen any of
        it. Later (the journal has connected anew) it says what had been kept.
        """
        for client_id, count in inputs.items():
            client = self._clients.setdefault(client_id, _Client())
            client.accepted = max(client.accepted, count)
            client.kept = max(client.kept, count)
        self._counted = True
        if self.numbered:
            self.keep(end)
            return
        self.ring.shell_offset = 0
        self.ring.number(end)

    def unkept(self, limit: int) -> tuple[int, bytes, dict[str, int]]:
        """Return what the journal has to keep next: an offset, output, and counts of input."""
        inputs = dict(list(self.uncounted().items())[:MAX_INPUTS])
        return self.kept, self.ring.read(self.kept, limit), inputs

    def keep(self, end: int, inputs: Mapping[str, int] | None = None) -> None:
        """Note that the journal has all output before ``end``, and these counts of input."""
        self.ring.kept = max(self.kept, min(end, self.ring.end))
        for client_id, count in (inputs or {}).items():
            client = self._clients.get(client_id)
            if client is not None:
                client.kept = max(client.kept, count)

    def new_shell(self) -> None:
        """Note that another shell prints from now on; the numbering goes on."""
        self.ring.shell_offset = self.ring.end
        self._states.begin_anew()

    def resized(self) -> None:
        """Note that the terminal has another size."""
        self._states.resized()

    def checkpoints(self, begin: int, end: int) -> list[tuple[int, bytes]]:
        """Return offsets after ``begin``, up to ``end``, with the terminal's state at each."""
        return self._states.between(begin, end)

    def uncounted(self) -> dict[str, int]:
        """Return how much input was taken of each client of whom the journal does not know it yet."""
        return {
            client_id: client.accepted
            for client_id, client in self._clients.items()
            if client.accepted > client.kept
        }

    def recount(self, inputs: Mapping[str, int]) -> None:
        """Take over what ``uncounted`` said in a process that is no more."""
        for client_id, count in inputs.items():
            self._clients[client_id] = _Client(accepted=count)

    # ---- connections ----------------------------------------------------------------------------

    def may_attach(self, client_id: str | None) -> bool:
        """Return whether it can be said where a client stands: once all its input is kept.

        The journal's counts are needed in each process: what was kept is not counted here any more.
        """
        client = self._clients.get(client_id) if client_id is not None else None
        return (
            self.numbered and self._counted and (client is None or client.accepted == client.kept)
        )

    def attach(self, key: int, request: Request) -> Attached:
        """Add a connection; a former one of the same client is forgotten and named in the answer."""
        assert key not in self._connections
        assert self.may_attach(request.client)
        client = self._client(request.client)
        wanted = self.ring.start if request.offset is None else request.offset
        # Beyond what was ever shown: it counted wrongly. It goes on from there.
        position, state = min(max(wanted, self.ring.start), self.kept), b""
        if (request.offset or 0) < position == self.ring.start > self.ring.base:
            known = self._states.between(self.ring.start - 1, self.kept)
            position, state = known[0] if known else (position, state)
        client.accepted = client.kept = max(client.accepted, request.input_offset)
        replaced = self._key_of(request.client)
        if replaced is not None:
            del self._connections[replaced]
        self._connections[key] = _Connection(request.client, client, position, client.accepted)
        return Attached(
            position, client.accepted, position > wanted, self.shell_offset, replaced, state
        )

    def detach(self, key: int) -> None:
        """Forget a connection. Idempotent: a replaced one is forgotten already."""
        self._connections.pop(key, None)

    def output(self, data: bytes) -> None:
        """Take what the terminal printed: ``read_size`` bytes at most, and only while not ``paused``.

        Or it is read into ``ring``, which spares the way through this process's own memory, and
        ``printed`` is called.
        """
        self.ring.append(data)
        self.printed()

    def printed(self) -> None:
        """Note that the ring has more than before."""
        self._states.follow()

    def take(self, key: int, limit: int) -> bytes:
        """Return what a connection gets next, up to ``limit`` bytes, and count it as sent."""
        connection = self._connections[key]
        data = self.ring.read(connection.position, min(limit, self.kept - connection.position))
        connection.position += len(data)
        return data

    def behind(self, key: int) -> int:
        """Return how many kept bytes a connection has not taken yet."""
        return self.kept - self._connections[key].position

    @property
    def complete(self) -> bool:
        """True when everything that was printed is kept."""
        return self.numbered and self.kept == self.ring.end

    @property
    def room(self) -> int:
        """The bytes that ``output`` can take more without losing one that is not kept yet."""
        return self.ring.capacity - (self.ring.end - self.kept)

    @property
    def paused(self) -> bool:
        """True while the terminal must wait: for the journal, or since all who watch are far behind."""
        waiting = self.ring.end - self.kept
        # Together, since the ring has to hold both: what waits for the journal, and for a reader.
        return waiting + self._fastest() > self._pause_behind

    def laggards(self, incoming: int = 0) -> list[int]:
        """Return the connections to cut, before ``incoming`` more bytes are given to ``output``.

        They are further behind than the others by more than the bound, or would lose bytes.
        """
        fastest = self._fastest()
        oldest = self.ring.end + incoming - self.ring.capacity
        return [
            key
            for key, connection in self._connections.items()
            if self.behind(key) - fastest > self._cut_behind or connection.position < oldest
        ]

    def accept(self, key: int, data: bytes) -> bytes:
        """Count input; return what goes to the terminal: nothing from a connection that was replaced."""
        connection = self._connections.get(key)
        if connection is None:
            return b""
        connection.client.accepted += len(data)
        if connection.client_id is None:  # nobody will ever ask for its count
            connection.client.kept = connection.client.accepted
        return data

    def acknowledgement(self, key: int) -> str | None:
        """Return the ``input_ack`` frame that is due to a connection, if one is."""
        connection = self._connections.get(key)
        if connection is None or connection.acknowledged == connection.client.kept:
            return None
        connection.acknowledged = connection.client.kept
        return control("input_ack", offset=connection.acknowledged)

    def _fastest(self) -> int:
        return min((self.behind(key) for key in self._connections), default=0)

    def _client(self, client_id: str | None) -> _Client:
        if client_id is None:
            return _Client()
        client = self._clients.get(client_id)
        if client is None:
            client = self._clients[client_id] = _Client()
            self._forget_clients()
        self._clients.move_to_end(client_id)
        return client

    def _forget_clients(self) -> None:
        """Forget those that came longest ago, but none that is connected or has input under way."""
        surplus = len(self._clients) - _KNOWN_CLIENTS
        if surplus <= 0:
            return
        connected = {connection.client_id for connection in self._connections.values()}
        idle = [
            client_id
            for client_id, client in self._clients.items()
            if client_id not in connected and client.accepted == client.kept
        ]
        for client_id in idle[:surplus]:
            del self._clients[client_id]

    def _key_of(self, client_id: str | None) -> int | None:
        if client_id is None:
            return None
        return next(
            (key for key, known in self._connections.items() if known.client_id == client_id), None
        )
