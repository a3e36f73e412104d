"""The layout of one server's data in a FoundationDB cluster that others may use, too.

    (prefix, 0) + key              the engine's keys, byte for byte
    (prefix, 1) + commit key       versionstamp of the commit that was sent under that key
    (prefix, 2) + versionstamp     commit key; oldest first, for removal

``(prefix, n)`` are FoundationDB tuples, so that one server's prefix never begins another's. What
the engine's limits allow fits FoundationDB's with a prefix before it (keys of 10,000 bytes).
"""

from __future__ import annotations

from cluster.store import tuples
from cluster.store.engines.interface import (
    OFFSET_BYTES,
    VERSIONSTAMP_BYTES,
    KeyRange,
    MutationKind,
    prefix_range,
)

VERSIONS_PER_SECOND = 1_000_000
_STAMP_HOLE = bytes(VERSIONSTAMP_BYTES)


class Layout:
    """The three branches below a prefix."""

    def __init__(self, prefix: str) -> None:
        self._data = bytes(tuples.pack((prefix, 0)))
        self._commits = bytes(tuples.pack((prefix, 1)))
        self._ages = bytes(tuples.pack((prefix, 2)))
        self.whole = prefix_range(bytes(tuples.pack((prefix,))))

    def key(self, key: bytes) -> bytes:
        """Return where a key of the engine lies."""
        return self._data + key

    def span(self, span: KeyRange) -> KeyRange:
        """Return where a range of the engine lies."""
        return KeyRange(self._data + span.begin, self._data + span.end)

    def strip(self, key: bytes) -> bytes:
        """Return the engine's key that lies at ``key``."""
        return key[len(self._data) :]

    def operand_key(self, kind: MutationKind, key: bytes) -> bytes:
        """Return the key operand of a mutation; a versionstamp's offset moves with the prefix."""
        if kind is not MutationKind.SET_VERSIONSTAMPED_KEY:
            return self._data + key
        offset = int.from_bytes(key[-OFFSET_BYTES:], "little") + len(self._data)
        return self._data + key[:-OFFSET_BYTES] + offset.to_bytes(OFFSET_BYTES, "little")

    def marker(self, commit_key: bytes) -> bytes:
        """Return the key that says whether a commit has been applied."""
        return self._commits + commit_key

    @staticmethod
    def marker_value() -> bytes:
        """Return the operand of SET_VERSIONSTAMPED_VALUE for a marker."""
        return _STAMP_HOLE + bytes(OFFSET_BYTES)

    @staticmethod
    def version_of(marker_value: bytes) -> int:
        """Return the commit version that a marker holds."""
        return int.from_bytes(marker_value[:8], "big")

    def age_key(self) -> bytes:
        """Return the operand of SET_VERSIONSTAMPED_KEY for a commit's place in the order of age."""
        return self._ages + _STAMP_HOLE + len(self._ages).to_bytes(OFFSET_BYTES, "little")

    def ages_before(self, version: int) -> KeyRange:
        """Return the range of the commits before a version."""
        return KeyRange(self._ages, self._ages + version.to_bytes(8, "big"))
