"""At which bytes of a terminal's output its state is known, so that a replay may begin there. No I/O.

Nothing but the standard library: CODI ships this file into containers.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from cluster.codi.terminals.modes import Modes

CHECKPOINT_EVERY = 8 << 10
"""Output between two bytes at which the state is known."""


class QuotaBacklog(Protocol):
    """Numbered output of which the newest is held, and the last state, which outlives this process.

    ``start`` and ``end`` count from ``base``, the number of the first byte ever printed.
    """

    @property
    def base(self) -> int:
        """The number of the first byte."""
        ...

    @property
    def start(self) -> int:
        """The number of the oldest byte that is held."""
        ...

    @property
    def end(self) -> int:
        """The number of the next byte."""
        ...

    @property
    def state(self) -> tuple[int, bytes]:
        """The state that was kept last, and how many bytes led to it."""
        ...

    def keep_state(self, count: int, state: bytes) -> None:
        """Keep a state."""
        ...

    def read(self, offset: int, limit: int) -> bytes:
        """Return bytes from a number on."""
        ...


class Checkpoints:
    """Follows what a terminal prints. A new process goes on from the state that the former kept."""

    def __init__(self, ring: QuotaBacklog) -> None:
        self._ring = ring
        self._modes = Modes()
        self._known: deque[tuple[int, bytes]] = deque()
        self._followed, state = ring.state
        self._modes.feed(state)
        self.follow()

    def follow(self) -> None:
        """Take what was printed since; the caller does so before the ring loses any of it."""
        ring = self._ring
        self._followed = max(self._followed, ring.start - ring.base)
        while self._followed < ring.end - ring.base:
            step = CHECKPOINT_EVERY - self._followed % CHECKPOINT_EVERY
            data = ring.read(ring.base + self._followed, step)
            self._modes.feed(data)
            self._followed += len(data)
            if self._followed % CHECKPOINT_EVERY == 0:
                self._known.append((self._followed, self._modes.snapshot()))
                ring.keep_state(*self._known[-1])
        while self._known and self._known[0][0] < ring.start - ring.base:
            self._known.popleft()

    def between(self, begin: int, end: int) -> list[tuple[int, bytes]]:
        """Return the known states after the byte ``begin``, up to ``end``, by the bytes they lead to."""
        base = self._ring.base
        return [(base + at, state) for at, state in self._known if begin < base + at <= end]

    def begin_anew(self) -> None:
        """Note that another shell prints from now on: who shows the end of one resets what it left."""
        self.follow()
        self._modes = Modes()
        self._ring.keep_state(self._followed, b"")

    def resized(self) -> None:
        """Note that the terminal has another size."""
        self._modes.resized()
