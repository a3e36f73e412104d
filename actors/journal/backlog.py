"""Chooses the output that is committed next, and the moment. No Ray, no I/O, no clock.

Every terminal has at most one batch waiting here. A commit takes as many of them as fit, so that a
hundred terminals that print at once cost one commit, and what comes meanwhile is the next one. Of
those that print much it takes only so much, each in its turn, and all others beside them: so an echo,
for which a person waits, waits for no more than that, however many print without end. One that does
gets ``rate`` bytes a second after a burst that a build's log fits in; its programs wait meanwhile, since
CODI shows and reads no more before a batch is kept. So the writes of a terminal are bounded whatever it
prints.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class JournalRules:
    """``commit_terminals``, and ``commit_bytes`` of batches of ``loud`` bytes or more, bound a commit.

    ``rate`` is bytes/s of a terminal. After a commit for several terminals the next one gathers for
    ``gather`` seconds.
    """

    commit_bytes: int = 256 << 10
    commit_terminals: int = 128
    rate: float = float(4 << 20)
    burst: float = float(64 << 20)
    gather: float = 0.002
    loud: int = 4 << 10


class Backlog(Generic[K, B]):
    """Batches that wait for a commit, by terminal, in the order of their arrival."""

    def __init__(self, rules: JournalRules) -> None:
        self._rules = rules
        self._waiting: OrderedDict[K, tuple[B, int]] = OrderedDict()
        self._paid_until: dict[K, float] = {}
        self._gather_until = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, terminal: K, batch: B, size: int) -> None:
        """Take a terminal's batch; a former one that still waits is the same again, or older."""
        self._waiting[terminal] = (batch, size)

    def drop(self, terminal: K) -> None:
        """Forget a terminal. Idempotent."""
        self._waiting.pop(terminal, None)
        self._paid_until.pop(terminal, None)

    def take(self, now: float) -> dict[K, B]:
        """Return the batches of the next commit, at the monotonic time ``now``; none if all must wait."""
        taken: dict[K, B] = {}
        if now < self._gather_until:
            return taken
        room, left = self._rules.commit_bytes, False
        for terminal, (batch, size) in self._waiting.items():
            if len(taken) >= self._rules.commit_terminals:
                left = True
                break
            if self._wait(terminal, now) > 0.0:
                continue
            if size >= self._rules.loud:
                if size > room and room < self._rules.commit_bytes:
                    left = True  # this one, and not those behind it that print little
                    continue
                room -= size
            taken[terminal] = batch
        for terminal in taken:
            self._pay(terminal, self._waiting.pop(terminal)[1], now)
        if len(taken) > 1 and not left:
            self._gather_until = now + self._rules.gather
        return taken

    def next_due(self, now: float) -> float | None:
        """Return the seconds until ``take`` has something; None when nothing waits."""
        due = min((self._wait(terminal, now) for terminal in self._waiting), default=None)
        return None if due is None else max(due, self._gather_until - now)

    def _wait(self, terminal: K, now: float) -> float:
        ahead = self._paid_until.get(terminal, 0.0) - now
        return max(0.0, ahead - self._rules.burst / self._rules.rate)

    def _pay(self, terminal: K, size: int, now: float) -> None:
        until = max(self._paid_until.get(terminal, 0.0), now) + size / self._rules.rate
        self._paid_until[terminal] = until
        if len(self._paid_until) > 4 * self._rules.commit_terminals:
            self._paid_until = {t: u for t, u in self._paid_until.items() if u > now}
