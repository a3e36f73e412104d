"""Decides what of a look at a workspace may be committed, while others commit what they saw. Pure.

Several look at a workspace side by side. A look begins before its paths are read, so what others commit
from then on may be newer than what it sees: such paths are looked at again, and an older look never hides
a newer one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cluster.archive.diff import ancestors
from cluster.store.layers.entries import Entry, Kind


@dataclass(slots=True, eq=False)
class Look:
    """A look at paths that is under way, and what others have committed of them since it began.

    ``only`` bounds what is noted to these paths and what is below them; None: whatever there is.
    ``outdated``: versions were found that nobody here has made, so that anything may have changed.
    """

    only: Collection[bytes] | None = None
    others: dict[bytes, Entry] = field(default_factory=dict)
    outdated: bool = False

    def note(self, committed: Mapping[bytes, Entry]) -> None:
        """Take note of a version that another one has made."""
        only = self.only
        for path, entry in committed.items():
            if only is None or path in only or any(outer in only for outer in ancestors(path)):
                self.others[path] = entry

    def part(
        self, changes: Mapping[bytes, Entry], *, whole: bool = False
    ) -> tuple[dict[bytes, Entry], list[bytes]]:
        """Return the changes that may be committed, and the paths that have to be looked at again.

        ``whole``: all of them may, or none.
        """
        since = set(changes) if self.outdated else self._since(changes)
        if whole and since:
            return {}, list(since)
        kept = {path: entry for path, entry in changes.items() if path not in since}
        # What another one saw was the same: there is nothing to look at again.
        return kept, [
            path
            for path in since
            if self.outdated
            or path not in self.others
            or self.others[path].stamp != changes[path].stamp
        ]

    def _since(self, changes: Mapping[bytes, Entry]) -> set[bytes]:
        """Return the changes of what others have committed, or that do not go with what they have."""
        others = self.others
        closed = {path for path, entry in others.items() if entry.kind is not Kind.DIRECTORY}
        above = {
            o for path, e in others.items() if e.kind is not Kind.GONE for o in ancestors(path)
        }
        return {
            path
            for path, entry in changes.items()
            if path in others
            or (path in above and entry.kind is not Kind.DIRECTORY)
            or (entry.kind is not Kind.GONE and not closed.isdisjoint(ancestors(path)))
        }
