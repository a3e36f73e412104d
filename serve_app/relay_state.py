"""Between a browser's terminal socket and CODI's: who has which byte. No I/O, no clock.

The browser's socket stays open while CODI's is lost and made again, perhaps to a new container. Both
sides number their bytes (``docs/design/codi.md``, "Terminal socket"), so this file needs to know
little: how far the browser has been shown the output, which input CODI has not acknowledged yet, and
the terminal's size and directory. With that a new connection goes on where the last one ended:
output from the byte after the last one shown, input from the first one that did not arrive.

The shell round it gives in what arrives and carries out what comes back, in order. It sends to CODI
only what it is told to, so that input goes out once per connection and in its order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from actors.records import TerminalMark
from cluster.codi.terminal_protocol import (
    CLOSE_BAD_FRAME,
    CLOSE_ENDED,
    CLOSE_REPLACED,
    CLOSE_SLOW,
    Request,
    control,
    parse_control,
)

MAX_UNACKNOWLEDGED = 1 << 20
RESEND_SIZE = 64 << 10
CLOSE_GOING_AWAY = 1001


class Status(StrEnum):
    """What the browser is told of its terminal."""

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


Output = ToBrowser | ToCodi | Finish

_FINAL = frozenset({CLOSE_BAD_FRAME, CLOSE_ENDED, CLOSE_REPLACED})


class RelayState:
    """One browser's terminal. ``request`` is what its socket asked for; its client id is set."""

    def __init__(self, request: Request) -> None:
        assert request.client is not None
        self._client = request.client
        self._size = request.size
        self._offset = request.offset
        self._skip = 0
        self._acknowledged = request.input_offset
        self._unacknowledged = bytearray()
        self._connected = False
        self._shown = False
        self._cwd: str | None = None
        self.status = Status.CONNECTING

    @property
    def connected(self) -> bool:
        """Whether a connection to CODI is attached."""
        return self._connected

    @property
    def full(self) -> bool:
        """Whether so much input waits that no more should be read from the browser."""
        return len(self._unacknowledged) >= MAX_UNACKNOWLEDGED

    @property
    def mark(self) -> TerminalMark | None:
        """How far the browser has seen the terminal; None before it has seen anything."""
        if self._offset is None:
            return None
        return TerminalMark(end_offset=self._offset, cwd=self._cwd)

    def query(self) -> dict[str, str]:
        """Return the query of the next connection to CODI."""
        query = {"client": self._client, "input_offset": str(self._acknowledged), "create": "1"}
        if self._offset is not None:
            query["offset"] = str(self._offset)
        if self._size is not None:
            query["cols"], query["rows"] = map(str, self._size)
        return query

    # ---- from CODI ------------------------------------------------------------------------------

    def attached(self, frame: Mapping[str, Any]) -> list[Output]:
        """Take CODI's first frame of a connection."""
        begins, accepted = int(frame["output_offset"]), int(frame["input_offset"])
        if not self._shown:
            self._shown = True
            self._offset, self._skip = begins, 0
            # Input that was typed while this first connection was made counts from here.
            self._acknowledged = accepted
            outputs: list[Output] = [ToBrowser(control(**_attached_fields(frame)))]
        elif begins > (self._offset or 0):
            # The browser learns of a gap in the one place where the protocol tells of one; of a new
            # shell here, since at its next attach the container knows it already.
            told: list[Output] = [ToBrowser(control("restarted"))] if frame.get("restarted") else []
            return [*told, Finish(CLOSE_SLOW, "output is missing; attach again")]
        else:
            self._skip = (self._offset or 0) - begins
            outputs = self._acknowledge(accepted)
            if frame.get("restarted"):
                outputs.append(ToBrowser(control("restarted")))
        self._connected = True
        if self.status is not Status.CONNECTING:
            outputs += self.become(Status.READY)
        self.status = Status.READY
        outputs += [ToCodi(part) for part in self._parts()]
        return outputs

    def output(self, data: bytes) -> bytes:
        """Take output; return what the browser has not seen of it."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._offset = (self._offset or 0) + len(data)
        return data

    def codi_says(self, text: str) -> list[Output]:
        """Take a text frame of CODI."""
        frame = json.loads(text)
        match frame["type"]:
            case "input_ack":
                return self._acknowledge(int(frame["offset"]))
            case "dropped":
                return []
            case "cwd":
                self._cwd = str(frame["path"])
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
        size = parse_control(text)
        if size is None:
            return []
        self._size = size
        return [ToCodi(control("resize", cols=size[0], rows=size[1]))] if self._connected else []

    def become(self, status: Status) -> list[Output]:
        """Change the status; return what the browser is told, which is nothing the second time.

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


def _attached_fields(frame: Mapping[str, Any]) -> dict[str, Any]:
    named = ("output_offset", "input_offset", "truncated", "restarted", "cols", "rows")
    return {"kind": "attached"} | {name: frame[name] for name in named if name in frame}
