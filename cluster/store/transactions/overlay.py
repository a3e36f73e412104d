"""A transaction's own writes, laid over what the store has: read-your-writes."""

from __future__ import annotations

from collections.abc import Callable

from sortedcontainers import SortedDict

from cluster.store.engines.interface import KeyRange, key_after

Change = Callable[[bytes | None], bytes | None]


class Overlay:
    """Writes so far. A key is either known (set or cleared) or changed on top of the base."""

    def __init__(self) -> None:
        self._known: SortedDict[bytes, bytes | None] = SortedDict()
        self._changes: SortedDict[bytes, list[Change]] = SortedDict()
        self._cleared: list[KeyRange] = []

    def set(self, key: bytes, value: bytes) -> None:
        """Note a set."""
        self._known[key] = value
        self._changes.pop(key, None)

    def clear(self, span: KeyRange) -> None:
        """Note a cleared range."""
        for table in (self._known, self._changes):
            for key in list(table.irange(*span, inclusive=(True, False))):
                del table[key]
        self._cleared.append(span)

    def mutate(self, key: bytes, change: Change) -> None:
        """Note an atomic operation."""
        if self.needs_base(key):
            self._changes.setdefault(key, []).append(change)
        else:
            self._known[key] = change(self.value(key, None))

    def needs_base(self, key: bytes) -> bool:
        """Return whether a key's value depends on what the store has."""
        return key not in self._known and not self._is_cleared(key)

    def value(self, key: bytes, base: bytes | None) -> bytes | None:
        """Return a key's value, given what the store has (ignored where it does not matter)."""
        if key in self._known:
            return self._known[key]  # type: ignore[no-any-return]
        value = None if self._is_cleared(key) else base
        for change in self._changes.get(key, ()):
            value = change(value)
        return value

    def merge(
        self, pairs: list[tuple[bytes, bytes]], span: KeyRange, *, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Return the pairs of ``span`` with the writes applied; ``pairs`` are all the store has there."""
        if not (self._known or self._changes or self._cleared):
            return pairs
        base = dict(pairs)
        keys = set(base)
        for table in (self._known, self._changes):
            keys.update(table.irange(*span, inclusive=(True, False)))
        merged = []
        for key in sorted(keys, reverse=reverse):
            value = self.value(key, base.get(key))
            if value is not None:
                merged.append((key, value))
        return merged

    def needed_base(self, span: KeyRange) -> list[KeyRange]:
        """Return the parts of a range that depend on what the store has: what a read conflicts with."""
        known = [KeyRange(k, key_after(k)) for k in self._known.irange(*span, (True, False))]
        parts: list[KeyRange] = []
        begin = span.begin
        for hole in sorted([*known, *self._cleared]):
            if hole.end <= begin:
                continue
            if hole.begin >= span.end:
                break
            if begin < hole.begin:
                parts.append(KeyRange(begin, hole.begin))
            begin = hole.end
        if begin < span.end:
            parts.append(KeyRange(begin, span.end))
        return parts

    def _is_cleared(self, key: bytes) -> bool:
        return any(span.begin <= key < span.end for span in self._cleared)
