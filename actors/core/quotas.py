"""Limits of one user: what may be had, what is left of it, and what fits into that. Pure.

A limit of 0 is none. What is *used* is counted in the store (``cluster.store.layers.usage``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class Resource(StrEnum):
    """Limited resources. ``FILES`` counts files, directories and links; bytes are contents' sizes.

    ``VARIABLES`` are variables and secrets, with the bytes of their names and values.
    """

    FILE_BYTES = "file_bytes"
    FILES = "files"
    JOURNAL_BYTES = "journal_bytes"
    CONTAINERS = "containers"
    SESSIONS = "sessions"
    VARIABLES = "variables"
    VARIABLE_BYTES = "variable_bytes"


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of a user, over all sessions together; 0: unlimited."""

    file_bytes: int = 0
    files: int = 0
    journal_bytes: int = 0
    containers: int = 0
    sessions: int = 0
    variables: int = 0
    variable_bytes: int = 0

    def limit(self, resource: Resource) -> int | None:
        """Return a limit; None: unlimited."""
        limit: int = getattr(self, resource.value)
        return limit or None

    def overridden(self, changes: Mapping[str, int]) -> Quotas:
        """Return these limits with others in place of some; names that are not known are left out."""
        names = {field.name for field in fields(self)}
        return replace(self, **{n: limit for n, limit in changes.items() if n in names})


class Usage(NamedTuple):
    """Use of a resource, and its limit; None: unlimited."""

    used: int
    limit: int | None


class Amount(NamedTuple):
    """Bytes and paths of a workspace, or what a change adds to them."""

    size: int = 0
    files: int = 0

    def plus(self, other: Amount) -> Amount:
        """Return the sum."""
        return Amount(self.size + other.size, self.files + other.files)

    def minus(self, other: Amount) -> Amount:
        """Return the difference."""
        return Amount(self.size - other.size, self.files - other.files)

    @property
    def grows(self) -> bool:
        """True if either becomes more."""
        return self.size > 0 or self.files > 0


class Room(NamedTuple):
    """Use and limits of bytes and of paths."""

    size: Usage
    files: Usage

    def lacking(self, growth: Amount) -> Resource | None:
        """Return what does not suffice for a growth; what becomes less or stays is always allowed."""
        if _exceeds(self.size, growth.size):
            return Resource.FILE_BYTES
        return Resource.FILES if _exceeds(self.files, growth.files) else None

    def with_more(self, growth: Amount) -> Room:
        """Return what is left when that is used as well."""
        return Room(
            self.size._replace(used=self.size.used + growth.size),
            self.files._replace(used=self.files.used + growth.files),
        )

    def left(self, resource: Resource) -> int | None:
        """Return how much more may be used; None: any."""
        usage = self.size if resource is Resource.FILE_BYTES else self.files
        return None if usage.limit is None else max(0, usage.limit - usage.used)


def _exceeds(usage: Usage, growth: int) -> bool:
    return growth > 0 and usage.limit is not None and usage.used + growth > usage.limit


class Fitting(NamedTuple):
    """Changes that fit; ``held`` are those that do not, and ``lacks`` what the first of them lacked."""

    fits: list[bytes]
    held: list[bytes]
    lacks: Resource | None


def fit(growths: Mapping[bytes, Amount], room: Room) -> Fitting:
    """Choose the changes of paths that fit into the room, all that take nothing among them.

    What lies in a directory comes behind it, so that nothing is kept whose directory is not: a
    directory only lacks when no path more is allowed, and then what is in it does as well.
    """
    fits = [path for path, growth in growths.items() if not growth.grows]
    for path in fits:
        room = room.with_more(growths[path])
    held: list[bytes] = []
    lacks: Resource | None = None
    for path in sorted(growths.keys() - set(fits)):
        lacking = room.lacking(growths[path])
        if lacking is None:
            fits.append(path)
            room = room.with_more(growths[path])
        else:
            held.append(path)
            lacks = lacks or lacking
    return Fitting(fits, held, lacks)


def level(sizes: Sequence[int], total: int) -> int:
    """Return the largest bound at which sizes, each cut to it, are together at most ``total``."""
    left = max(0, total)
    ordered = sorted(sizes)
    for index, size in enumerate(ordered):
        share = left // (len(ordered) - index)
        if size > share:
            return share
        left -= size
    return max(ordered, default=0)


def totals(amounts: Iterable[Amount]) -> Amount:
    """Return the sum."""
    result = Amount()
    for amount in amounts:
        result = result.plus(amount)
    return result
