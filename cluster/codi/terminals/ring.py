"""The newest output of a terminal, in memory that can outlive the process. No I/O.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

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
