"""Puts a workspace back into a directory that lacks it, the most recently used files first.

The shell in the container runs meanwhile. What is there already is left as it is: it is newer, or it was
put there by a restore that was cut short. ``missing`` is what is not there yet, and has not been deleted;
``opened`` are directories that have more permissions for the time being than they should.

What cannot be put back, as while the workspace's disk is full, stays missing and is tried again. When all
is there, the file system is synced once, in the background: no file is by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from actors.errors import Unavailable
from actors.records import Route
from cluster.archive import plan
from cluster.archive.blobs import Blobs
from cluster.archive.chunk_reader import ChunkReader, Locate
from cluster.codi.feed_client import FeedClient, record
from cluster.store.entries import Entry, Kind

logger = logging.getLogger(__name__)

STEP_PATHS = 2000
STEP_BYTES = 16 << 20
RETRY_SECONDS = 10.0
SYNC_LOOK_SECONDS = 0.2


class Restorer:
    """One restore: ``plan`` once, ``step`` until ``complete``, ``close`` in any case."""

    def __init__(self, client: FeedClient, blobs: Blobs, workspace_id: str, locate: Locate) -> None:
        self._client = client
        self._chunks = ChunkReader(blobs, workspace_id, locate)
        self.missing: dict[bytes, Entry] = {}
        self._order: list[bytes] = []
        self._modes: list[tuple[bytes, int]] = []
        self.opened: dict[bytes, int] = {}
        self.failed: dict[bytes, str] = {}
        self._retry_at = 0.0
        self._syncing: asyncio.Task[None] | None = None
        self.complete = False

    @property
    def pause(self) -> float:
        """For how many seconds the next step may wait, if nothing else happens."""
        if self._order or self._modes or self.complete:
            return 0.0
        return RETRY_SECONDS if self.failed else SYNC_LOOK_SECONDS

    async def close(self) -> None:
        """End what goes on in the background."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
            self._syncing = None

    async def plan(self, children: Callable[[bytes], Awaitable[dict[bytes, Entry]]]) -> None:
        """Read the manifest and decide the order: directories, links, then files."""
        left = [b""]
        files: list[tuple[bytes, Entry]] = []
        others: list[tuple[bytes, Entry]] = []
        while left:
            directory = left.pop()
            for name, entry in (await children(directory)).items():
                path = directory + b"/" + name if directory else name
                (files if entry.kind is Kind.FILE else others).append((path, entry))
                if entry.kind is Kind.DIRECTORY:
                    left.append(path)
        ordered = [*others, *plan.restore_order(files)]
        self.missing = dict(ordered)
        self._order = [path for path, _ in reversed(ordered)]
        # Permissions that would keep out what is put into a directory are given at the end.
        closed = [
            (p, e.mode) for p, e in others if e.kind is Kind.DIRECTORY and e.mode & 0o700 != 0o700
        ]
        self._modes = sorted(closed)
        self.opened = dict(closed)

    async def step(self, route: Route, now: float) -> dict[bytes, Entry]:
        """Put some back; return those that were made, with their new stamps. ``now``: monotonic.

        Directories are left out: their entries stay as they are. Raises Unavailable and what else a
        container may answer; the next step goes on from there.
        """
        if self.failed and not self._order and not self._modes and now >= self._retry_at:
            self._try_again()
        if self._order:
            return await self._put(route, now)
        if self._modes:
            await self._give_modes(route, now)
        elif not self.failed and not self.complete:
            self._sync(route)
        return {}

    async def _put(self, route: Route, now: float) -> dict[bytes, Entry]:
        batch: list[bytes] = []
        size = 0
        while self._order and len(batch) < STEP_PATHS and size < STEP_BYTES:
            batch.append(self._order.pop())
            size += self.missing[batch[-1]].size
        try:
            answer = await self._client.restore(route, self._records(batch))
        except BaseException:
            self._order += reversed(batch)
            raise
        made: dict[bytes, Entry] = {}
        for item in answer["made"]:
            found = plan.seen(item)
            if found is None or found.entry is None or found.entry.kind is Kind.DIRECTORY:
                continue
            # What is left out here differs from its entry, and is read by the last look.
            if (entry := plan.merged(found.entry, self.missing.get(found.path))) is not None:
                made[found.path] = entry
        self._note(answer, now)
        for path in batch:
            if path not in self.failed:
                self.missing.pop(path, None)
        return made

    async def _give_modes(self, route: Route, now: float) -> None:
        modes, self._modes = self._modes[-STEP_PATHS:], self._modes[:-STEP_PATHS]
        try:
            answer = await self._client.restore(route, _mode_records(modes))
        except BaseException:
            self._modes += modes
            raise
        self._note(answer, now)
        for path, _ in modes:
            if path not in self.failed:
                self.opened.pop(path, None)

    def _sync(self, route: Route) -> None:
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._bring_to_disk(route))
        elif self._syncing.done():
            syncing, self._syncing = self._syncing, None
            syncing.result()
            self.complete = True

    async def _bring_to_disk(self, route: Route) -> None:
        answer = await self._client.restore(route, _sync_record())
        for _, reason in answer["failed"]:
            raise Unavailable("the workspace's disk", str(reason))

    def _note(self, answer: dict[str, Any], now: float) -> None:
        for path, reason in answer["failed"]:
            self.failed[path.encode("utf-8", "surrogateescape")] = reason
            self._retry_at = now + RETRY_SECONDS
        if answer["failed"]:
            path, reason = answer["failed"][0]
            logger.warning(
                "%d paths are not restored yet, as %r: %s", len(answer["failed"]), path, reason
            )

    def _try_again(self) -> None:
        # What was planned first is tried first: directories, then what was used last.
        self._order = [path for path in reversed(self.missing) if path in self.failed]
        self._modes = sorted((p, mode) for p, mode in self.opened.items() if p in self.failed)
        self.failed = {}

    async def _records(self, batch: list[bytes]) -> AsyncIterator[bytes]:
        small = [
            chunk.name
            for path in batch
            if len((entry := self.missing[path]).chunks) == 1
            for chunk in entry.chunks
        ]
        ready = await self._chunks.read(small)
        for path in batch:
            entry = self.missing[path]
            yield record(_header(path, entry))
            if len(entry.chunks) == 1:
                yield ready[entry.chunks[0].name]
                continue
            async for part in self._chunks.content(entry):
                yield part


def _header(path: bytes, entry: Entry) -> dict[str, Any]:
    return {
        "path": path.decode("utf-8", "surrogateescape"),
        "kind": entry.kind.value,
        "mode": entry.mode,
        "mtime_ns": entry.modified_ns,
        "size": entry.size,
        "target": entry.target.decode("utf-8", "surrogateescape"),
        "bytes": entry.size,
    }


async def _mode_records(modes: list[tuple[bytes, int]]) -> AsyncIterator[bytes]:
    for path, mode in reversed(modes):  # what lies deeper first: its way must still be open
        yield record(
            {"path": path.decode("utf-8", "surrogateescape"), "kind": "m", "mode": mode, "bytes": 0}
        )


async def _sync_record() -> AsyncIterator[bytes]:
    yield record({"path": ".", "kind": "s", "bytes": 0})
