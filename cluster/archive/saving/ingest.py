"""Takes contents out of a container: reads paths, stores what is new, and says what to commit.

Small files come whole, many at a time. A large one is read piece by piece (``read_large``), each within a
turn of its own, so that others get theirs in between; of its holes nothing is read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from actors.core.errors.access import PermissionDenied
from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from actors.core.records.archive import Reason
from actors.core.records.sessions import Route
from cluster.archive import diff as plan
from cluster.archive.packs import packs
from cluster.archive.saving.round_plan import Taken
from cluster.blobs import Blobs
from cluster.codi.feed_client import FeedClient
from cluster.store.layers.entries import GONE, HOLE, MAX_CHUNKS, MAX_HOLE, ChunkRef, Entry, Kind
from cluster.store.layers.workspaces.chunks import Location

SLICE_BYTES = 32 << 20
_THREAD_BYTES = 256 << 10
_BLOCKS_AT_ONCE = 8 << 20
_CHUNKS_ASKED = 1000

Locate = Callable[[Sequence[bytes]], Awaitable[dict[bytes, Location]]]
Turn = Callable[[], AbstractAsyncContextManager[None]]


class Ingest:
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

    def too_large(self, entry: Entry) -> bool:
        """Return whether a file is more than is kept of one."""
        return entry.kind is Kind.FILE and entry.amount.size > self._max_file

    async def take(self, route: Route, paths: Sequence[bytes]) -> Taken:
        """Read paths (at most ``READ_AT_ONCE``) and store their new chunks durably.

        Large files are only listed. Raises StoreFull, Unavailable and their like; what was stored by then
        is swept up later.
        """
        taken = Taken()
        batch = self._new_batch()
        small: dict[bytes, bytes] = {}
        waiting = 0
        texts = [path.decode("utf-8", "surrogateescape") for path in paths]
        async with contextlib.aclosing(self._client.contents(route, texts)) as records:
            async for header, data in records:
                taken.read_bytes += len(data)
                self._sort_in(header, data, taken, small)
                waiting += len(data)
                if waiting >= _BLOCKS_AT_ONCE:
                    batch = await self._keep(small, batch, taken)
                    small, waiting = {}, 0
        batch = await self._keep(small, batch, taken)
        await self._seal(batch, taken)
        return taken

    def _sort_in(
        self, header: dict[str, Any], data: bytes, taken: Taken, small: dict[bytes, bytes]
    ) -> None:
        """Note what a path is, and the content of a small file."""
        path, entry, why = plan.seen(header["item"])
        if why is not None:
            taken.leave_out(path, why)
            if why is not Reason.UNREADABLE:
                taken.entries[path] = GONE
        elif entry is None:
            taken.entries[path] = GONE
        elif entry.kind is not Kind.FILE:
            taken.entries[path] = entry
        elif "failed" in header:
            taken.leave_out(path, Reason.UNREADABLE, entry.size)
        elif self.too_large(entry):
            taken.leave_out(path, Reason.TOO_LARGE, entry.size)
        elif header.get("large"):
            taken.large[path] = entry
        elif len(data) != entry.size:
            taken.unsteady.append(path)
        else:
            chunks = (ChunkRef(packs.name_of(data), len(data)),) if data else ()
            taken.entries[path] = replace(entry, chunks=chunks)
            small |= {chunk.name: data for chunk in chunks}

    # ---- large files ----------------------------------------------------------------------------

    async def read_large(self, route: Route, path: bytes, taken: Taken, turn: Turn) -> None:
        """Read a large file piece by piece, each within a ``turn``, and store its new chunks durably.

        It is among ``taken``'s entries then, or unsteady, or left out. Raises as ``take`` does.
        """
        text = path.decode("utf-8", "surrogateescape")
        chunks: list[tuple[int, ChunkRef]] = []
        beginning: dict[str, Any] | None = None
        offset: int | None = 0
        try:
            while offset is not None:
                async with turn():
                    piece = await self._client.cut(route, text, offset, SLICE_BYTES, beginning)
                    beginning = beginning or piece
                    if not self._is_same(path, beginning, piece, taken):
                        return
                    found = _chunks(piece["chunks"])
                    if not await self._keep_piece(route, text, found, taken):
                        taken.unsteady.append(path)
                        return
                chunks += found
                offset = piece["next"]
                if len(chunks) > MAX_CHUNKS:
                    break
        except NotFound:
            async with turn():
                now = await self.take(route, [path])  # there may be a directory in its place
            now.unsteady += now.large
            now.large.clear()
            taken.add(now)
            return
        except PermissionDenied:
            taken.leave_out(path, Reason.UNREADABLE)
            return
        entry = plan.seen(beginning["item"]).entry if beginning is not None else None
        if beginning is None or entry is None:
            taken.unsteady.append(path)
            return
        whole = _with_holes(chunks, beginning["holes"])
        if len(whole) > MAX_CHUNKS:
            taken.leave_out(path, Reason.TOO_LARGE, entry.size)
        elif sum(chunk.size for chunk in whole) != entry.size:
            taken.unsteady.append(path)
        else:
            taken.entries[path] = replace(entry, chunks=whole)

    def _is_same(
        self, path: bytes, first: Mapping[str, Any], piece: Mapping[str, Any], taken: Taken
    ) -> bool:
        """Return whether a piece is of the file that the first one was of, and that is to be kept."""
        began, entry = (plan.seen(each["item"]).entry for each in (first, piece))
        if began is None or entry is None or began.inode != entry.inode or entry.size < began.size:
            taken.unsteady.append(path)
            return False
        if self.too_large(began):
            taken.leave_out(path, Reason.TOO_LARGE, began.size)
            return False
        return True

    async def _keep_piece(
        self, route: Route, text: str, chunks: Sequence[tuple[int, ChunkRef]], taken: Taken
    ) -> bool:
        """Read the chunks that are new, and store them; false when the file is not what was said."""
        known = await self._known([chunk.name for _, chunk in chunks])
        wanted = {
            chunk.name: (offset, chunk.size)
            for offset, chunk in chunks
            if chunk.name not in known and chunk.name not in taken.stored
        }
        if not wanted:
            return True
        batch, names = self._new_batch(), list(wanted)
        waiting: dict[bytes, bytes] = {}
        try:
            async for data in self._client.blocks(route, text, list(wanted.values())):
                name = names.pop(0)
                if packs.name_of(data) != name:
                    return False
                waiting[name] = data
                taken.read_bytes += len(data)
                if sum(map(len, waiting.values())) >= _BLOCKS_AT_ONCE or not names:
                    batch = await self._keep(waiting, batch, taken, new=True)
                    waiting = {}
        except Unavailable:
            if not names:
                raise
            return False  # it became shorter, or the container is gone: see next time
        # Nothing is held while others have their turn.
        await self._seal(batch, taken)
        return True

    # ---- packs ----------------------------------------------------------------------------------

    async def _keep(
        self, chunks: dict[bytes, bytes], batch: packs.Batch, taken: Taken, *, new: bool = False
    ) -> packs.Batch:
        """Store chunks, unless they are known; ``new``: they are not."""
        known = set() if new else await self._known(list(chunks))
        stored = await _packed({n: data for n, data in chunks.items() if n not in known})
        for name, data in stored:
            batch.add(name, data)
            if batch.is_full:
                await self._seal(batch, taken)
                batch = self._new_batch()
        return batch

    async def _known(self, names: list[bytes]) -> set[bytes]:
        known: set[bytes] = set()
        for start in range(0, len(names), _CHUNKS_ASKED):
            known |= (await self._locate(names[start : start + _CHUNKS_ASKED])).keys()
        return known

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


def _chunks(listed: list[Any]) -> list[tuple[int, ChunkRef]]:
    try:
        return [
            (int(offset), ChunkRef(bytes.fromhex(name), int(size))) for name, offset, size in listed
        ]
    except (ValueError, TypeError) as error:
        raise Unavailable("the container", f"it says what cannot be: {error}") from error


def _with_holes(
    chunks: Sequence[tuple[int, ChunkRef]], holes: Sequence[Sequence[int]]
) -> tuple[ChunkRef, ...]:
    """Return a file's chunks in order, with its holes among them."""
    empty = [
        (begin, ChunkRef(HOLE, min(MAX_HOLE, offset + length - begin)))
        for offset, length in holes
        for begin in range(offset, offset + length, MAX_HOLE)
    ]
    return tuple(chunk for _, chunk in sorted([*chunks, *empty]))


async def _packed(chunks: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Compress chunks, in a thread when that takes more than a millisecond or so."""

    def work() -> list[tuple[bytes, bytes]]:
        return [(name, packs.pack(data)) for name, data in chunks.items()]

    if sum(map(len, chunks.values())) < _THREAD_BYTES:
        return work()
    return await asyncio.to_thread(work)
