"""Marks of what changed in the workspace since its follower looked last. Pure: no I/O, no clock.

A level, not a log: of a path that changed a hundred times the follower learns once that it has to
look. A mark stays until the follower says, by the cursor of its next question, that what it learned
is dealt with; so a follower that dies in between leaves nothing unseen. A mark of a *tree* asks for a
look at everything below a directory. Too many marks become one mark of the whole tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ROOT = b"."
MAX_MARKS = 20_000


class Mark(NamedTuple):
    """A path to look at; with ``tree`` also everything below it."""

    path: bytes
    tree: bool


class Changes(NamedTuple):
    """Marks in the order in which they were made; ``cursor`` acknowledges them."""

    cursor: int
    marks: list[Mark]


class Feed:
    """The marks of one workspace."""

    def __init__(self, limit: int = MAX_MARKS) -> None:
        self._limit = limit
        self._marks: dict[bytes, tuple[int, bool]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._marks)

    def mark(self, path: bytes, *, tree: bool = False) -> None:
        """Note that a path changed. The newest mark is last, so that it outlives an older cursor."""
        _, was_tree = self._marks.pop(path, (0, False))
        self._last += 1
        if len(self._marks) >= self._limit:
            self._marks.clear()
            path, tree = ROOT, True
        self._marks[path] = (self._last, tree or was_tree)

    def acknowledge(self, cursor: int) -> None:
        """Forget what was reported up to this cursor."""
        done = []
        for path, (number, _) in self._marks.items():
            if number > cursor:
                break
            done.append(path)
        for path in done:
            del self._marks[path]

    def changes(self, limit: int) -> Changes:
        """Return the oldest marks, at most ``limit``. A tree within another of them is no tree of its own."""
        marks: list[Mark] = []
        cursor = self._last
        for path, (number, tree) in self._marks.items():
            if len(marks) == limit:
                break
            marks.append(Mark(path, tree))
            cursor = number
        trees = set(outermost(mark.path for mark in marks if mark.tree))
        return Changes(cursor, [Mark(path, tree and path in trees) for path, tree in marks])


def outermost(directories: Iterable[bytes]) -> list[bytes]:
    """Return those directories that lie in none of the others."""
    found: list[bytes] = []
    # With the slash, what lies in a directory comes right behind it.
    for path in sorted(directories, key=lambda each: each + b"/"):
        if path == ROOT:
            return [ROOT]
        if not found or not (path + b"/").startswith(found[-1] + b"/"):
            found.append(path)
    return found
