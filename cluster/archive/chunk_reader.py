"""Reads chunks back, wherever they are stored, and checks that each is what its name says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from actors.errors import Unavailable
from cluster.archive import packs
from cluster.archive.blobs import Blobs
from cluster.store.entries import ChunkRef, Entry
from cluster.store.manifests import Inline, Location, Packed

WINDOW_BYTES = 8 << 20

Locate = Callable[[Sequence[bytes]], Awaitable[dict[bytes, Location]]]


class ChunkReader:
    """The chunks of one workspace."""

    def __init__(self, blobs: Blobs, workspace_id: str, locate: Locate) -> None:
        self._blobs = blobs
        self._workspace_id = workspace_id
        self._locate = locate

    async def read(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return chunks by name; those of one pack are read at once. Raises Unavailable.

        The caller bounds how much that is.
        """
        found: dict[bytes, bytes] = {}
        by_pack: dict[str, list[tuple[bytes, Packed]]] = {}
        places = await self._locate(list(dict.fromkeys(names)))
        for name in names:
            place = places.get(name)
            if isinstance(place, Inline):
                found[name] = packs.unpack(place.data, name)
            elif isinstance(place, Packed):
                by_pack.setdefault(place.pack, []).append((name, place))
            else:
                raise Unavailable("chunk store", f"chunk {name.hex()} is not there")
        for pack, members in by_pack.items():
            spans = [(place.offset, place.size) for _, place in members]
            parts = await self._blobs.get(f"{self._workspace_id}/{pack}", spans)
            for (name, _), stored in zip(members, parts, strict=True):
                found[name] = packs.unpack(stored, name)
        return found

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        """Yield a file's bytes, a few megabytes ahead of the reader at most."""
        for window in windows(entry.chunks):
            found = await self.read([chunk.name for chunk in window])
            for chunk in window:
                yield found[chunk.name]


def windows(chunks: Sequence[ChunkRef]) -> list[list[ChunkRef]]:
    """Divide chunks into runs of a bounded size each."""
    divided: list[list[ChunkRef]] = []
    size = WINDOW_BYTES
    for chunk in chunks:
        if size + chunk.size > WINDOW_BYTES:
            divided.append([])
            size = 0
        divided[-1].append(chunk)
        size += chunk.size
    return divided
