"""Puts a workspace back into a directory that lacks it, the most recently used files first.

The shell in the container runs meanwhile. What is there already is left as it is: it is newer, or it was
put there by a restore that was cut short. ``missing`` is what is not there yet, and has not been deleted;
``opened`` are directories that have more permissions for the time being than they should.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from actors.records import Route
from cluster.archive import plan
from cluster.archive.blobs import Blobs
from cluster.archive.chunk_reader import ChunkReader, Locate
from cluster.codi.feed_client import FeedClient, record
from cluster.store.entries import Entry, Kind

logger = logging.getLogger(__name__)

STEP_PATHS = 500
STEP_BYTES = 16 << 20


class Restorer:
    """One restore: ``plan`` once, ``step`` until ``done``."""

    def __init__(self, client: FeedClient, blobs: Blobs, workspace_id: str, locate: Locate) -> None:
        self._client = client
        self._chunks = ChunkReader(blobs, workspace_id, locate)
        self.missing: dict[bytes, Entry] = {}
        self._order: list[bytes] = []
        self._modes: list[tuple[bytes, int]] = []
        self.opened: dict[bytes, int] = {}
        self.failed: dict[bytes, str] = {}

    @property
    def done(self) -> bool:
        """Whether all that can be put back is."""
        return not self.missing and not self._modes

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

    async def step(self, route: Route) -> dict[bytes, Entry]:
        """Put some back; return those that were made, with their new stamps.

        Directories are left out: their entries stay as they are.
        """
        batch: list[bytes] = []
        size = 0
        while self._order and len(batch) < STEP_PATHS and size < STEP_BYTES:
            batch.append(self._order.pop())
            size += self.missing[batch[-1]].size
        modes = []
        if not batch:
            modes, self._modes = self._modes[-STEP_PATHS:], self._modes[:-STEP_PATHS]
        records = self._records(batch) if batch else _mode_records(modes)
        try:
            answer = await self._client.restore(route, records)
        except BaseException:
            self._order += reversed(batch)
            self._modes += modes
            raise
        made: dict[bytes, Entry] = {}
        for item in answer["made"]:
            found = plan.seen(item)
            if found is None or found.entry is None or found.entry.kind is Kind.DIRECTORY:
                continue
            made[found.path] = plan.merged(found.entry, self.missing.get(found.path))
        for path, reason in answer["failed"]:
            self.failed[path.encode("utf-8", "surrogateescape")] = reason
            logger.warning("not restored: %r: %s", path, reason)
        for path in batch:
            self.missing.pop(path, None)
        for path, _ in modes:
            self.opened.pop(path, None)
        return made

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
