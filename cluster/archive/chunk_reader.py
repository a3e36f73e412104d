"""Reads chunks back, wherever they are stored, and checks that each is what its name says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

from actors.errors import NotFound, Unavailable
from cluster.archive import packs
from cluster.archive.blobs import Blobs
from cluster.store.chunks import Inline, Location, Packed
from cluster.store.entries import ChunkRef, Entry

WINDOW_BYTES = 8 << 20
PACKS_AT_ONCE = 8
TRIES = 3
_THREAD_BYTES = 256 << 10

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
        stored: dict[bytes, bytes] = {}
        wanted = list(dict.fromkeys(names))
        for _ in range(TRIES):
            stored |= await self._read(wanted)
            # Found nowhere: its pack was compacted and removed since its place was asked for.
            wanted = [name for name in wanted if name not in stored]
            if not wanted:
                return await _unpacked(stored)
        raise Unavailable("chunk store", f"the pack of chunk {wanted[0].hex()} is not there")

    async def _read(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return stored chunks; those are left out whose pack is gone."""
        stored: dict[bytes, bytes] = {}
        by_pack: dict[str, list[tuple[bytes, Packed]]] = {}
        places = await self._locate(names)
        for name in names:
            place = places.get(name)
            if isinstance(place, Inline):
                stored[name] = place.data
            elif isinstance(place, Packed):
                by_pack.setdefault(place.pack, []).append((name, place))
            else:
                raise Unavailable("chunk store", f"chunk {name.hex()} is not there")
        gate = asyncio.Semaphore(PACKS_AT_ONCE)

        async def read_pack(pack: str, members: list[tuple[bytes, Packed]]) -> None:
            members.sort(key=lambda each: each[1].offset)
            spans = [(place.offset, place.size) for _, place in members]
            async with gate:
                try:
                    parts = await self._blobs.get(f"{self._workspace_id}/{pack}", spans)
                except NotFound:
                    return
            stored.update(zip((name for name, _ in members), parts, strict=True))

        await _together([read_pack(*each) for each in by_pack.items()])
        return stored

    async def content(self, entry: Entry) -> AsyncIterator[bytes]:
        """Yield a file's bytes; a window of them is read while the one before it is used."""
        ahead: asyncio.Task[dict[bytes, bytes]] | None = None
        try:
            for window, following in itertools.pairwise([*windows(entry.chunks), []]):
                found = await (ahead or self.read([chunk.name for chunk in window]))
                ahead = None
                if following:
                    ahead = asyncio.create_task(self.read([chunk.name for chunk in following]))
                for chunk in window:
                    yield found[chunk.name]
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do several things at once; the first error ends all of them and is raised as it is."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _unpacked(stored: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what stored forms stand for, in a thread when that takes more than a millisecond or so."""

    def work() -> dict[bytes, bytes]:
        return {name: packs.unpack(data, name) for name, data in stored.items()}

    if sum(map(len, stored.values())) < _THREAD_BYTES:
        return work()
    return await asyncio.to_thread(work)


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
