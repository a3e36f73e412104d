"""Between a browser's terminal socket and CODI's: who has which byte. No I/O, no clock.

The browser's socket stays open while CODI's is lost and made again, perhaps to a new container. Both
sides number their bytes (``docs/design/journal.md``), so this file needs to know little: how far the
browser has been shown the output, which input is not acknowledged yet, and the terminal's size. With
that a new connection goes on where the last one ended: output from the byte after the last one shown,
input from the first one that did not arrive. What CODI does not hold any more comes from the journal.

The shell round it gives in what arrives and carries out what comes back, in order. It sends to CODI
only what comes back, so that input goes out once per connection and in its order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from actors.core.records.terminals import TerminalRecord
from cluster.codi.terminals.frames import (
    CLOSE_BAD_FRAME,
    CLOSE_ENDED,
    CLOSE_REPLACED,
    CLOSE_SLOW,
    Active,
    ChooseSizing,
    Hidden,
    Request,
    Resize,
    control,
    parse_control,
)
from cluster.codi.terminals.sizing import Rule

MAX_UNACKNOWLEDGED = 1 << 20
RESEND_SIZE = 64 << 10
CLOSE_GOING_AWAY = 1001


class Status(StrEnum):
    """Statuses of a terminal, as the browser gets them."""

    CONNECTING = "connecting"
    READY = "ready"
    RECOVERING = "recovering"
    HIBERNATED = "hibernated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ToBrowser:
    """Send a text frame to the browser."""

    text: str


@dataclass(frozen=True, slots=True)
class Replay:
    """Show kept output from the journal, bytes ``begin`` to ``end`` (exclusive), through ``output``."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class ShowState:
    """Send the browser what brings a terminal to where the journal's output from ``offset`` begins."""

    offset: int


@dataclass(frozen=True, slots=True)
class ToCodi:
    """Send a frame to CODI."""

    frame: bytes | str


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Connect to CODI again. ``replaced``: that container will not answer any more; ask for another."""

    replaced: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the browser's socket for good."""

    code: int
    reason: str


Output = ToBrowser | ShowState | Replay | ToCodi | Finish

_ROLE = ("cols", "rows", "sizes", "answers", "answers_from")
_FINAL = frozenset({CLOSE_BAD_FRAME, CLOSE_ENDED, CLOSE_REPLACED})


class RelayState:
    """One browser's terminal. ``request`` is what its socket asked for; its client id is set."""

    def __init__(self, request: Request) -> None:
        assert request.client is not None
        self._client = request.client
        self._size = request.size
        self._emulator = request.emulator
        self._label = request.label
        self._rule: Rule | None = None
        self._offset = request.offset
        self._skip = 0
        self._acknowledged = request.input_offset
        self._unacknowledged = bytearray()
        self._connected = False
        self._shown = False
        self._whole_from: int | None = None
        self._shell_offset: int | None = None
        self._mark_at: int | None = None
        self._takes_state = False
        self.status = Status.CONNECTING

    @property
    def connected(self) -> bool:
        """True while a connection to CODI is attached."""
        return self._connected

    @property
    def full(self) -> bool:
        """True while so much input waits that no more should be read from the browser."""
        return len(self._unacknowledged) >= MAX_UNACKNOWLEDGED

    @property
    def pending_to(self) -> int:
        """Return where the input ends that is not acknowledged; 0 when all of it is."""
        pending = len(self._unacknowledged)
        return self._acknowledged + pending if pending else 0

    @property
    def shown(self) -> bool:
        """True once the browser has had its ``attached`` frame."""
        return self._shown

    def missing_before(self, offset: int) -> bool:
        """Return whether output before ``offset`` is wanted: it has to come from the journal."""
        return offset > 0 and (self._offset is None or self._offset < offset)

    def query(self) -> dict[str, str]:
        """Return the query of the next connection to CODI."""
        query = {"client": self._client, "input_offset": str(self._acknowledged), "create": "1"}
        if self._offset is not None:
            query["offset"] = str(self._offset)
        if self._size is not None:
            query["cols"], query["rows"] = map(str, self._size)
        if self._emulator:
            query["emulator"] = "1"
        if self._label:
            query["label"] = self._label
        return query

    # ---- from CODI ------------------------------------------------------------------------------

    def attached(self, frame: Mapping[str, Any], kept_from: int | None) -> list[Output]:
        """Take CODI's first frame of a connection.

        ``kept_from`` is where the journal's output begins, for one that ``missing_before`` asked about.
        """
        begins, accepted = int(frame["output_offset"]), int(frame["input_offset"])
        outputs: list[Output] = []
        if not self._shown:
            role = {name: frame[name] for name in _ROLE if name in frame}
            outputs += self._begin(begins, kept_from, accepted, role)
        else:
            wanted = self._offset or 0
            if begins > wanted and (kept_from is None or kept_from > wanted):
                # The browser learns of a gap in the one place where the protocol has one.
                return [Finish(CLOSE_SLOW, "output is missing; attach again")]
            outputs += self._acknowledge(accepted)
            outputs += self._role(frame)
        position = self._offset or 0
        self._expect_shell(int(frame["shell_offset"]))
        self._skip = max(position - begins, 0)
        if begins > position:
            outputs.append(Replay(position, begins))
        elif self._mark_at == position:
            outputs += self._mark()
        self._connected = True
        if self.status is not Status.CONNECTING:
            outputs += self.become(Status.READY)
        self.status = Status.READY
        outputs += [ToCodi(part) for part in self._parts()]
        if self._rule is not None:
            outputs.append(ToCodi(control("sizing", rule=self._rule)))
            self._rule = None
        return outputs

    def transcript(self, record: TerminalRecord) -> list[Output]:
        """Begin with what the journal has, while there is no container yet."""
        if self._shown:
            return []
        accepted = max(record.inputs.get(self._client, 0), self._acknowledged)
        size = {"cols": record.cols, "rows": record.rows}
        outputs = self._begin(record.end, record.start, accepted, size)
        begin = self._offset or 0
        return [*outputs, Replay(begin, record.end)] if begin < record.end else outputs

    def _begin(
        self, end: int, kept_from: int | None, accepted: int, role: Mapping[str, Any]
    ) -> list[Output]:
        """Set where the output begins; ``end`` is where the journal's part of it ends."""
        wanted = self._offset
        first = end if kept_from is None else min(kept_from, end)
        begin = first if wanted is None else min(max(wanted, first), end)
        self._shown = True
        self._whole_from = begin if wanted is None else None
        self._offset = begin
        # Input that was typed while this first connection was made counts from here.
        self._acknowledged = accepted
        truncated = begin > (wanted or 0)
        # What CODI itself holds begins with what CODI says of it.
        self._takes_state = truncated and kept_from is None
        state = [ShowState(begin)] if truncated and kept_from is not None else []
        return [
            ToBrowser(
                control(
                    "attached",
                    output_offset=begin,
                    input_offset=accepted,
                    truncated=truncated,
                    **role,
                )
            ),
            *state,
        ]

    def _role(self, frame: Mapping[str, Any]) -> list[Output]:
        """Report the browser's role at the terminal on a connection that is not its first."""
        if "answers" not in frame:  # of an older CODI
            return []
        size = {name: frame[name] for name in ("cols", "rows", "sizes")}
        answers = control("answers", answers=frame["answers"], offset=frame["answers_from"])
        return [ToBrowser(control("resized", **size)), ToBrowser(answers)]

    def _expect_shell(self, shell_offset: int) -> None:
        """Have a mark put where another shell begins, unless the browser knows that one."""
        known, self._shell_offset = self._shell_offset, shell_offset
        if shell_offset in {known, 0}:
            return
        if known is None and shell_offset == self._whole_from:
            return  # nothing of a former shell is shown
        self._mark_at = shell_offset

    def _mark(self) -> list[Output]:
        self._mark_at = None
        return [ToBrowser(control("restarted"))]

    def output(self, data: bytes) -> list[bytes | str]:
        """Take output; return what the browser has not seen of it, and the mark of a new shell."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        position = self._offset or 0
        self._offset = position + len(data)
        if self._mark_at is None or not position <= self._mark_at <= self._offset:
            return [data] if data else []
        cut = self._mark_at - position
        self._mark_at = None
        parts: list[bytes | str] = [data[:cut], control("restarted"), data[cut:]]
        return [part for part in parts if part]

    def codi_says(self, text: str) -> list[Output]:
        """Take a text frame of CODI."""
        frame = json.loads(text)
        match frame["type"]:
            case "input_ack":
                return self._acknowledge(int(frame["offset"]))
            case "dropped":
                return []
            case "snapshot":
                takes, self._takes_state = self._takes_state, False
                return [ToBrowser(text)] if takes else []
        return [ToBrowser(text)]

    def codi_closed(self, code: int | None, reason: str) -> Reconnect | Finish:
        """Take the end of a connection; None: it broke."""
        self._connected = False
        if code is not None and code in _FINAL:
            return Finish(code, reason)
        return Reconnect(replaced=code == CLOSE_GOING_AWAY)

    # ---- from the browser -----------------------------------------------------------------------

    def typed(self, data: bytes) -> list[Output]:
        """Take input; it is kept until CODI has acknowledged it."""
        self._unacknowledged += data
        return [ToCodi(data)] if self._connected and data else []

    def browser_says(self, text: str) -> list[Output]:
        """Take a text frame of the browser. Raises BadFrame."""
        said = parse_control(text)
        match said:
            case Resize(size):
                self._size = size
                frame = control("resize", cols=size[0], rows=size[1])
            case Hidden():
                self._size = None
                frame = control("hidden")
            case Active():
                frame = control("active")
            case ChooseSizing(rule):
                self._rule = None if self._connected else rule
                frame = control("sizing", rule=rule)
            case None:
                return []
        return [ToCodi(frame)] if self._connected else []

    def become(self, status: Status) -> list[Output]:
        """Change the status; return the frame for the browser, which is none the second time.

        Before the ``attached`` frame nothing may be said: it is the first one of every socket.
        """
        if status is self.status or not self._shown:
            return []
        self.status = status
        return [ToBrowser(control("status", status=status.value))]

    # ---- input ----------------------------------------------------------------------------------

    def _acknowledge(self, offset: int) -> list[Output]:
        count = min(offset - self._acknowledged, len(self._unacknowledged))
        if count <= 0:
            return []
        del self._unacknowledged[:count]
        self._acknowledged += count
        return [ToBrowser(control("input_ack", offset=self._acknowledged))]

    def _parts(self) -> Iterator[bytes]:
        for begin in range(0, len(self._unacknowledged), RESEND_SIZE):
            yield bytes(self._unacknowledged[begin : begin + RESEND_SIZE])
