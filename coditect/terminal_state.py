"""The client's side of the terminal protocol: what has been seen and what is still to be sent.

No I/O: frames and reconnects go in, bytes to show and to send come out. Output bytes are numbered
from 0 for each terminal; input bytes are numbered for each client id. After any disconnect the
caller connects again with ``query()`` and feeds the new ``attached`` frame in, and every byte is
seen and sent exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_UNACKNOWLEDGED = 1 << 20
SIZINGS = ("latest", "smallest", "largest")
"""Rules by which a terminal is sized (``cluster.codi.terminals.sizing``)."""

AUTOMATION_PREFIX = "auto-"
"""Terminals of such names are programs' (``cluster.codi.terminals.frames.AUTOMATION_PREFIX``)."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Output bytes ``start`` to ``end`` (exclusive) are not kept any more; said, never invented."""

    start: int
    end: int


class TerminalState:
    """Counts one terminal's bytes for one client."""

    def __init__(self, client_id: str, *, offset: int | None = None) -> None:
        self.client_id = client_id
        self.offset = offset
        self.attached = False
        self._skip = 0
        self._input_base = 0
        self._unacknowledged = bytearray()

    def query(self) -> dict[str, str]:
        """Return the query parameters for the next connection."""
        parameters = {"client": self.client_id, "input_offset": str(self._input_base)}
        if self.offset is not None:
            parameters["offset"] = str(self.offset)
        return parameters

    def receive_attached(self, frame: Mapping[str, Any]) -> tuple[Gap | None, bytes]:
        """Take the server's first frame; return what output is missing and what input to resend."""
        start = int(frame["output_offset"])
        accepted = int(frame.get("input_offset", 0))
        gap = None
        self._skip = 0
        if self.offset is None:
            self.offset = start
        elif start > self.offset:
            gap = Gap(self.offset, start)
            self.offset = start
        elif start < self.offset:
            self._skip = self.offset - start
        self._acknowledge(accepted)
        # A server that lost count of this client starts from its own number: count on from there.
        self._input_base = accepted
        self.attached = True
        return gap, bytes(self._unacknowledged)

    def receive_output(self, data: bytes) -> bytes:
        """Count output; return the part of it that has not been seen before."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self.offset = (self.offset or 0) + len(data)
        return data

    def receive_ack(self, offset: int) -> None:
        """Forget input that the server has accepted up to ``offset``."""
        self._acknowledge(offset)

    def send(self, data: bytes) -> bytes:
        """Keep input until it is acknowledged; return what to send now (nothing while detached)."""
        self._unacknowledged += data
        return data if self.attached else b""

    def detach(self) -> None:
        """Note that the connection is gone."""
        self.attached = False

    @property
    def unacknowledged(self) -> int:
        """Input bytes kept for a resend."""
        return len(self._unacknowledged)

    def _acknowledge(self, offset: int) -> None:
        count = min(max(offset - self._input_base, 0), len(self._unacknowledged))
        del self._unacknowledged[:count]
        self._input_base = max(self._input_base, offset)
