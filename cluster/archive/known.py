"""The manifest of one workspace, as far as its follower knows it: what it says, and new versions of it.

Several look at the workspace side by side. Each notes when it began to read; at its commit, paths that
another one has committed since are told, so that an older look never hides a newer one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from actors.errors import ChunkMissing
from cluster.archive import packs
from cluster.archive.tools import Counters, Tools
from cluster.store import chunks, manifests
from cluster.store.chunks import Location
from cluster.store.entries import Entry, ManifestHead
from cluster.store.keyspace import Keyspace
from cluster.store.manifests import Fence
from cluster.store.saves import Answer
from cluster.store.transaction import Transaction
from cluster.store.transaction import transact as run

P = ParamSpec("P")
T = TypeVar("T")

LOOKUPS_AT_ONCE = 64
GROUPED_FROM = 8


class Known:
    """One manifest. Every ``begin_reading`` is followed by ``end_reading``.

    ``on_kept`` is told which paths a version has.
    """

    def __init__(
        self,
        tools: Tools,
        fence: Fence,
        counters: Counters,
        on_kept: Callable[[Iterable[bytes]], None],
    ) -> None:
        self.fence = fence
        self.head = ManifestHead()
        self._tools = tools
        self._counters = counters
        self._on_kept = on_kept
        self._opened = False
        self._opening = asyncio.Lock()
        self._committing = asyncio.Lock()
        self._tick = 0
        self._reading = 0
        self._committed: dict[bytes, tuple[int, Entry]] = {}

    async def open(self, *, fresh: bool = False) -> None:
        """Read the head; once, unless ``fresh``."""
        async with self._opening:
            if self._opened and not fresh:
                return
            self.head = await self.transact(manifests.head, self.fence.workspace_id)
            self._opened = True

    async def commit(
        self,
        changes: dict[bytes, Entry],
        stored: dict[bytes, Location],
        tick: int,
        *,
        stored_at: float | None = None,
        answer: Answer | None = None,
        incarnation: str | None = None,
        whole: bool = False,
    ) -> list[bytes]:
        """Commit one version; return the paths that others have committed since ``tick``.

        ``incarnation``: the directory of that name has everything from this version on. What others
        have committed is left out, or with ``whole`` nothing is committed when there is any.
        """
        async with self._committing:
            since = {
                path: entry
                for path in changes
                if (entry := self._committed_since(path, tick)) is not None
            }
            if since and whole:
                return list(since)
            kept = {path: entry for path, entry in changes.items() if path not in since}
            # What the other one saw was the same: there is nothing to look at again.
            moved = [path for path, entry in since.items() if entry.stamp != changes[path].stamp]
            if not kept:
                return moved
            version = await self.transact(self._work, kept, stored, stored_at, incarnation, answer)
            self.head = self.head.model_copy(update={"version": version})
            self._tick += 1
            self._committed |= {path: (self._tick, entry) for path, entry in kept.items()}
            self._counters.versions += 1
            self._counters.files += len(kept)
            self._on_kept(kept)
            return moved

    async def _work(
        self,
        tr: Transaction,
        keys: Keyspace,
        changes: dict[bytes, Entry],
        stored: dict[bytes, Location],
        stored_at: float | None,
        incarnation: str | None,
        answer: Answer | None,
    ) -> int:
        await tr.read_version()
        # Packs that no chunk lies in are swept up when they are old. This is asked after the read
        # version is known, and a commit is refused five seconds after that: so no pack that is named
        # here can be old enough to be swept.
        clock = self._tools.clock
        if stored_at is not None and clock.monotonic() - stored_at > packs.MAX_UPLOAD_AGE:
            raise ChunkMissing(tuple(stored))
        return await manifests.commit(
            tr, keys, self.fence, self.head.version, changes, stored,
            now=clock.now(), incarnation=incarnation, answer=answer, quotas=self._tools.quotas,
        )  # fmt: skip

    def _committed_since(self, path: bytes, tick: int) -> Entry | None:
        at, entry = self._committed.get(path, (0, None))
        return entry if at > tick else None

    def begin_reading(self) -> int:
        """Return when that is, for ``commit``."""
        self._reading += 1
        return self._tick

    def end_reading(self) -> None:
        """Say that what was begun is committed, or will not be."""
        self._reading -= 1
        if self._reading == 0:
            self._committed.clear()

    async def locate(self, names: Sequence[bytes]) -> dict[bytes, Location]:
        """Return where chunks are; those that are not stored are left out."""
        return await self.transact(chunks.locations, self.fence.workspace_id, names)

    async def children(self, directory: bytes) -> dict[bytes, Entry]:
        """Return what lies in a directory, by name."""
        version = self.head.version
        return await self.transact(manifests.children, self.fence.workspace_id, directory, version)

    async def current(self, paths: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the manifest's entries of paths; of many in one directory by reading it whole."""
        version = self.head.version
        grouped: dict[bytes, list[bytes]] = {}
        for path in paths:
            grouped.setdefault(path.rpartition(b"/")[0], []).append(path)
        gate = asyncio.Semaphore(LOOKUPS_AT_ONCE)

        async def one(directory: bytes, wanted: list[bytes]) -> dict[bytes, Entry]:
            async with gate:
                if len(wanted) < GROUPED_FROM:
                    return await self.transact(
                        manifests.current, self.fence.workspace_id, wanted, version
                    )
                found = await self.children(directory)
                names = {path.rpartition(b"/")[2]: path for path in wanted}
                return {names[name]: entry for name, entry in found.items() if name in names}

        known: dict[bytes, Entry] = {}
        for part in await asyncio.gather(*(one(*group) for group in grouped.items())):
            known |= part
        return known

    async def transact(
        self,
        work: Callable[Concatenate[Transaction, Keyspace, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a unit of work in the workspace's store; see ``cluster.store.transaction``."""
        return await run(self._tools.engine, work, self._tools.keys, *args, **kwargs)
