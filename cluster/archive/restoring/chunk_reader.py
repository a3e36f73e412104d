"""Reads chunks back, wherever they are stored, and checks that each is what its name says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from actors.core.errors.workspaces import ContentMissing
from cluster.archive.packs import packs
from cluster.blobs import Blobs
from cluster.store.layers.entries import HOLE, ChunkRef, Entry
from cluster.store.layers.workspaces.chunks import Inline, Location, Packed

WINDOW_BYTES = 8 << 20
PACKS_AT_ONCE = 8
TRIES = 3
_THREAD_BYTES = 256 << 10
_LOCATED_AT_ONCE = 1000
_ZEROS = bytes(1 << 20)

Locate = Callable[[Sequence[bytes]], Awaitable[dict[bytes, Location]]]


class Found(NamedTuple):
    """Chunks by name, and for each that cannot be read the reason."""

    data: dict[bytes, bytes]
    lost: dict[bytes, str]


class ChunkReader:
    """The chunks of one workspace."""

    def __init__(self, blobs: Blobs, workspace_id: str, locate: Locate) -> None:
        self._blobs = blobs
        self._workspace_id = workspace_id
        self._locate = locate

    async def read(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return chunks by name. Raises ContentMissing when there is one that cannot be read.

        The caller bounds how much that is.
        """
        found = await self.find(names)
        for reason in found.lost.values():
            raise ContentMissing("", reason)
        return found.data

    async def find(self, names: Sequence[bytes]) -> Found:
        """Return chunks that can be read, and why others cannot; those of one pack are read at once."""
        stored: dict[bytes, bytes] = {}
        lost: dict[bytes, str] = {}
        wanted = list(dict.fromkeys(names))
        for _ in range(TRIES):
            found, gone = await self._read(wanted)
            stored |= found
            lost |= gone
            # Found nowhere: its pack was compacted and removed since its place was asked for.
            wanted = [name for name in wanted if name not in stored and name not in lost]
            if not wanted:
                break
        lost |= {name: f"the pack of chunk {name.hex()} is not there" for name in wanted}
        unpacked = await _unpacked(stored)
        return Found(unpacked.data, lost | unpacked.lost)

    async def check(self, chunks: Sequence[ChunkRef]) -> str | None:
        """Return why a file's chunks cannot all be read, as far as can be seen without reading them."""
        names = [chunk.name for chunk in chunks if chunk.name != HOLE]
        # Asked for first, so that a pack that is made meanwhile is in the listing.
        places: dict[bytes, Location] = {}
        for start in range(0, len(names), _LOCATED_AT_ONCE):
            places |= await self._locate(names[start : start + _LOCATED_AT_ONCE])
        sizes = {
            name: listed.size
            for name, listed in (await self._blobs.listing(self._workspace_id)).items()
        }
        for name in names:
            place = places.get(name)
            if place is None:
                return f"chunk {name.hex()} is not there"
            if isinstance(place, Packed):
                if place.pack not in sizes:
                    return f"pack {place.pack} is not there"
                if sizes[place.pack] < place.offset + place.size:
                    return f"pack {place.pack} is shorter than it was"
        return None

    async def _read(self, names: Sequence[bytes]) -> tuple[dict[bytes, bytes], dict[bytes, str]]:
        """Return stored chunks, and those that are lost; whose pack is not there is in neither."""
        stored: dict[bytes, bytes] = {}
        lost: dict[bytes, str] = {}
        by_pack: dict[str, list[tuple[bytes, Packed]]] = {}
        places = await self._locate(names)
        for name in names:
            place = places.get(name)
            if isinstance(place, Inline):
                stored[name] = place.data
            elif isinstance(place, Packed):
                by_pack.setdefault(place.pack, []).append((name, place))
            else:
                lost[name] = f"chunk {name.hex()} is not there"
        gate = asyncio.Semaphore(PACKS_AT_ONCE)

        async def read_pack(pack: str, members: list[tuple[bytes, Packed]]) -> None:
            members.sort(key=lambda each: each[1].offset)
            spans = [(place.offset, place.size) for _, place in members]
            async with gate:
                try:
                    parts = await self._blobs.get(f"{self._workspace_id}/{pack}", spans)
                except NotFound:
                    return
                except Unavailable as error:
                    lost.update((name, error.reason) for name, _ in members)
                    return
            stored.update(zip((name for name, _ in members), parts, strict=True))

        await _together([read_pack(*each) for each in by_pack.items()])
        return stored, lost

    async def content(self, entry: Entry, *, holes: bool = True) -> AsyncIterator[bytes]:
        """Yield a file's bytes; a window of them is read while the one before it is used.

        Without ``holes`` those of its data alone. Raises ContentMissing.
        """
        ahead: asyncio.Task[dict[bytes, bytes]] | None = None
        try:
            for window, following in itertools.pairwise([*windows(entry.chunks), []]):
                found = await (ahead or self.read(_names(window)))
                ahead = asyncio.create_task(self.read(_names(following))) if following else None
                for chunk in window:
                    if chunk.name != HOLE:
                        yield found[chunk.name]
                    elif holes:
                        for part in _zeros(chunk.size):
                            yield part
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)


def holes_of(entry: Entry) -> list[tuple[int, int]]:
    """Return where a file has holes: offset and length of each, those that touch as one."""
    found: list[tuple[int, int]] = []
    offset = 0
    for chunk in entry.chunks:
        if chunk.name == HOLE:
            before = found.pop() if found and sum(found[-1]) == offset else (offset, 0)
            found.append((before[0], before[1] + chunk.size))
        offset += chunk.size
    return found


def _names(chunks: Sequence[ChunkRef]) -> list[bytes]:
    return [chunk.name for chunk in chunks if chunk.name != HOLE]


def _zeros(size: int) -> list[bytes]:
    return [_ZEROS] * (size // len(_ZEROS)) + [_ZEROS[: size % len(_ZEROS)]]


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do several things at once; the first error ends all of them and is raised as it is."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _unpacked(stored: dict[bytes, bytes]) -> Found:
    """Return what stored forms stand for, in a thread when that takes more than a millisecond or so."""

    def work() -> Found:
        found = Found({}, {})
        for name, data in stored.items():
            try:
                found.data[name] = packs.unpack(data, name)
            except Unavailable as error:
                found.lost[name] = error.reason
        return found

    if sum(map(len, stored.values())) < _THREAD_BYTES:
        return work()
    return await asyncio.to_thread(work)


def windows(chunks: Sequence[ChunkRef]) -> list[list[ChunkRef]]:
    """Divide chunks into runs of a bounded size each; holes count nothing."""
    divided: list[list[ChunkRef]] = []
    size = WINDOW_BYTES
    for chunk in chunks:
        amount = 0 if chunk.name == HOLE else chunk.size
        if not divided or size + amount > WINDOW_BYTES:
            divided.append([])
            size = 0
        divided[-1].append(chunk)
        size += amount
    return divided
