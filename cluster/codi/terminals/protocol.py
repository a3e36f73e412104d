"""The terminal protocol: who gets which byte, and when to stop reading.

No I/O, no clock, nothing but the standard library: CODI ships this file into containers.

A terminal's output is one numbered stream, of which the newest part is held here. The numbering is
the journal's (``journal_protocol``): it says where to go on, and a byte is shown only once the journal
has *kept* it. Each connection has a position in the stream and takes what it can carry; nothing is ever
queued per connection, so memory is bounded by the ring. Input is counted per client id, so that a
client that reconnects knows what arrived; the counts are kept together with the output.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.codi.journal_protocol import MAX_INPUTS
from cluster.codi.terminals.checkpoints import Checkpoints
from cluster.codi.terminals.frames import Request, control
from cluster.codi.terminals.ring import Ring

PAUSE_BEHIND = 256 << 10
CUT_BEHIND = 1 << 20
READ_SIZE = 64 << 10
_KNOWN_CLIENTS = 1024


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
