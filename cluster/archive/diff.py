"""Compares a look at a workspace with its manifest. Pure: no I/O, no clock.

CODI says how paths are (``Seen``), the manifest says how they were (entries). A path whose stamp is the
same has not been touched: its content is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from actors.core.errors.base import Unavailable
from actors.core.records.archive import Reason
from cluster.store.layers.entries import GONE, Entry, Kind

MAX_PATH_BYTES = 4000
"""Longer ones cannot be asked for in one piece (path_max(7)); they are not kept."""


SMALL_BYTES = 256 << 10
"""Up to here a file is one chunk and comes as a whole; what is larger comes piece by piece."""


_WHY = {"x": Reason.UNREADABLE, "e": Reason.EXCLUDED, "o": Reason.SPECIAL}


class Seen(NamedTuple):
    """A path as it is: ``entry`` without chunks, None when nothing is there that could be kept.

    ``why`` nothing of it can be kept. With ``UNREADABLE`` it is not even known what is there.
    """

    path: bytes
    entry: Entry | None
    why: Reason | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """``read``: paths whose content is wanted, as they are. ``gone``: what is not there any more.

    ``same``: paths that are as they were. ``inside``: directories. ``left_out``: paths, and why.
    """

    read: dict[bytes, Entry] = field(default_factory=dict)
    gone: dict[bytes, Entry] = field(default_factory=dict)
    same: dict[bytes, Entry] = field(default_factory=dict)
    inside: list[bytes] = field(default_factory=list)
    left_out: dict[bytes, Reason] = field(default_factory=dict)


def seen(item: list[Any], directory: bytes | None = None) -> Seen:
    """Return what an item of CODI says. Raises Unavailable for nonsense.

    ``directory``: the item's name is relative to it.
    """
    try:
        path = str(item[0]).encode("utf-8", "surrogateescape")
        if directory:
            path = directory + b"/" + path
        entry, why = None, None
        match item[1:]:
            case []:
                pass
            case [str(kind), *_] if kind in _WHY:
                why = _WHY[kind]
            case _ if len(path) > MAX_PATH_BYTES:
                why = Reason.PATH_TOO_LONG
            case ["d", mode, *_]:
                # A directory's times and size follow from what is in it.
                entry = Entry(Kind.DIRECTORY, mode=mode)
            case ["f" | "l" as kind, mode, size, modified, changed, inode, target, allocated]:
                text = "" if target is None else str(target)
                entry = Entry(
                    Kind(kind), mode, size, modified, changed, inode,
                    text.encode("utf-8", "surrogateescape"),
                    unallocated=max(0, size - allocated) if size > SMALL_BYTES else 0,
                )  # fmt: skip
            case _:
                raise Unavailable("the container", "it says what cannot be")
    except (ValueError, TypeError, IndexError) as error:
        raise Unavailable("the container", f"it says what cannot be: {error}") from error
    return Seen(path, entry, why)


def differs(entry: Entry | None, known: Entry | None) -> bool:
    """Return whether a path has to be looked into."""
    if entry is None or known is None:
        return entry is not known
    return entry.stamp != known.stamp


def of_listing(
    directory: bytes, items: Iterable[list[Any]], known: Mapping[bytes, Entry]
) -> Difference:
    """Compare what lies in a directory with what did; ``known`` by name, paths in the answer are whole."""
    prefix = directory + b"/" if directory else b""
    difference = Difference()
    met: set[bytes] = set()
    for item in items:
        path, entry, why = seen(item, directory)
        name = path.removeprefix(prefix)
        before = known.get(name)
        met.add(name)
        if why is not None:
            difference.left_out[path] = why
        if why is Reason.UNREADABLE:
            continue
        if entry is not None and entry.kind is Kind.DIRECTORY:
            difference.inside.append(path)
        if not differs(entry, before):
            difference.same[path] = entry or GONE
        elif entry is not None:
            difference.read[path] = entry
        elif before is not None:
            difference.gone[path] = before
    difference.gone.update({prefix + name: known[name] for name in known.keys() - met})
    return difference


def ancestors(path: bytes) -> list[bytes]:
    """Return the directories above a path, the outermost first, but for those that are not kept."""
    ends = [at for at, byte in enumerate(path[: MAX_PATH_BYTES + 1]) if byte == ord("/")]
    return [path[:end] for end in ends]


def merged(found: Entry, known: Entry | None) -> Entry | None:
    """Return a restored path's entry: its content is known, its stamps are the new ones.

    None when what is known is not its content: it was written to, and has to be read.
    """
    chunks = () if known is None else known.chunks
    if sum(chunk.size for chunk in chunks) != found.size:
        return None
    return replace(found, chunks=chunks)
