"""Puts a workspace back into a directory that lacks it, the most recently used files first.

The shell in the container runs meanwhile. What is there already is left as it is: it is newer, or it was
put there by a restore that was cut short. ``missing`` is what is not there yet, and has not been deleted;
``opened`` are directories that have more permissions for the time being than they should.

What cannot be put back stays missing, is reported with its reason, and is tried again: the workspace's disk
may be full, or the chunk store lack some content. All the rest is put back meanwhile. When everything is
there, the file system is synced once, in the background: no file is by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from actors.core.errors.base import Unavailable
from actors.core.errors.workspaces import ContentMissing
from actors.core.records.archive import Reason
from actors.core.records.sessions import Route
from cluster.archive import diff as plan
from cluster.archive.restoring.chunk_reader import ChunkReader, Locate, holes_of
from cluster.blobs import Blobs
from cluster.codi.feed_client import FeedClient, record
from cluster.store.layers.entries import HOLE, Entry, Kind

logger = logging.getLogger(__name__)

STEP_PATHS = 2000
STEP_BYTES = 16 << 20
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 10.0, 60.0
SYNC_LOOK_SECONDS = 0.2

_NOTHING: dict[str, Any] = {"made": [], "failed": []}

Current = Callable[[Sequence[bytes]], Awaitable[dict[bytes, Entry]]]


class PutBack(NamedTuple):
    """What a step has made, with the new stamps; and all that was ``there`` behind it, as it is known.

    Directories are not among what was made: their entries stay as they are.
    """

    made: Mapping[bytes, Entry] = MappingProxyType({})
    there: Mapping[bytes, Entry] = MappingProxyType({})


class Restorer:
    """One restore: ``plan`` once, ``step`` until ``complete``, ``close`` in any case.

    ``current``: the manifest's entries of paths, as of now.
    """

    def __init__(
        self, client: FeedClient, blobs: Blobs, workspace_id: str, locate: Locate, current: Current
    ) -> None:
        self._client = client
        self._chunks = ChunkReader(blobs, workspace_id, locate)
        self._current = current
        self.missing: dict[bytes, int] = {}
        """Paths with their sizes: the rest is asked for when it is needed, as there may be very many."""
        self._lacking: dict[bytes, int] = {}
        self._order: list[bytes] = []
        self._modes: list[tuple[bytes, int]] = []
        self._refused_modes: list[tuple[bytes, int]] = []
        self.opened: dict[bytes, int] = {}
        self.failed: dict[bytes, tuple[Reason, str]] = {}
        self._retry_at = 0.0
        self._retry_seconds = RETRY_SECONDS
        self._syncing: asyncio.Task[None] | None = None
        self.complete = False

    @property
    def pause(self) -> float:
        """For how many seconds the next step may wait, if nothing else happens."""
        if self._order or self._ready_modes() or self.complete:
            return 0.0
        return self._retry_seconds if self.failed else SYNC_LOOK_SECONDS

    async def close(self) -> None:
        """End what goes on in the background."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
            self._syncing = None

    async def plan(self, entries: AsyncIterator[tuple[bytes, Entry]]) -> None:
        """Read the manifest and decide the order: directories, links, then files."""
        files: list[tuple[int, bytes, int]] = []
        others: list[bytes] = []
        async for path, entry in entries:
            if entry.kind is Kind.FILE:
                files.append((entry.modified_ns, path, entry.amount.size))
                continue
            others.append(path)
            # Permissions that would keep out what is put into a directory are given at the end.
            if entry.kind is Kind.DIRECTORY and entry.mode & 0o700 != 0o700:
                self._modes.append((path, entry.mode))
        files.sort(key=lambda file: -file[0])
        self.missing = dict.fromkeys(others, 0) | {path: size for _, path, size in files}
        for path in self.missing:
            self._count(path, 1)
        self._order = list(reversed(self.missing))
        self._modes.sort()
        self.opened = dict(self._modes)

    def awaits(self, path: bytes, *, within: bool) -> bool:
        """Return whether a path, or something in it, is missing; ``within``: only the latter counts."""
        return path in self._lacking or (not within and path in self.missing)

    def _count(self, path: bytes, by: int) -> None:
        """Count what directories lack: paths in them, and directories in them that lack something."""
        for outer in reversed(plan.ancestors(path)):
            count = self._lacking.pop(outer, 0) + by
            if count:
                self._lacking[outer] = count
            if count > max(by, 0):
                break  # it lacked something before, or does yet

    async def step(self, route: Route, now: float) -> PutBack:
        """Put some back; return them. ``now``: monotonic.

        Raises Unavailable and what else a container may answer; the next step goes on from there.
        """
        if self.failed and not self._order and now >= self._retry_at:
            # What was planned first is tried first: directories, then what was used last.
            self._order = [path for path in reversed(self.missing) if path in self.failed]
            self._modes = sorted(self._modes + self._refused_modes)
            self._refused_modes = []
        if self._order:
            return await self._put(route, now)
        if self._ready_modes():
            await self._give_modes(route, now)
        elif not self.failed and not self.complete:
            self._sync(route)
        return PutBack()

    # ---- paths ----------------------------------------------------------------------------------

    async def _put(self, route: Route, now: float) -> PutBack:
        batch: list[bytes] = []
        size = 0
        while self._order and len(batch) < STEP_PATHS and size < STEP_BYTES:
            batch.append(self._order.pop())
            size += self.missing.get(batch[-1], 0)
        broken: list[bytes] = []
        try:
            entries = await self._current(batch)
            small, lost = await self._look_up(entries)
            sent = {path: entry for path, entry in entries.items() if path not in lost}
            records = self._records(sent, small, broken)
            answer = await self._client.restore(route, records) if sent else _NOTHING
        except BaseException as error:
            self._order += [path for path in reversed(batch) if path not in broken]
            if not broken or isinstance(error, asyncio.CancelledError):
                raise
            # The stream ended within a file: it is known now, and the others are put without it.
            self._fail(dict.fromkeys(broken, (Reason.CONTENT_MISSING, "a chunk is damaged")), now)
            return PutBack()
        made = self._made(answer, sent)
        failed = {path: (Reason.CONTENT_MISSING, reason) for path, reason in lost.items()}
        failed |= _refused(answer)
        for path in batch:
            if path not in failed:
                if self.missing.pop(path, None) is not None:
                    self._count(path, -1)
                if self.failed.pop(path, None) is not None:
                    self._retry_seconds = RETRY_SECONDS
        self._fail(failed, now)
        return PutBack(made, {path: each for path, each in entries.items() if path not in failed})

    async def _look_up(
        self, entries: dict[bytes, Entry]
    ) -> tuple[dict[bytes, bytes], dict[bytes, str]]:
        """Return the chunks of small files, and the files that cannot be put back, with the reason."""
        lost: dict[bytes, str] = {}
        small = [entry.chunks[0].name for entry in entries.values() if _is_small(entry)]
        found = await self._chunks.find(small)
        for path, entry in entries.items():
            if _is_small(entry):
                reason = found.lost.get(entry.chunks[0].name)
            elif entry.data:
                reason = await self._chunks.check(entry.chunks)
            else:
                continue
            if reason is not None:
                lost[path] = reason
        return found.data, lost

    @staticmethod
    def _made(answer: dict[str, Any], sent: dict[bytes, Entry]) -> dict[bytes, Entry]:
        made: dict[bytes, Entry] = {}
        for item in answer["made"]:
            path, found, _ = plan.seen(item)
            if found is None or found.kind is Kind.DIRECTORY:
                continue
            # What is left out here differs from its entry, and is read by the last look.
            if (entry := plan.merged(found, sent.get(path))) is not None:
                made[path] = entry
        return made

    def _fail(self, failed: dict[bytes, tuple[Reason, str]], now: float) -> None:
        if not failed:
            return
        again = failed.keys() & self.failed.keys()
        if again and now >= self._retry_at:
            self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)
        self._retry_at = now + self._retry_seconds
        self.failed |= failed
        path, (_, reason) = next(iter(failed.items()))
        logger.warning("%d paths are not restored yet, as %r: %s", len(failed), path, reason)

    # ---- permissions, and the disk --------------------------------------------------------------

    def _ready_modes(self) -> list[tuple[bytes, int]]:
        """Return the directories that can be given their permissions: all that goes into them is there."""
        if not self.failed:
            return self._modes
        waiting = {outer for path in self.failed for outer in plan.ancestors(path)}
        return [each for each in self._modes if each[0] not in waiting]

    async def _give_modes(self, route: Route, now: float) -> None:
        modes = self._ready_modes()[-STEP_PATHS:]
        answer = await self._client.restore(route, _mode_records(modes))
        given = set(modes)
        self._modes = [each for each in self._modes if each not in given]
        failed = _refused(answer)
        self._refused_modes += [each for each in modes if each[0] in failed]
        self._fail(failed, now)
        for path, _ in modes:
            if path not in failed:
                self.opened.pop(path, None)
                if path not in self.missing:
                    self.failed.pop(path, None)

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

    # ---- records --------------------------------------------------------------------------------

    async def _records(
        self, sent: dict[bytes, Entry], small: dict[bytes, bytes], broken: list[bytes]
    ) -> AsyncIterator[bytes]:
        for path, entry in sent.items():
            yield record(_header(path, entry))
            if _is_small(entry):
                yield small[entry.chunks[0].name]
                continue
            try:
                async for part in self._chunks.content(entry, holes=False):
                    yield part
            except ContentMissing:
                broken.append(path)
                raise


def _is_small(entry: Entry) -> bool:
    """Return whether a file's content is one chunk, which is read with those of others."""
    return len(entry.chunks) == 1 and entry.chunks[0].name != HOLE


def _refused(answer: dict[str, Any]) -> dict[bytes, tuple[Reason, str]]:
    return {
        path.encode("utf-8", "surrogateescape"): (Reason.NOT_WRITTEN, str(reason))
        for path, reason in answer["failed"]
    }


def _header(path: bytes, entry: Entry) -> dict[str, Any]:
    return {
        "path": path.decode("utf-8", "surrogateescape"),
        "kind": entry.kind.value,
        "mode": entry.mode,
        "mtime_ns": entry.modified_ns,
        "size": entry.size,
        "target": entry.target.decode("utf-8", "surrogateescape"),
        "holes": holes_of(entry),
        "bytes": entry.size - entry.holes,
    }


async def _mode_records(modes: list[tuple[bytes, int]]) -> AsyncIterator[bytes]:
    for path, mode in reversed(modes):  # what lies deeper first: its way must still be open
        yield record(
            {"path": path.decode("utf-8", "surrogateescape"), "kind": "m", "mode": mode, "bytes": 0}
        )


async def _sync_record() -> AsyncIterator[bytes]:
    yield record({"path": ".", "kind": "s", "bytes": 0})
