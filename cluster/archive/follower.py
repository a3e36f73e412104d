"""Keeps the manifest of one workspace up to its container: follows changes, saves at request, restores.

A round takes what CODI says has changed, compares it with the manifest, reads what differs and commits
versions; only then is the change acknowledged to CODI, so that a round cut short anywhere is made again.
What its user's quota does not allow is held: it stays in the container's directory and is archived once
there is room (``held``). It is left out by its size, before anything of it is read.

Rounds and saves run side by side. Each notes when it began to read; at its commit, paths that another
one has committed since are read again, so that an older look never hides a newer one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actors.errors import (
    ChunkMissing,
    DeadlineExceeded,
    ManifestMoved,
    QuotaExceeded,
    Unavailable,
)
from actors.quotas import Amount, Resource, Room, fit
from actors.records import Route, Unarchived
from cluster.archive import plan
from cluster.archive.held import Held
from cluster.archive.intake import READ_AT_ONCE, Intake, Taken
from cluster.archive.known import Known
from cluster.archive.restorer import Restorer
from cluster.archive.tools import Counters, Tools
from cluster.store import manifests, usage
from cluster.store.entries import GONE, Entry, Kind
from cluster.store.manifests import Fence
from cluster.store.saves import Answer

logger = logging.getLogger(__name__)

WAIT_SECONDS = 25.0
COMMIT_CHANGES = 2000
TRIES = 8
UNSTEADY_TRIES = 3
LISTED_AT_ONCE = 200
HELD_WAIT_SECONDS = 2.0


class Follower:
    """One workspace in one container. ``follow`` until it raises; ``save`` meanwhile."""

    def __init__(self, tools: Tools, fence: Fence, route: Route, counters: Counters) -> None:
        self.fence = fence
        self.route = route
        self._tools = tools
        self._counters = counters
        self._restorer: Restorer | None = None
        self._incarnation: str | None = None
        self._held = Held()
        self._known = Known(tools, fence, counters, self._held.release)
        self._told: Unarchived | None = None
        self._intake = Intake(
            tools.client, tools.blobs, fence.workspace_id, self._known.locate,
            monotonic=tools.clock.monotonic, new_id=tools.new_id, max_file=tools.max_file,
        )  # fmt: skip

    @property
    def version(self) -> int:
        """The newest version that is known here."""
        return self._known.head.version

    @property
    def whole(self) -> bool:
        """Whether it is known that nothing is yet to be put back."""
        return self._incarnation is not None and self._restorer is None

    @property
    def restoring(self) -> int:
        """How many paths are yet to be put back."""
        return len(self._restorer.missing) if self._restorer is not None else 0

    @property
    def held(self) -> bool:
        """Whether a quota keeps some of the workspace from being archived."""
        return bool(self._held)

    # ---- following ------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Follow until cancelled. Raises Fenced, Unavailable and whatever else ends it."""
        try:
            await self._follow()
        finally:
            if self._restorer is not None:
                await self._restorer.close()

    async def _follow(self) -> None:
        tools, follower = self._tools, self._tools.new_id("f")
        await self._known.open(fresh=True)
        self._told = await self._known.transact(usage.unarchived, self.fence.session_id)
        cursor = -1
        while True:
            resting = HELD_WAIT_SECONDS if self._held else WAIT_SECONDS
            wait = resting if self._restorer is None else self._restorer.pause
            wait = 0.0 if cursor < 0 else wait
            answer = await tools.client.changes(self.route, follower, cursor, wait)
            if self._incarnation is None:
                incarnation = str(answer["incarnation"])
                # The plan first: as long as it is not known whether a directory is complete, nothing
                # that is missing in it may count as deleted.
                self._restorer = await self._planned_restore(incarnation)
                self._incarnation = incarnation
            began = tools.clock.monotonic()
            if answer["items"] or answer["trees"]:
                async with tools.gate:
                    await self._round(answer["items"], answer["trees"])
                self._held.touched()
                self._counters.rounds += 1
                self._counters.round_seconds.observe(tools.clock.monotonic() - began)
            if self._restorer is not None and await self._restore_some():
                # Whatever was made, changed or deleted meanwhile is told apart by a last look.
                await self._round([], ["."])
                await self._finish_restore()
            if self._held.may_look(tools.clock.monotonic()):
                await self._look_for_held()
            await self._tell_held()
            cursor = int(answer["cursor"])

    async def _round(self, items: Iterable[list[Any]], trees: Sequence[str]) -> None:
        began = self._tools.clock.monotonic()
        if "." in trees:
            self._held.begin_walk()
        marked = [found for item in items if (found := plan.seen(item)) is not None]
        await self._take_marked([each for each in marked if plan.is_kept(each.path)])
        for tree in trees:
            await self._walk(b"" if tree == "." else tree.encode("utf-8", "surrogateescape"))
        if "." in trees:
            now = self._tools.clock.monotonic()
            self._held.end_walk(now, now - began)

    async def _take_marked(self, marked: Sequence[plan.Seen]) -> None:
        known = await self._known.current([each.path for each in marked])
        differing = [each for each in marked if plan.differs(each.entry, known.get(each.path))]
        gone = [each.path for each in differing if each.entry is None]
        # What is gone first: it makes room.
        await self._drop(gone, known)
        found = {each.path: each.entry for each in differing if each.entry is not None}
        await self._read(found, known)

    async def _walk(self, tree: bytes) -> None:
        """Compare everything below a directory with the manifest; additions first, then losses."""
        left, gone = [tree], dict[bytes, Entry]()
        read: dict[bytes, Entry] = {}
        known_of_read: dict[bytes, Entry] = {}
        while left:
            batch, left = left[-LISTED_AT_ONCE:], left[:-LISTED_AT_ONCE]
            texts = [path.decode("utf-8", "surrogateescape") or "." for path in batch]
            listed = await self._tools.client.listings(self.route, texts)
            left += batch[len(listed) :]
            befores = await asyncio.gather(*(self._known.children(p) for p in batch[: len(listed)]))
            for directory, (_, found), before in zip(batch, listed, befores, strict=False):
                if not isinstance(found, list):
                    continue
                difference = plan.of_listing(directory, found, before)
                left += difference.inside
                prefix = directory + b"/" if directory else b""
                read |= difference.read
                known_of_read |= {
                    path: state
                    for path in difference.read
                    if (state := before.get(path.removeprefix(prefix))) is not None
                }
                gone |= {path: before[path.removeprefix(prefix)] for path in difference.gone
                         if path.removeprefix(prefix) in before}  # fmt: skip
            if len(read) >= COMMIT_CHANGES:
                await self._read(read, known_of_read)
                read, known_of_read = {}, {}
        await self._read(read, known_of_read)
        await self._drop(list(gone), gone)

    async def _read(self, seen: Mapping[bytes, Entry], known: dict[bytes, Entry]) -> None:
        """Read paths, the oldest mark first, and commit versions of them; what does not fit is held."""
        left = list(seen)
        tries = 0
        while left:
            batch, left = left[:READ_AT_ONCE], left[READ_AT_ONCE:]
            batch = await self._fitting({path: seen[path] for path in batch}, known)
            tick = self._known.begin_reading()
            try:
                taken = await self._intake.take(self.route, batch)
                self._count(taken)
                # A file that changes all the time is left as it is known: its next change is told.
                again = await self._commit_taken(taken, known, tick)
                again += taken.unsteady if tries < UNSTEADY_TRIES else []
                left = taken.left + left
            except ChunkMissing:
                again = batch
            finally:
                self._known.end_reading()
            tries = tries + 1 if again else 0
            if tries >= TRIES:
                raise Unavailable("the workspace", "its files change faster than they can be read")
            left = again + left

    async def _commit_taken(
        self, taken: Taken, known: dict[bytes, Entry], tick: int
    ) -> list[bytes]:
        """Commit what was read; return the paths that have to be read again."""
        opened = self._restorer.opened if self._restorer is not None else {}
        # A look that was older than the last version may find what that has already.
        changes = {
            path: entry
            for path, entry in taken.entries.items()
            if path not in opened
            and plan.differs(None if entry is GONE else entry, known.get(path))
        }
        for path, entry in taken.entries.items():
            before = known.get(path)
            if before is not None and before.kind is Kind.DIRECTORY != entry.kind:
                changes |= await self._below(path)
        try:
            moved = await self._commit(changes, taken, tick)
        except QuotaExceeded:
            # Files grew since they were listed, or another session took the room.
            fits = set(await self._fitting(taken.entries, known))
            changes = {p: e for p, e in changes.items() if p in fits or p not in taken.entries}
            moved = await self._commit(changes, taken, tick)
        return [path for path in moved if path in taken.entries]

    # ---- what does not fit ----------------------------------------------------------------------

    async def _fitting(
        self, found: Mapping[bytes, Entry], known: Mapping[bytes, Entry]
    ) -> list[bytes]:
        """Return the paths that the user's quota allows; the others are held."""
        growths = {
            path: entry.amount.minus(known[path].amount if path in known else Amount())
            for path, entry in found.items()
        }
        if not any(growth.grows for growth in growths.values()):
            return list(found)
        room = await self._room()
        fitting = fit(growths, room)
        if fitting.lacks is not None:
            held = {path: growths[path] for path in fitting.held}
            self._held.hold(held, fitting.lacks, room, self._tools.clock.now())
        fits = set(fitting.fits)
        return [path for path in found if path in fits]

    async def _room(self) -> Room:
        work = usage.room_of_session
        return await self._known.transact(work, self.fence.session_id, self._tools.quotas)

    async def _look_for_held(self) -> None:
        """Look through the workspace for what can be archived by now."""
        if self._held.worth_looking(await self._room()):
            async with self._tools.gate:
                await self._round([], ["."])

    async def _tell_held(self) -> None:
        """Have the session say what is held of it, when that has changed."""
        told = self._held.told(self.fence.session_id)
        if told == self._told:
            return
        await self._known.transact(usage.tell_unarchived, self.fence.session_id, told)
        self._told = told
        await self._tools.tell(self.fence.session_id, told)

    async def _drop(self, gone: Sequence[bytes], known: dict[bytes, Entry]) -> None:
        """Note that paths are gone, with everything that was below them."""
        missing = self._restorer.missing if self._restorer is not None else {}
        tick = self._known.begin_reading()
        try:
            changes: dict[bytes, Entry] = {}
            for path in gone:
                if path in missing or path not in known:
                    continue
                changes[path] = GONE
                if known[path].kind is Kind.DIRECTORY:
                    changes |= await self._below(path)
                if len(changes) >= COMMIT_CHANGES:
                    await self._commit_in_parts(changes, tick)
                    changes = {}
            await self._commit_in_parts(changes, tick)
        finally:
            self._known.end_reading()

    async def _commit_in_parts(self, changes: dict[bytes, Entry], tick: int) -> None:
        items = list(changes.items())
        for start in range(0, len(items), COMMIT_CHANGES):
            await self._commit(dict(items[start : start + COMMIT_CHANGES]), Taken(), tick)
            self._counters.gone += len(items[start : start + COMMIT_CHANGES])

    async def _below(self, path: bytes) -> dict[bytes, Entry]:
        """Return that everything below a directory is gone, but for what is yet to be restored."""
        missing = self._restorer.missing if self._restorer is not None else {}
        changes: dict[bytes, Entry] = {}
        left = [path]
        while left:
            directory = left.pop()
            for name, entry in (await self._known.children(directory)).items():
                inner = directory + b"/" + name
                if inner not in missing:
                    changes[inner] = GONE
                if entry.kind is Kind.DIRECTORY:
                    left.append(inner)
        return changes

    # ---- saving ---------------------------------------------------------------------------------

    async def save(self, paths: Sequence[bytes], answer: Answer | None = None) -> int:
        """Take paths in at once; return the version that has them, durable.

        ``answer`` is remembered in the same transaction. Raises StoreFull, QuotaExceeded, Fenced,
        Unavailable.
        """
        began = self._tools.clock.monotonic()
        await self._known.open()
        wanted = list(dict.fromkeys(p for path in paths for p in (*plan.ancestors(path), path)))
        known = await self._known.current(wanted)
        for _ in range(TRIES):
            tick = self._known.begin_reading()
            try:
                taken = await self._intake.take(self.route, wanted, whole=True)
                if taken.unsteady:
                    continue
                self._count(taken)
                version = await self._commit_save(taken, known, tick, paths, answer)
            except (ChunkMissing, ManifestMoved):
                await self._known.open(fresh=True)
                continue
            finally:
                self._known.end_reading()
            if version is not None:
                self._counters.saves += 1
                self._counters.save_seconds.observe(self._tools.clock.monotonic() - began)
                return version
        raise DeadlineExceeded("save: the file changes all the time", float(TRIES))

    async def flush(self) -> None:
        """Return when all that is in the workspace is kept; while it is being put back, all that changed.

        Raises QuotaExceeded when some of it is held.
        """
        if self._incarnation is None:
            raise Unavailable("the archive", "the workspace is not followed yet")
        await self._round([], ["."])
        if (told := self._held.told(self.fence.session_id)) is not None:
            room = await self._room()
            files = told.resource == Resource.FILES
            over, needed = (room.files, told.paths) if files else (room.size, told.size)
            raise QuotaExceeded(told.resource, over.used, over.limit or 0, needed)

    async def _commit_save(
        self,
        taken: Taken,
        known: dict[bytes, Entry],
        tick: int,
        paths: Sequence[bytes],
        answer: Answer | None,
    ) -> int | None:
        changes: dict[bytes, Entry] = {}
        # No quota refuses a deletion: directories that are held stay so when what is in them goes.
        deletes = all(taken.entries.get(path) is GONE for path in paths)
        for path, entry in taken.entries.items():
            before = known.get(path)
            if deletes and before is None and path not in paths:
                continue
            # Noted even when nothing is there any more: what is saved has to get a version.
            saved = path in paths and (
                entry is not GONE or before is not None or answer is not None
            )
            if saved or plan.differs(None if entry is GONE else entry, before):
                changes[path] = entry
            if before is not None and before.kind is Kind.DIRECTORY != entry.kind:
                changes |= await self._below(path)
        moved = await self._commit(changes, taken, tick, answer, whole=True)
        return None if moved else self._known.head.version

    # ---- restoring ------------------------------------------------------------------------------

    async def _planned_restore(self, incarnation: str) -> Restorer | None:
        """Return what puts back what the directory lacks; None if it is the one that has everything."""
        if self._known.head.incarnation == incarnation or self._known.head.version == 0:
            return None
        tools, workspace_id = self._tools, self.fence.workspace_id
        restorer = Restorer(tools.client, tools.blobs, workspace_id, self._known.locate)
        await restorer.plan(self._known.children)
        logger.info("workspace %s: %d paths to restore", workspace_id, len(restorer.missing))
        return restorer

    async def _restore_some(self) -> bool:
        """Put the next files back; true when all is there, and on the disk."""
        restorer = self._restorer
        assert restorer is not None
        tick = self._known.begin_reading()
        try:
            async with self._tools.gate:
                made = await restorer.step(self.route, self._tools.clock.monotonic())
            if made:
                await self._commit(made, Taken(), tick)
                self._counters.restored += len(made)
        finally:
            self._known.end_reading()
        return restorer.complete

    async def _finish_restore(self) -> None:
        assert self._incarnation is not None
        await self._known.transact(manifests.settle, self.fence, self._incarnation)
        self._restorer = None
        logger.info("workspace %s is restored", self.fence.workspace_id)

    async def _commit(
        self,
        changes: dict[bytes, Entry],
        taken: Taken,
        tick: int,
        answer: Answer | None = None,
        *,
        whole: bool = False,
    ) -> list[bytes]:
        """Commit what was read or seen; see ``Known.commit``."""
        return await self._known.commit(
            changes,
            taken.stored,
            tick,
            stored_at=taken.stored_at,
            answer=answer,
            whole=whole,
            incarnation=self._incarnation if self._restorer is None else None,
        )

    def _count(self, taken: Taken) -> None:
        self._counters.read_bytes += taken.read_bytes
        self._counters.new_bytes += taken.new_bytes
        self._counters.unsteady += len(taken.unsteady)
        self._counters.unreadable += len(taken.unreadable)
