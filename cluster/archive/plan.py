"""What a look at a workspace means for its manifest. Pure: no I/O, no clock.

CODI says how paths are (``Seen``), the manifest says how they were (entries). A path whose stamp is the
same has not been touched: its content is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from actors.errors import Unavailable
from cluster.store.entries import Entry, Kind

MAX_PATH_BYTES = 4000
"""Longer ones cannot be asked for in one piece (path_max(7)); they are not kept."""


class Seen(NamedTuple):
    """How a path is: ``entry`` without chunks, None when nothing is there (to be kept)."""

    path: bytes
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Difference:
    """``read``: paths whose content is wanted, as they are. ``gone``: what is not there any more.

    ``inside``: directories.
    """

    read: dict[bytes, Entry]
    gone: list[bytes]
    inside: list[bytes]


def seen(item: list[Any], directory: bytes | None = None) -> Seen | None:
    """Return what an item of CODI says; None when permissions hide it. Raises Unavailable for nonsense.

    ``directory``: the item's name is relative to it.
    """
    try:
        path = str(item[0]).encode("utf-8", "surrogateescape")
        if directory:
            path = directory + b"/" + path
        match item[1:]:
            case []:
                return Seen(path, None)
            case ["x"]:
                return None
            case ["o", *_]:
                return Seen(path, None)
            case ["d", mode, *_]:
                # A directory's times and size follow from what is in it.
                return Seen(path, Entry(Kind.DIRECTORY, mode=mode))
            case ["f" | "l" as kind, mode, size, modified, changed, inode, target]:
                text = "" if target is None else str(target)
                entry = Entry(
                    Kind(kind), mode, size, modified, changed, inode,
                    text.encode("utf-8", "surrogateescape"),
                )  # fmt: skip
                return Seen(path, entry)
    except (ValueError, TypeError, IndexError) as error:
        raise Unavailable("the container", f"it says what cannot be: {error}") from error
    raise Unavailable("the container", "it says what cannot be")


def is_kept(path: bytes) -> bool:
    """Whether a path can be kept."""
    return 0 < len(path) <= MAX_PATH_BYTES and path != b"."


def differs(entry: Entry | None, known: Entry | None) -> bool:
    """Whether a path has to be looked into."""
    if entry is None or known is None:
        return entry is not known
    return entry.stamp != known.stamp


def of_listing(
    directory: bytes, items: Iterable[list[Any]], known: Mapping[bytes, Entry]
) -> Difference:
    """Compare what lies in a directory with what did; ``known`` by name, paths in the answer are whole."""
    prefix = directory + b"/" if directory else b""
    difference = Difference({}, [], [])
    met: set[bytes] = set()
    for item in items:
        name = str(item[0]).encode("utf-8", "surrogateescape")
        met.add(name)
        found = seen(item, directory)
        if found is None or not is_kept(found.path):
            continue
        if found.entry is not None and found.entry.kind is Kind.DIRECTORY:
            difference.inside.append(found.path)
        if differs(found.entry, known.get(name)):
            if found.entry is None:
                difference.gone.append(found.path)
            else:
                difference.read[found.path] = found.entry
    difference.gone.extend(prefix + name for name in known if name not in met)
    return difference


def ancestors(path: bytes) -> list[bytes]:
    """Return the directories above a path, the outermost first."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


def merged(found: Entry, known: Entry | None) -> Entry | None:
    """Return a restored path's entry: its content is known, its stamps are the new ones.

    None when what is known is not its content: it was written to, and has to be read.
    """
    chunks = () if known is None else known.chunks
    if sum(chunk.size for chunk in chunks) != found.size:
        return None
    return replace(found, chunks=chunks)


def restore_order(files: Iterable[tuple[bytes, Entry]]) -> list[tuple[bytes, Entry]]:
    """Return files in the order in which they are wanted: the most recently used first."""
    return sorted(files, key=lambda each: -each[1].modified_ns)
