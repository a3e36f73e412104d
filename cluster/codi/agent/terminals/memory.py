"""A terminal's memory that outlives CODI: what was printed, and input that no program has read yet."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping

from cluster.codi.terminals.frames import encoded
from cluster.codi.terminals.ring import HEADER

_COUNTS = 256 << 10
_INPUT = 2 << 20
_WORD = 8
_SLOT = _WORD + _COUNTS + _INPUT


class TerminalMemory:
    """A file in memory (memfd_create(2)); pages that nobody has written take none.

    The ring of ``codi.terminals.ring`` first, then two slots for input of which one counts: the other is
    written, then they change places with one store. Whoever opens ``descriptor`` anew sees one or the
    other, whole. ``Ring`` never uses the header's last word, which says which.
    """

    def __init__(self, capacity: int, descriptor: int | None = None) -> None:
        size = HEADER + capacity + 2 * _SLOT
        if descriptor is None:
            descriptor = os.memfd_create("terminal", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size)
        elif os.fstat(descriptor).st_size != size:
            raise ValueError("another size of ring")
        self.descriptor = descriptor
        self._view = memoryview(mmap.mmap(descriptor, size))
        self.ring = self._view[: HEADER + capacity]
        self._which = self._view[HEADER - _WORD : HEADER].cast("Q")
        self._slots = [self._view[HEADER + capacity + at * _SLOT :][:_SLOT] for at in (0, 1)]
        self._empty = self._lengths(self._which[0]) == (0, 0)

    def close(self) -> None:
        """Give the file up; the memory goes with the last view of it. Idempotent."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def keep_input(self, counts: Mapping[str, int], pending: bytes | bytearray) -> None:
        """Note how much input was taken of whom, and what of it no program has read yet."""
        if not counts and not pending and self._empty:
            return
        other = 1 - self._which[0]
        text = encoded(counts).encode() if counts else b""
        if len(text) > _COUNTS or len(pending) > _INPUT:
            return  # more than connections can bring before they are held
        slot = self._slots[other]
        slot[_WORD : _WORD + len(text)] = text
        slot[_WORD + _COUNTS : _WORD + _COUNTS + len(pending)] = pending
        slot[:_WORD].cast("I")[0], slot[:_WORD].cast("I")[1] = len(text), len(pending)
        self._which[0] = other
        self._empty = not text and not pending

    def input(self) -> tuple[dict[str, int], bytes]:
        """Return what was noted last."""
        slot = self._slots[self._which[0]]
        length, pending = self._lengths(self._which[0])
        counts = json.loads(bytes(slot[_WORD : _WORD + length])) if length else {}
        return counts, bytes(slot[_WORD + _COUNTS : _WORD + _COUNTS + pending])

    def _lengths(self, which: int) -> tuple[int, int]:
        lengths = self._slots[which][:_WORD].cast("I")
        return lengths[0], lengths[1]
