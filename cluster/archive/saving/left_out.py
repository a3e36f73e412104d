"""Keeps the list of paths that are not archived though no quota holds them. Pure: no I/O, no clock.

A path stays until it is archived, is gone, or a walk through the whole workspace does not meet it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from actors.core.records.archive import Reason, Unarchived
from cluster.archive.diff import ancestors
from cluster.archive.listing import LISTED, Listed, bounded
from cluster.archive.saving.quota_backlog import QuotaBacklog

MAX_PATHS = 20_000
BY_DESIGN = frozenset({Reason.EXCLUDED, Reason.SPECIAL})
"""Reasons that nobody needs to be warned of."""


class _Left(NamedTuple):
    reason: Reason
    size: int
    walk: int
    number: int


class LeftOutPaths:
    """The paths of one workspace that are left out. Beyond ``MAX_PATHS`` none is taken any more."""

    def __init__(self) -> None:
        self._paths: dict[bytes, _Left] = {}
        self._walk = 0
        self._notes = 0

    @property
    def notes(self) -> int:
        """How many notes were taken, to say later which are the newer ones."""
        return self._notes

    def __contains__(self, path: object) -> bool:
        return path in self._paths

    def listed(self) -> list[Listed]:
        """Return them, in order."""
        return sorted((path, left.reason, left.size) for path, left in self._paths.items())

    def note(self, path: bytes, reason: Reason, size: int = 0) -> None:
        """Take a path that is left out; ``size`` is how many bytes it has, if that is known."""
        if path in self._paths or len(self._paths) < MAX_PATHS:
            self._notes += 1
            self._paths[path] = _Left(reason, size, self._walk, self._notes)

    def met(self, paths: Iterable[bytes]) -> None:
        """Keep what is said of paths that are there, and are not read this time."""
        for path in paths:
            if path in self._paths:
                self._paths[path] = self._paths[path]._replace(walk=self._walk)

    def release(self, paths: Iterable[bytes]) -> None:
        """Forget paths that are archived."""
        for path in paths:
            self._paths.pop(path, None)

    def gone(
        self, paths: Collection[bytes], notes: int | None = None, *, closed: Collection[bytes] = ()
    ) -> bool:
        """Forget paths that are not there any more, and what was below them; return whether any was here.

        ``notes``: as many had been taken when that was seen, and a newer one stays. Below ``closed``
        paths, which are no directories, nothing is there either.
        """
        outer = {*paths, *closed}
        found = [
            path
            for path, left in (self._paths.items() if outer else ())
            if notes is None or left.number <= notes
            if path in paths or not outer.isdisjoint(ancestors(path))
        ]
        for path in found:
            del self._paths[path]
        return bool(found)

    def begin_walk(self) -> None:
        """Everything will be looked at."""
        self._walk += 1

    def end_walk(self, unread: Collection[bytes]) -> None:
        """Everything was looked at, but for what is ``unread`` yet: what was not met is not there."""
        for path in [p for p, left in self._paths.items() if left.walk < self._walk]:
            if path not in unread:
                del self._paths[path]


def report(
    left_out: LeftOutPaths,
    held: QuotaBacklog,
    session_id: str,
    before: Unarchived | None,
    now: float,
) -> Unarchived | None:
    """Return the report for a session's user, with what a quota holds as well; None: all is archived.

    ``before``: the report before this one.
    """
    found = left_out.listed()
    if not found and not held:
        return None
    loud = [each for each in found if each[1] not in BY_DESIGN]
    quiet = [each for each in found if each[1] in BY_DESIGN]
    over = [(path, Reason.QUOTA, size) for path, size in held.largest(LISTED)]
    return Unarchived(
        session_id=session_id,
        resource=held.lacks.value if held.lacks is not None else None,
        paths=held.paths + len(loud),
        size=held.size + sum(size for _, _, size in loud),
        since=before.since if before is not None else now,
        by_design=len(quiet),
        left_out=tuple(bounded([*over, *loud, *quiet])),
    )
