"""Bounds the lists of paths that a session shows: what is not archived, and what is not put back. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from actors.core.records.archive import LeftOut, Reason

LISTED = 50
LISTED_BYTES = 16 << 10
"""A session's list of these is one value of the store; names take up to four kilobytes each."""

Listed = tuple[bytes, Reason, int]
"""A path, why it is listed, and its size in bytes if that is known."""


def bounded(listed: Iterable[Listed]) -> list[LeftOut]:
    """Return the first of them, as many as may be listed."""
    chosen: list[LeftOut] = []
    size = 0
    for path, reason, amount in listed:
        size += len(path)
        if len(chosen) == LISTED or size > LISTED_BYTES:
            break
        chosen.append(LeftOut.of(path, reason, amount))
    return chosen
