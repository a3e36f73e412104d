"""A manifest's entry for one path, and its stored form. Pure.

An entry is the state of a path from one version on: a file with the chunks it consists of, a directory,
a link, or ``GONE``. A name in a manifest is bytes: file systems know no encoding.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from actors.core.errors.store import StoreFailed
from actors.core.quotas import Amount
from actors.core.records.base import Record

_SCHEMA = 1
_HEAD = struct.Struct(">BcHQqqQH")
_CHUNK = struct.Struct(">32sI")

MAX_CHUNKS = 2500
"""A file of more does not fit a value of the store, of 100,000 bytes, with a long target or name."""


class Kind(StrEnum):
    """Kinds of what is at a path."""

    FILE = "f"
    DIRECTORY = "d"
    LINK = "l"
    GONE = "-"


HOLE = bytes(32)
"""Stands for a chunk's name where a file has a hole; no data has it, short of a broken BLAKE3."""

MAX_HOLE = 1 << 30
"""A longer hole is several, since a chunk's size has four bytes."""


class ChunkRef(NamedTuple):
    """One chunk of a file: its BLAKE3 name and its size; or with ``HOLE`` for a name, a hole."""

    name: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A path's state. Times are nanoseconds; ``changed_ns`` and ``inode`` only say whether to look again."""

    kind: Kind
    mode: int = 0
    size: int = 0
    modified_ns: int = 0
    changed_ns: int = 0
    inode: int = 0
    target: bytes = b""
    chunks: tuple[ChunkRef, ...] = ()
    unallocated: int = 0
    """Of a file whose chunks are not known yet: bytes of it that take no room, as far as can be seen."""

    @property
    def holes(self) -> int:
        """The bytes of it that are holes."""
        return sum(chunk.size for chunk in self.chunks if chunk.name == HOLE)

    @property
    def data(self) -> tuple[ChunkRef, ...]:
        """The chunks that there are bytes of."""
        return tuple(chunk for chunk in self.chunks if chunk.name != HOLE)

    @property
    def stamp(self) -> tuple[str, int, int, int, int, int, bytes]:
        """Equal as long as nobody touched the path."""
        return (
            self.kind.value, self.mode, self.size, self.modified_ns, self.changed_ns, self.inode,
            self.target,
        )  # fmt: skip

    @property
    def etag(self) -> str:
        """The tag that CODI gives the file while it is unchanged (``files.etag_of``)."""
        return f'"{self.inode:x}-{self.size:x}-{self.modified_ns:x}"'

    @property
    def content(self) -> str:
        """A name of the content alone, the same for the same bytes."""
        digest = hashlib.blake2b(self.kind.encode() + self.target, digest_size=16)
        for chunk in self.chunks:
            digest.update(_CHUNK.pack(*chunk))
        return digest.hexdigest()

    @property
    def amount(self) -> Amount:
        """The amount that it counts for in its user's quotas, holes left out."""
        if self.kind is Kind.GONE:
            return Amount()
        if self.kind is not Kind.FILE:
            return Amount(0, 1)
        return Amount(self.size - (self.holes if self.chunks else self.unallocated), 1)


GONE = Entry(Kind.GONE)


class ManifestHead(Record):
    """``(tenant, "manifests", workspace_id)``.

    Versions from ``oldest`` to ``version`` can be read. ``incarnation`` names the directory that has
    everything of it: in any other one, what is missing has not been deleted but is yet to be restored.
    ``size`` and ``files`` are the bytes and paths of the newest version; in a store of an earlier release
    they only say what was added since, until they are ``counted``.
    """

    version: int = 0
    oldest: int = 0
    incarnation: str = ""
    updated_at: float = 0.0
    size: int = 0
    files: int = 0
    counts: int = 0


def encode(entry: Entry) -> bytes:
    """Return an entry's stored form."""
    head = _HEAD.pack(
        _SCHEMA, entry.kind.encode(), entry.mode, entry.size, entry.modified_ns,
        entry.changed_ns, entry.inode, len(entry.target),
    )  # fmt: skip
    return b"".join([head, entry.target, *(_CHUNK.pack(*chunk) for chunk in entry.chunks)])


def decode(data: bytes) -> Entry:
    """Return the entry. Raises StoreFailed for one that this version cannot read."""
    try:
        schema, kind, mode, size, modified, changed, inode, length = _HEAD.unpack_from(data)
        if schema != _SCHEMA:
            raise StoreFailed(f"a stored entry has schema {schema}: a newer server wrote it")
        chunks = _HEAD.size + length
        return Entry(
            kind=Kind(kind.decode()),
            mode=mode,
            size=size,
            modified_ns=modified,
            changed_ns=changed,
            inode=inode,
            target=data[_HEAD.size : chunks],
            chunks=tuple(map(ChunkRef._make, _CHUNK.iter_unpack(data[chunks:]))),
        )
    except (struct.error, ValueError) as error:
        raise StoreFailed(f"a stored entry does not parse: {error}") from error


def place(path: bytes) -> tuple[bytes, bytes]:
    """Return under which directory and name a path is kept.

    The directory by its digest: a key of the embedded store has up to 511 bytes, a path up to 4096.
    """
    directory, _, name = path.rpartition(b"/")
    return directory_digest(directory), name


def directory_digest(directory: bytes) -> bytes:
    """Return the digest that stands for a directory; the workspace's own path is empty."""
    return hashlib.blake2b(directory, digest_size=16).digest()


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of a name in a directory."""
    return directory + b"/" + name if directory else name
