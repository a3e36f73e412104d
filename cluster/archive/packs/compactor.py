"""Makes packs smaller in which little lives any more: what lives is written into new packs.

A pack goes when its last chunk does, so one chunk that is used for long would keep megabytes of others
that nobody uses. What lives in such packs is stored anew, durably, before one transaction lets it be found
there; the old pack is dead then, and removed like any other. Whoever is cut short in between leaves a pack
of nobody, which is swept up. Whoever read a chunk's place before that transaction asks again when the pack
is gone (``chunk_reader``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from actors.core.errors.store import StoreFull
from actors.core.ports.clock import Clock
from cluster.archive.packs import packs
from cluster.blobs import Blobs
from cluster.store.engines.interface import Engine
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.workspaces import chunks
from cluster.store.layers.workspaces.chunks import Packed
from cluster.store.transactions.transaction import Transaction, transact

logger = logging.getLogger(__name__)

LIVE_SHARE = 0.5
WASTED_BYTES = 64 << 10
WRITTEN_AT_ONCE = 128 << 20
_CHUNKS = 1000
_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Sparse:
    """A pack of which little lives: its stored bytes, and those of them that live."""

    pack: str
    size: int
    live: int


def worth_compacting(
    sizes: Mapping[str, int], live: Mapping[str, int], budget: int
) -> list[Sparse]:
    """Return the packs to compact, the emptiest first, with at most ``budget`` bytes that live.

    Packs that nothing is known to live in are not among them: they are dead, or about to be committed.
    """
    found = [
        Sparse(pack, sizes[pack], alive)
        for pack, alive in live.items()
        if pack in sizes
        and alive < LIVE_SHARE * sizes[pack]
        and sizes[pack] - alive >= WASTED_BYTES
    ]
    found.sort(key=lambda each: (each.live / each.size, each.pack))
    chosen = []
    for each in found:
        budget -= each.live
        if budget < 0:
            break
        chosen.append(each)
    return chosen


class Compactor:
    """Compacts one tenant's packs; any number of nodes may do so at once."""

    def __init__(
        self,
        engine: Engine,
        keys: Keyspace,
        blobs: Blobs,
        clock: Clock,
        new_id: Callable[[str], str],
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._blobs = blobs
        self._clock = clock
        self._new_id = new_id
        self._moved = self._written = 0

    def stats(self) -> dict[str, Any]:
        """Return counters."""
        return {
            "chunks_moved_total": self._moved,
            "compaction_bytes_total": self._written,
        }

    async def compact(
        self,
        workspace_id: str,
        sizes: Mapping[str, int],
        live: Mapping[str, int],
        budget: int = WRITTEN_AT_ONCE,
    ) -> int:
        """Compact a workspace's packs; return how many bytes were written, ``budget`` at most.

        ``sizes`` are stored bytes by pack, ``live`` those of them that chunks are in. Raises Unavailable
        and the store's errors; a chunk store without room is left as it is.
        """
        chosen = worth_compacting(sizes, live, budget)
        if not chosen:
            return 0
        written = self._written
        try:
            await self._move(workspace_id, {each.pack for each in chosen})
        except StoreFull:
            logger.warning("workspace %s: no room to compact its packs", workspace_id)
        return self._written - written

    async def _move(self, workspace_id: str, sparse: set[str]) -> None:
        batch = packs.Batch(self._new_id("p"))
        places: dict[bytes, Packed] = {}
        after: bytes | None = None
        while True:
            page = await transact(
                self._engine, chunks.packed, self._keys, workspace_id, after, _PAGE
            )
            wanted: dict[str, list[tuple[bytes, Packed]]] = {}
            for name, place in page:
                if isinstance(place, Packed) and place.pack in sparse:
                    wanted.setdefault(place.pack, []).append((name, place))
            for pack, members in wanted.items():
                for run in _runs(members):
                    for name, place, stored in await self._read(workspace_id, pack, run):
                        batch.add(name, stored)
                        places[name] = place
                    if batch.is_full or len(places) >= _CHUNKS:
                        await self._commit(workspace_id, batch, places)
                        batch, places = packs.Batch(self._new_id("p")), {}
            if len(page) < _PAGE:
                break
            after = page[-1][0]
        if places:
            await self._commit(workspace_id, batch, places)

    async def _read(
        self, workspace_id: str, pack: str, members: list[tuple[bytes, Packed]]
    ) -> list[tuple[bytes, Packed, bytes]]:
        """Return chunks as they are stored; damaged ones stay where they are, for whoever looks into it."""
        spans = [(place.offset, place.size) for _, place in members]
        try:
            parts = await self._blobs.get(f"{workspace_id}/{pack}", spans)
        except NotFound:
            return []  # another node has compacted it, and removed it
        found = []
        for (name, place), stored in zip(members, parts, strict=True):
            try:
                packs.unpack(stored, name)
            except Unavailable as error:
                logger.warning("workspace %s, pack %s: %s", workspace_id, pack, error)
            else:
                found.append((name, place, stored))
        return found

    async def _commit(
        self, workspace_id: str, batch: packs.Batch, places: Mapping[bytes, Packed]
    ) -> None:
        """Store a pack and let its chunks be found there."""
        stored_at = self._clock.monotonic()
        found, content = batch.packed()
        await self._blobs.put(f"{workspace_id}/{batch.pack_name}", content)
        self._written += len(content)
        moves = {name: (places[name], place) for name, place in found.items()}
        moved = await transact(
            self._engine, self._relocate, self._keys, workspace_id, moves, stored_at
        )
        self._moved += moved
        if not moved:
            # Nothing refers to it, and nothing ever will: its name is known here alone.
            await self._blobs.delete(f"{workspace_id}/{batch.pack_name}")

    async def _relocate(
        self,
        tr: Transaction,
        keys: Keyspace,
        workspace_id: str,
        moves: Mapping[bytes, tuple[Packed, Packed]],
        stored_at: float,
    ) -> int:
        await tr.read_version()
        # As for what a follower stored: a pack that is in no manifest is swept up when it is old.
        if self._clock.monotonic() - stored_at > packs.MAX_UPLOAD_AGE:
            return 0
        return await chunks.relocate(tr, keys, workspace_id, moves)


def _runs(members: Iterable[tuple[bytes, Packed]]) -> list[list[tuple[bytes, Packed]]]:
    """Divide what is read of a pack into runs of a bounded size, in the order in which it lies there."""
    runs: list[list[tuple[bytes, Packed]]] = []
    size = packs.PACK_BYTES
    for name, place in sorted(members, key=lambda each: each[1].offset):
        if size >= packs.PACK_BYTES or len(runs[-1]) >= _CHUNKS:
            runs.append([])
            size = 0
        runs[-1].append((name, place))
        size += place.size
    return runs
