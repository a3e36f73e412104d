"""Takes contents out of a container: reads paths, stores what is new, and says what to commit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.errors import Unavailable
from actors.records import Route
from cluster.archive import packs, plan
from cluster.archive.blobs import Blobs
from cluster.codi.feed_client import FeedClient
from cluster.store.chunks import Location
from cluster.store.entries import GONE, MAX_CHUNKS, ChunkRef, Entry, Kind

READ_AT_ONCE = 1000
CHUNKS_AT_ONCE = 5000
_THREAD_BYTES = 256 << 10
_BLOCKS_AT_ONCE = 8 << 20
_CHUNKS_ASKED = 1000

Locate = Callable[[Sequence[bytes]], Awaitable[dict[bytes, Location]]]


@dataclass(slots=True)
class Taken:
    """What was read: entries by path, and where the chunks are that were new.

    ``unsteady`` are files that changed while they were read: they are to be read again. ``left`` are
    paths that were not read any more, since there are enough chunks for one transaction.
    ``stored_at`` is when the oldest pack was written, on the clock's monotonic time.
    """

    entries: dict[bytes, Entry] = field(default_factory=dict)
    stored: dict[bytes, Location] = field(default_factory=dict)
    unsteady: list[bytes] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    left: list[bytes] = field(default_factory=list)
    stored_at: float | None = None
    read_bytes: int = 0
    new_bytes: int = 0


class Intake:
    """Reads from one container into its workspace's chunks. ``locate``: which chunks are known."""

    def __init__(
        self,
        client: FeedClient,
        blobs: Blobs,
        workspace_id: str,
        locate: Locate,
        *,
        monotonic: Callable[[], float],
        new_id: Callable[[str], str],
        max_file: int,
    ) -> None:
        self._client = client
        self._blobs = blobs
        self._workspace_id = workspace_id
        self._locate = locate
        self._monotonic = monotonic
        self._new_id = new_id
        self._max_file = max_file

    async def take(self, route: Route, paths: Sequence[bytes], *, whole: bool = False) -> Taken:
        """Read paths (at most ``READ_AT_ONCE``) and store their new chunks durably.

        ``whole``: all of them, however many chunks they have. Raises StoreFull, Unavailable and their
        like; what was stored by then is swept up later.
        """
        taken = Taken()
        batch = self._new_batch()
        small: dict[bytes, bytes] = {}
        large: list[tuple[bytes, Entry]] = []
        waiting = chunks = number = 0
        texts = [path.decode("utf-8", "surrogateescape") for path in paths]
        async with contextlib.aclosing(self._client.contents(route, texts)) as records:
            async for header, data in records:
                number += 1
                if (file := self._sorted_in(header, data, taken)) is not None:
                    path, entry = file
                    if "chunks" in header:
                        large.append((path, entry))
                    else:
                        taken.entries[path] = entry
                        small |= {chunk.name: data for chunk in entry.chunks}
                    waiting, chunks = waiting + len(data), chunks + len(entry.chunks)
                if waiting >= _BLOCKS_AT_ONCE:
                    batch = await self._keep_small(small, batch, taken)
                    small, waiting = {}, 0
                if chunks >= CHUNKS_AT_ONCE and not whole:
                    taken.left = list(paths[number:])
                    break
        batch = await self._keep_small(small, batch, taken)
        for path, entry in large:
            batch = await self._keep_large(route, path, entry, batch, taken)
        await self._seal(batch, taken)
        return taken

    def _sorted_in(
        self, header: dict[str, Any], data: bytes, taken: Taken
    ) -> tuple[bytes, Entry] | None:
        """Return a file whose content is to be kept; note what else a path is."""
        taken.read_bytes += len(data)
        found = plan.seen(header["item"])
        if found is None or "failed" in header:
            taken.unreadable.append(str(header["item"][0]).encode("utf-8", "surrogateescape"))
            return None
        path, entry = found
        if entry is None:
            taken.entries[path] = GONE
            return None
        if entry.kind is not Kind.FILE:
            taken.entries[path] = entry
            return None
        listed = header.get("chunks")
        chunks = _whole(data) if listed is None else _chunks(listed)
        if entry.size > self._max_file or len(chunks) > MAX_CHUNKS:
            taken.unreadable.append(path)
        elif sum(chunk.size for chunk in chunks) != entry.size:
            taken.unsteady.append(path)
        else:
            return path, replace(entry, chunks=chunks)
        return None

    async def _keep_small(
        self, small: dict[bytes, bytes], batch: packs.Batch, taken: Taken
    ) -> packs.Batch:
        known = await self._known(list(small))
        new = {name: data for name, data in small.items() if name not in known}
        for name, stored in await _packed(new):
            batch = await self._add(name, stored, batch, taken)
        return batch

    async def _keep_large(
        self, route: Route, path: bytes, entry: Entry, batch: packs.Batch, taken: Taken
    ) -> packs.Batch:
        known = await self._known([chunk.name for chunk in entry.chunks])
        wanted: dict[bytes, tuple[int, int]] = {}
        offset = 0
        for chunk in entry.chunks:
            is_new = chunk.name not in known and chunk.name not in taken.stored
            if is_new and chunk.name not in batch:
                wanted[chunk.name] = (offset, chunk.size)
            offset += chunk.size
        text = path.decode("utf-8", "surrogateescape")
        names = list(wanted)
        try:
            blocks = self._client.blocks(route, text, list(wanted.values()))
            waiting: dict[bytes, bytes] = {}
            async for data in blocks:
                name = names.pop(0)
                if packs.name_of(data) != name:
                    taken.unsteady.append(path)
                    return batch
                waiting[name] = data
                taken.read_bytes += len(data)
                if sum(map(len, waiting.values())) >= _BLOCKS_AT_ONCE or not names:
                    for each, stored in await _packed(waiting):
                        batch = await self._add(each, stored, batch, taken)
                    waiting = {}
        except Unavailable:
            if not names:
                raise
            taken.unsteady.append(
                path
            )  # it became shorter, or the container is gone: see next time
            return batch
        taken.entries[path] = entry
        return batch

    async def _known(self, names: list[bytes]) -> set[bytes]:
        known: set[bytes] = set()
        for start in range(0, len(names), _CHUNKS_ASKED):
            known |= (await self._locate(names[start : start + _CHUNKS_ASKED])).keys()
        return known

    async def _add(
        self, name: bytes, stored: bytes, batch: packs.Batch, taken: Taken
    ) -> packs.Batch:
        batch.add(name, stored)
        if not batch.is_full:
            return batch
        await self._seal(batch, taken)
        return self._new_batch()

    async def _seal(self, batch: packs.Batch, taken: Taken) -> None:
        places, content = batch.sealed()
        if content:
            if taken.stored_at is None:
                taken.stored_at = self._monotonic()
            await self._blobs.put(f"{self._workspace_id}/{batch.pack_name}", content)
        taken.stored.update(places)
        taken.new_bytes += batch.size

    def _new_batch(self) -> packs.Batch:
        return packs.Batch(self._new_id("p"))


def _chunks(listed: list[Any]) -> tuple[ChunkRef, ...]:
    try:
        return tuple(ChunkRef(bytes.fromhex(name), int(size)) for name, size in listed)
    except (ValueError, TypeError) as error:
        raise Unavailable("the container", f"it says what cannot be: {error}") from error


def _whole(data: bytes) -> tuple[ChunkRef, ...]:
    """Return a small file's one chunk; an empty file has none."""
    return (ChunkRef(packs.name_of(data), len(data)),) if data else ()


async def _packed(chunks: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Compress chunks, in a thread when that takes more than a millisecond or so."""

    def work() -> list[tuple[bytes, bytes]]:
        return [(name, packs.pack(data)) for name, data in chunks.items()]

    if sum(map(len, chunks.values())) < _THREAD_BYTES:
        return work()
    return await asyncio.to_thread(work)
