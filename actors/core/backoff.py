"""Truncated binary exponential backoff. Pure: whoever waits sleeps."""

from __future__ import annotations


def doubled(first: float, longest: float, failures: int) -> float:
    """Return the pause in seconds after that many failures in a row beyond the first."""
    return min(longest, first * 2.0 ** min(failures, 32))


class Backoff:
    """Pauses of which each is twice the one before, from ``first`` up to ``longest`` seconds."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self) -> float:
        """Return the pause after another failure."""
        self._failures += 1
        return doubled(self._first, self._longest, self._failures - 1)

    def reset(self) -> None:
        """Begin again; for after a success."""
        self._failures = 0
