"""Room on the disk for what the embedded store is about to write, taken before it is needed.

LMDB cannot distinguish a disk that fills up in the middle of a write from one that is broken: it calls
both an I/O error, after which the store must stop. So the file's blocks are allocated ahead, where
"no space" is a plain answer and nothing is lost. It also spares the file system's journal a
transaction with each commit that makes the file grow.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from cluster.store.engines.interface import Commit, MutationKind

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
STEP = 4 << 20
KEPT = 256 << 10
"""Bytes that only removals may use, so that a full store can be made emptier."""

_BATCH = 64 << 10
_A_COMMIT = 16 << 10
_A_MUTATION = 8 << 10


class Room:
    """The allocated length of one file, of which LMDB uses at most ``limit`` bytes."""

    def __init__(self, path: Path, limit: int) -> None:
        self._limit = limit
        self._file = os.open(path, os.O_RDWR)
        self._end = 0

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def ensure(self, used: int, needed: int) -> bool:
        """Allocate ``needed`` bytes beyond ``used``, and some more if possible; False when full.

        Beyond the limit nothing is allocated: there LMDB itself says that the store is full.
        """
        wanted = min(used + needed, self._limit)
        if wanted <= self._end:
            return True
        return self._allocate(min(wanted + STEP, self._limit)) or self._allocate(wanted)

    def _allocate(self, end: int) -> bool:
        try:
            os.posix_fallocate(self._file, self._end, end - self._end)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return False
        self._end = end
        return True


def needed(commits: Sequence[Commit]) -> int:
    """Return how many bytes a batch may add to the file: its data, and copies of the pages it touches."""
    size = _BATCH
    only_removes = True
    for commit in commits:
        size += _A_COMMIT
        for kind, key, value in commit.mutations:
            size += _A_MUTATION
            if kind is not MutationKind.CLEAR_RANGE:
                size += 2 * (len(key) + len(value))
                only_removes = False
    return size if only_removes else size + KEPT
