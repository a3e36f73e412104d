"""The manifest of one workspace, as far as its syncer knows it: what it says, and new versions of it.

Several look at the workspace side by side: see ``look``.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from actors.core.errors.workspaces import ChunkMissing
from actors.core.records.archive import SaveAnswer
from cluster.archive.look import Look
from cluster.archive.packs import packs
from cluster.archive.tools import Counters, Tools
from cluster.store.layers.entries import Entry, Kind, ManifestHead, join
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.workspaces import chunks, manifests
from cluster.store.layers.workspaces.chunks import Location
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.transactions.transaction import Transaction
from cluster.store.transactions.transaction import transact as run

P = ParamSpec("P")
T = TypeVar("T")

LOOKUPS_AT_ONCE = 1000


class ManifestView:
    """One manifest. ``on_kept`` gets what each version has."""

    on_kept: Callable[[Mapping[bytes, Entry]], None]

    def __init__(self, tools: Tools, fence: Fence, counters: Counters) -> None:
        self.fence = fence
        self.head = ManifestHead()
        self._tools = tools
        self._counters = counters
        self._opened = False
        self.moved = False
        """True if versions were found that nobody here has made: all of the workspace is to be looked at."""
        self._opening = asyncio.Lock()
        self._committing = asyncio.Lock()
        self._looks: set[Look] = set()

    async def open(self, *, fresh: bool = False) -> None:
        """Read the head; once, unless ``fresh``, or a commit has failed: it may have been written."""
        async with self._opening:
            if self._opened and not fresh:
                return
            # What is read must not replace what is committed meanwhile.
            async with self._committing:
                before, work = self.head.version, manifests.head
                self.head = await self.transact(work, self.fence.workspace_id)
                self._opened = True
                if self.head.version != before:
                    # Somebody else has written, or a commit of unknown outcome.
                    self.moved = True
                    for look in self._looks:
                        look.outdated = True

    async def commit(
        self,
        changes: dict[bytes, Entry],
        stored: dict[bytes, Location],
        look: Look,
        *,
        stored_at: float | None = None,
        answer: SaveAnswer | None = None,
        incarnation: str | None = None,
        whole: bool = False,
    ) -> list[bytes]:
        """Commit one version; return the paths that have to be looked at again (``Look.part``).

        ``incarnation``: the directory of that name has everything from this version on.
        """
        async with self._committing:
            kept, moved = look.part(changes, whole=whole)
            if not kept:
                return moved
            base = self.head.version
            try:
                version = await self.transact(
                    self._work, kept, stored, stored_at, incarnation, answer
                )
            except BaseException:
                self._opened = False
                raise
            if version <= base:
                return moved  # that save was answered before: nothing was written now
            self.head = self.head.model_copy(update={"version": version})
            self.note(kept, look)
            self._counters.versions += 1
            self._counters.files += len(kept)
            self.on_kept(kept)
            return moved

    def note(self, seen: Mapping[bytes, Entry], look: Look) -> None:
        """Have no look that began before overrule what this one has seen."""
        for other in self._looks - {look}:
            other.note(seen)

    async def settle(self, same: Mapping[bytes, Entry], look: Look) -> dict[bytes, Entry]:
        """Have no look that began before overrule paths seen to be as the manifest had them in ``look``.

        Returns those that others have committed meanwhile: they have to be looked into.
        """
        async with self._committing:
            sure, moved = look.part(same)
            self.note(sure, look)
        return {path: same[path] for path in moved}

    async def answer(self, entries: Mapping[bytes, Entry], answer: SaveAnswer | None) -> int:
        """SaveAnswer a save of what is kept already, with the version since when it is.

        Raises ManifestMoved when the newest version has something else.
        """
        now = self._tools.clock.now()
        return await self.transact(manifests.answer_kept, self.fence, entries, answer, now)

    async def _work(
        self,
        tr: Transaction,
        keys: Keyspace,
        changes: dict[bytes, Entry],
        stored: dict[bytes, Location],
        stored_at: float | None,
        incarnation: str | None,
        answer: SaveAnswer | None,
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

    @contextmanager
    def look(self, only: Collection[bytes] | None = None) -> Iterator[Look]:
        """Look at paths, and commit what was seen before this ends."""
        look = Look(only)
        self._looks.add(look)
        try:
            yield look
        finally:
            self._looks.discard(look)

    async def locate(self, names: Sequence[bytes]) -> dict[bytes, Location]:
        """Return where chunks are; those that are not stored are left out."""
        return await self.transact(chunks.locations, self.fence.workspace_id, names)

    async def children(
        self, directory: bytes, after: bytes | None = None, until: bytes | None = None
    ) -> AsyncIterator[dict[bytes, Entry]]:
        """Yield what lies in a directory, by name and in order, page by page; see ``manifests``."""
        version, last = self.head.version, after
        while True:
            entries, last = await self.transact(
                manifests.children, self.fence.workspace_id, directory, version, last, until
            )
            yield entries
            if last is None:
                return

    async def below(
        self, directory: bytes, *, innermost_first: bool = False
    ) -> AsyncIterator[tuple[bytes, Entry]]:
        """Yield everything below a directory: directories before what is in them, or behind it."""
        left: list[tuple[bytes, Entry | None]] = [(directory, None)]
        while left:
            outer, finished = left.pop()
            if finished is not None:
                yield outer, finished
                continue
            async for page in self.children(outer):
                for name, entry in page.items():
                    path, is_directory = join(outer, name), entry.kind is Kind.DIRECTORY
                    if not is_directory or not innermost_first:
                        yield path, entry
                    else:
                        left.append((path, entry))
                    if is_directory:
                        left.append((path, None))

    async def current(self, paths: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the manifest's entries of paths."""
        version = self.head.version
        known: dict[bytes, Entry] = {}
        for start in range(0, len(paths), LOOKUPS_AT_ONCE):
            some = paths[start : start + LOOKUPS_AT_ONCE]
            work = manifests.current
            known |= await self.transact(work, self.fence.workspace_id, some, version)
        return known

    async def transact(
        self,
        work: Callable[Concatenate[Transaction, Keyspace, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a unit of work in the workspace's store; see ``cluster.store.transactions.transaction``."""
        return await run(self._tools.engine, work, self._tools.keys, *args, **kwargs)
