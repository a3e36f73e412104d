"""Decides what a syncer reads, what it commits of that, and what it looks at again. Pure: no I/O, no clock.

The shell (``rounds``, ``versions``) brings facts: what CODI says of paths, what the manifest has of them,
the user's room, what reading came to. These rules keep anything from getting lost:

* What was reported or listed is a reason to look, never to commit, also where a path is gone: it may
  have been made anew and saved since. Only what a ``Look`` found is committed.
* A look begins before its paths are read, and never overwrites what others commit meanwhile: such
  paths are looked at again.
* Additions come before losses, or in one version with them.
* The absence of what is yet to be put back, or of directories above it, means nothing, unless somebody
  deletes that very path.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from actors.core.errors.base import Unavailable
from actors.core.quotas import Amount, Room, fit, totals
from actors.core.records.archive import Reason
from cluster.archive.diff import SMALL_BYTES, Seen, ancestors, differs
from cluster.archive.look import Look
from cluster.archive.saving.left_out import LeftOutPaths
from cluster.archive.saving.quota_backlog import QuotaBacklog
from cluster.store.layers.entries import GONE, Entry, Kind
from cluster.store.layers.workspaces.chunks import Location

READ_AT_ONCE = 1000
TRIES = 8
UNSTEADY_TRIES = 3


class Restoring(Protocol):
    """The paths yet to be put back into the workspace's directory."""

    @property
    def opened(self) -> Container[bytes]:
        """Directories that have more permissions for the time being than they should."""

    @property
    def complete_incarnation(self) -> str | None:
        """The directory's name, once it has everything."""

    def awaits(self, path: bytes, *, within: bool = False) -> bool:
        """Return whether a path may be absent only because it, or what is in it, is not put back yet.

        ``within``: only because of what is in it. Raises Unavailable as long as it is not known whether
        the directory is complete.
        """


@dataclass(slots=True)
class Taken:
    """The outcome of reading: entries by path, and where the chunks are that were new.

    ``large`` are files that are yet to be read, as they are. ``unsteady`` are files that changed while they
    were read: they are to be read again. ``left_out`` are paths that are not to be kept, and why, with
    their size. ``stored_at`` is when the oldest pack was written, on the clock's monotonic time.
    """

    entries: dict[bytes, Entry] = field(default_factory=dict)
    stored: dict[bytes, Location] = field(default_factory=dict)
    large: dict[bytes, Entry] = field(default_factory=dict)
    unsteady: list[bytes] = field(default_factory=list)
    left_out: dict[bytes, tuple[Reason, int]] = field(default_factory=dict)
    stored_at: float | None = None
    read_bytes: int = 0
    new_bytes: int = 0

    def leave_out(self, path: bytes, reason: Reason, size: int = 0) -> None:
        """Note that a path is not to be kept."""
        self.left_out[path] = (reason, size)

    def absent(self, path: bytes) -> bool:
        """Return whether nothing is there, also nothing that is left out."""
        return self.entries[path].kind is Kind.GONE and path not in self.left_out

    def add(self, other: Taken) -> None:
        """Take over what was read behind it."""
        self.entries |= other.entries
        self.stored |= other.stored
        self.large |= other.large
        self.unsteady += other.unsteady
        self.left_out |= other.left_out
        self.stored_at = other.stored_at if self.stored_at is None else self.stored_at
        self.read_bytes += other.read_bytes
        self.new_bytes += other.new_bytes


# ---- what to look into ------------------------------------------------------------------------------


class Marked(NamedTuple):
    """Single paths that are to be looked into, or are as they were; directories to be walked through."""

    found: dict[bytes, Entry]
    gone: dict[bytes, Entry]
    same: dict[bytes, Entry]
    trees: list[bytes]


def of_marks(
    marked: Sequence[Seen], known: Mapping[bytes, Entry], left_out: LeftOutPaths
) -> Marked:
    """Compare how single paths are with the manifest, and keep the list of what is left out."""
    work = Marked({}, {}, {}, [])
    left_out.gone((), closed={each.path for each in marked if is_closed(each.entry, each.why)})
    for path, entry, why in marked:
        if why is not None:
            left_out.note(path, why)
            if why is Reason.UNREADABLE:
                continue
        elif (entry is None or entry.kind is Kind.DIRECTORY) and left_out.gone([path]) and entry:
            # It may be in reach by now; what is not is met again.
            work.trees.append(path)
        if differs(entry, known.get(path)):
            (work.gone if entry is None else work.found)[path] = entry or GONE
            continue
        work.same[path] = entry or GONE
        if entry is not None and entry.kind is not Kind.DIRECTORY:
            left_out.release([path])
    return work


def is_closed(entry: Entry | None, why: Reason | None) -> bool:
    """Return whether a path that is there is no directory."""
    if entry is None or entry.kind is Kind.GONE:
        return why is Reason.SPECIAL
    return entry.kind is not Kind.DIRECTORY


class Reads:
    """Paths that are to be looked into, in batches. What is to be looked at again waits behind the others."""

    def __init__(self, wanted: Mapping[bytes, Entry], at_once: int = READ_AT_ONCE) -> None:
        self._left = dict(wanted)
        self._at_once = at_once
        self._tries: Counter[bytes] = Counter()

    def batch(self) -> dict[bytes, Entry]:
        """Return the next paths, as they were seen; none: all are done."""
        return dict(itertools.islice(self._left.items(), self._at_once))

    def wanted(
        self, batch: Mapping[bytes, Entry], known: Mapping[bytes, Entry]
    ) -> dict[bytes, Entry]:
        """Return the paths of a batch but for those that somebody else has committed by now."""
        return {
            path: entry
            for path, entry in batch.items()
            if path in self._tries or changed(entry, known.get(path))
        }

    def done(
        self, batch: Collection[bytes], again: Collection[bytes], unsteady: Collection[bytes]
    ) -> list[bytes]:
        """Take note of a batch; return the files that are left as they are known.

        ``again``: paths that others have committed meanwhile. ``unsteady``: files that have changed
        meanwhile. One that changes all the time is left, since its next change is reported. Raises
        Unavailable when others are always quicker: whoever follows anew looks at everything.
        """
        before = {path: self._left.pop(path) for path in batch}
        tried = [*again, *unsteady]
        self._tries.update(dict.fromkeys(tried, 1))
        left = [path for path in unsteady if self._tries[path] > UNSTEADY_TRIES]
        if any(self._tries[path] >= TRIES for path in again):
            raise Unavailable("the workspace", "its files change faster than they can be read")
        self._left |= {path: before.get(path, GONE) for path in tried if path not in left}
        return left


def is_large(entry: Entry) -> bool:
    """Return whether a file is read piece by piece, beside the small ones."""
    return entry.kind is Kind.FILE and entry.size > SMALL_BYTES


def fitting(
    found: Mapping[bytes, Entry],
    known: Mapping[bytes, Entry],
    room: Room,
    held: QuotaBacklog,
    look: Look,
    unread: Container[bytes] = (),
) -> dict[bytes, Entry]:
    """Return what the user's room allows; the rest is held, but for what others have committed.

    With a directory that is held is held what comes to lie in it. ``unread`` are paths that could not be
    read last time: they take room from others once they can be.
    """
    growths = {
        path: entry.amount.minus(known[path].amount if path in known else Amount())
        for path, entry in found.items()
    }
    fits, over, lacks = fit({p: each for p, each in growths.items() if p not in unread}, room)
    if held:
        over += [p for p in growths if growths[p].grows and any(o in held for o in ancestors(p))]
        lacks = lacks or held.lacks
    refused = {path: growths[path] for path in over if path not in look.others}
    if refused and lacks is not None:
        # The room that the others leave: any more than that is worth another look.
        taken = totals(growths[path] for path in fits if path not in refused)
        held.hold(refused, lacks, room.with_more(taken))
    return {path: entry for path, entry in found.items() if path not in refused}


# ---- what to commit ---------------------------------------------------------------------------------


class Commit(NamedTuple):
    """Changes to commit, and the directories below which everything has to be gone before.

    ``same``: what is kept already; of a save, what was to be saved.
    """

    changes: dict[bytes, Entry]
    emptied: list[bytes]
    same: dict[bytes, Entry]


def of_round(taken: Taken, known: Mapping[bytes, Entry], restoring: Restoring) -> Commit:
    """Return what is to be committed of what was read."""
    same = unchanged(taken, known)
    changes = {
        path: entry
        for path, entry in taken.entries.items()
        if path not in same
        and not (taken.absent(path) and restoring.awaits(path))
        and not (entry.kind is Kind.DIRECTORY and path in restoring.opened)
    }
    return Commit(changes, list(_emptied(changes, known)), same)


def of_save(
    taken: Taken,
    known: Mapping[bytes, Entry],
    paths: Collection[bytes],
    restoring: Restoring,
    *,
    is_answered: bool,
    given_up: Container[bytes] = (),
) -> Commit:
    """Return what a save of ``paths`` commits; what was read are these and the directories above.

    ``is_answered``: it has to have a version, even when nothing is there any more. ``given_up``: nothing
    below these paths is to be put back any more.
    """
    work = Commit({}, [], {})
    # No quota refuses a deletion: directories that are held stay so when what is in them goes.
    deletes = all(taken.entries.get(path) is GONE for path in paths)
    for path, entry in taken.entries.items():
        before, named = known.get(path), path in paths
        if not named and deletes and before is None:
            continue
        may_go = named and (path in given_up or before is None or before.kind is not Kind.DIRECTORY)
        if taken.absent(path) and not may_go and restoring.awaits(path, within=named):
            continue
        if changed(entry, before):
            work.changes[path] = entry
        elif named and (entry is not GONE or is_answered):
            work.same[path] = entry
    work.emptied.extend(_emptied(work.changes, known))
    return work


def _emptied(changes: Mapping[bytes, Entry], known: Mapping[bytes, Entry]) -> Iterator[bytes]:
    for path, entry in changes.items():
        if path in known and known[path].kind is Kind.DIRECTORY != entry.kind:
            yield path


def unchanged(taken: Taken, known: Mapping[bytes, Entry]) -> dict[bytes, Entry]:
    """Return what was read and is as the manifest has it."""
    found = taken.entries.items()
    return {path: entry for path, entry in found if not changed(entry, known.get(path))}


def changed(entry: Entry, known: Entry | None) -> bool:
    """Return whether a path, which may be ``GONE``, is not as the manifest has it."""
    return differs(None if entry.kind is Kind.GONE else entry, known)
