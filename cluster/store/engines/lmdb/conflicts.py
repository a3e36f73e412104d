"""The window of recent writes, by range and version, against which reads are checked at commit.

A step function over the key space: each boundary carries the version of the last write at or after
it and before the next boundary. Checking or writing a range costs the boundaries inside it. What is
older than the floor is forgotten, and whoever read before the floor is too old.
"""

from __future__ import annotations

from sortedcontainers import SortedDict

from cluster.store.engines.interface import KeyRange, key_after


class ConflictWindow:
    """Writes since ``floor``; at most about ``max_boundaries`` are remembered."""

    def __init__(self, floor: int, *, max_boundaries: int = 200_000) -> None:
        self.floor = floor
        self._max_boundaries = max_boundaries
        self._next_prune = max_boundaries
        self._versions: SortedDict[bytes, int] = SortedDict({b"": floor})

    def __len__(self) -> int:
        return len(self._versions)

    def is_too_old(self, read_version: int) -> bool:
        """Return whether writes after ``read_version`` may have been forgotten."""
        return read_version < self.floor

    def conflicts(self, span: KeyRange, read_version: int) -> bool:
        """Return whether anything in the range was written after ``read_version``."""
        if span.begin >= span.end:
            return False
        if self._at(span.begin) > read_version:
            return True
        if span.end == key_after(span.begin):
            return False
        inside = self._versions.irange(span.begin, span.end, inclusive=(False, False))
        return any(self._versions[boundary] > read_version for boundary in inside)

    def write(self, span: KeyRange, version: int) -> None:
        """Note that the range was written at ``version``, which is the newest so far."""
        if span.begin >= span.end:
            return
        if span.begin in self._versions and span.end == key_after(span.begin):
            # One key, as last time: nothing lies in between, and mostly its end is there as well.
            if span.end not in self._versions:
                self._versions[span.end] = self._versions[span.begin]
            self._versions[span.begin] = version
            return
        after = self._at(span.end)
        for boundary in list(self._versions.irange(span.begin, span.end, inclusive=(True, False))):
            del self._versions[boundary]
        self._versions[span.begin] = version
        self._versions.setdefault(span.end, after)

    def forget(self, floor: int, newest: int) -> None:
        """Raise the floor; drop boundaries that say nothing any more, when there are many.

        When even the rest is too much the floor rises to ``newest``: everybody under way retries.
        """
        self.floor = max(self.floor, floor)
        if len(self._versions) <= self._next_prune:
            return
        self._prune()
        if len(self._versions) > self._max_boundaries:
            self.floor = newest
            self._versions = SortedDict({b"": newest})
        self._next_prune = max(self._max_boundaries, 2 * len(self._versions))

    def _at(self, key: bytes) -> int:
        exact = self._versions.get(key)
        if exact is not None:
            return int(exact)
        index = self._versions.bisect_right(key) - 1
        return int(self._versions.peekitem(index)[1])

    def _prune(self) -> None:
        kept: list[tuple[bytes, int]] = []
        for boundary, version in self._versions.items():
            flat = max(version, self.floor)
            if not kept or kept[-1][1] != flat:
                kept.append((boundary, flat))
        self._versions = SortedDict(kept)
