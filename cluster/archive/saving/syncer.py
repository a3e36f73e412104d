"""Keeps the manifest of one workspace up to its container: follows changes, saves at request, restores.

A round takes what CODI says has changed, compares it with the manifest, and has versions made of what differs
(``versions``); only then is the change acknowledged to CODI, so that a round cut short anywhere is made
again. Large files are read beside the rounds: whoever follows anew looks at everything, and finds those
that were not read. Files are put back beside the rounds as well.

Rounds and saves run side by side. Each notes what it began to read; at its commit, paths that another
one has committed since are read again, so that an older look never hides a newer one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from actors.core.errors.base import Unavailable
from actors.core.errors.limits import QuotaExceeded
from actors.core.quotas import Resource
from actors.core.records.archive import Kept, Reason, SaveAnswer, Unarchived, Unrestored
from actors.core.records.sessions import Route
from cluster.archive import diff as plan
from cluster.archive.restoring.restorer import Restorer
from cluster.archive.saving import left_out
from cluster.archive.saving.quota_backlog import QuotaBacklog
from cluster.archive.saving.versions import COMMIT_CHANGES, Versions
from cluster.archive.saving.walk import differences
from cluster.archive.tools import Counters, Tools
from cluster.store.layers import usage
from cluster.store.layers.entries import Entry, Kind
from cluster.store.layers.workspaces import manifests
from cluster.store.layers.workspaces.manifests import Fence

logger = logging.getLogger(__name__)

WAIT_SECONDS = 25.0
GONE_AT_ONCE = 20_000
HELD_WAIT_SECONDS = 2.0


class WorkspaceSyncer:
    """One workspace in one container. ``follow`` until it raises; ``save`` meanwhile."""

    def __init__(
        self, tools: Tools, fence: Fence, route: Route, counters: Counters, user_id: str
    ) -> None:
        self.fence = fence
        self._tools = tools
        self._counters = counters
        self._versions = Versions(tools, fence, user_id, counters)
        self._known = self._versions.known
        self._published: Unarchived | None = None
        self._unrestored: Unrestored | None = None
        self._planned = asyncio.Event()
        self._walking = asyncio.Lock()
        self.route = route

    @property
    def route(self) -> Route:
        """The route to its container."""
        assert self._versions.route is not None
        return self._versions.route

    @route.setter
    def route(self, route: Route) -> None:
        self._versions.route = route

    @property
    def version(self) -> int:
        """The newest version that is known here."""
        return self._known.head.version

    @property
    def whole(self) -> bool:
        """True once it is known that nothing is yet to be put back."""
        return self._versions.incarnation is not None and self._restorer is None

    @property
    def restoring(self) -> int:
        """The number of paths yet to be put back."""
        return len(self._restorer.missing) if self._restorer is not None else 0

    @property
    def held(self) -> bool:
        """True while a quota keeps some of the workspace from being archived."""
        return bool(self._held)

    @property
    def _held(self) -> QuotaBacklog:
        return self._versions.held

    @property
    def _restorer(self) -> Restorer | None:
        return self._versions.restorer

    # ---- following ------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Follow until cancelled. Raises Fenced, Unavailable and whatever else ends it."""
        large = self._versions.large
        try:
            await _first_end(self._follow(), large.run(), self._restore())
        finally:
            await large.close()
            if self._restorer is not None:
                await self._restorer.close()

    async def _follow(self) -> None:
        tools, syncer, versions = self._tools, self._tools.new_id("f"), self._versions
        await self._known.open(fresh=True)
        self._published = await self._known.transact(usage.unarchived, self.fence.session_id)
        self._unrestored = await self._known.transact(usage.unrestored, self.fence.session_id)
        cursor = -1
        while True:
            # What is held, or under way, has to be looked after.
            busy = self._held or versions.large.paths or self._restorer is not None
            wait = (HELD_WAIT_SECONDS if busy else WAIT_SECONDS) if cursor >= 0 else 0.0
            answer = await tools.client.changes(self.route, syncer, cursor, wait)
            if versions.incarnation is None:
                incarnation = str(answer["incarnation"])
                # The plan first: as long as it is not known whether a directory is complete, nothing
                # that is missing in it may count as deleted.
                versions.restorer = await self._planned_restore(incarnation)
                versions.incarnation = incarnation
                self._planned.set()
            began = tools.clock.monotonic()
            if answer["items"] or answer["trees"]:
                await self._round(answer["items"], answer["trees"])
                self._held.touched()
                self._counters.rounds += 1
                self._counters.round_seconds.observe(tools.clock.monotonic() - began)
            await self._look_again()
            await self._publish()
            cursor = int(answer["cursor"])

    async def _round(self, items: Iterable[list[Any]], trees: Sequence[str]) -> None:
        wanted = [tree.encode("utf-8", "surrogateescape") for tree in trees]
        wanted += await self._take_marked([plan.seen(item) for item in items])
        for tree in dict.fromkeys(wanted):
            await (self._walk_through() if tree == b"." else self._walk(tree))

    async def _walk_through(self) -> None:
        """Compare the whole workspace with the manifest; one at a time, so that what is met is counted."""
        versions, clock = self._versions, self._tools.clock
        async with self._walking:
            began = clock.monotonic()
            self._held.begin_walk()
            versions.left_out.begin_walk()
            await self._walk(b"")
            now = clock.monotonic()
            self._held.end_walk(now, now - began)
            versions.left_out.end_walk(versions.large.paths)

    async def _take_marked(self, marked: Sequence[plan.Seen]) -> list[bytes]:
        """Keep what single paths are; return directories in which there is to be looked anew."""
        left, versions = self._versions.left_out, self._versions
        known = await self._known.current([each.path for each in marked])
        found: dict[bytes, Entry] = {}
        gone: dict[bytes, Entry] = {}
        opened: list[bytes] = []
        for path, entry, why in marked:
            if why is not None:
                left.note(path, why)
                if why is Reason.UNREADABLE:
                    continue
            elif entry is None:
                left.gone([path])
            elif entry.kind is Kind.DIRECTORY and path in left:
                opened.append(path)
            if plan.differs(entry, known.get(path)):
                if entry is not None:
                    found[path] = entry
                elif path in known:
                    gone[path] = known[path]
        # What is gone first: it makes room.
        await versions.drop(gone)
        await versions.read(found)
        return opened

    async def _walk(self, tree: bytes) -> None:
        """Compare everything below a directory with the manifest; additions first, then losses."""
        versions = self._versions
        read: dict[bytes, Entry] = {}
        gone: dict[bytes, Entry] = {}
        client, route = self._tools.client, lambda: self.route
        async for found in differences(client, route, self._known, tree, versions.turn):
            for path, why in found.left_out.items():
                versions.left_out.note(path, why)
            read |= found.read
            gone |= found.gone
            if len(read) >= COMMIT_CHANGES:
                await versions.read(read)
                read = {}
            if len(gone) >= GONE_AT_ONCE:
                await versions.read(read)
                await versions.drop(gone)
                read, gone = {}, {}
        await versions.read(read)
        await versions.drop(gone)

    # ---- what is not archived -------------------------------------------------------------------

    async def _look_again(self) -> None:
        """Look through the workspace for what can be archived by now, or was not taken up."""
        large = self._versions.large
        missed = large.missed and not large.paths
        if missed or (
            self._held.may_look(self._tools.clock.monotonic())
            and self._held.worth_looking(await self._versions.room())
        ):
            large.missed = large.missed and not missed
            await self._walk_through()

    async def _publish(self) -> None:
        """Have the session say what is not archived of it, when that has changed."""
        session_id, now = self.fence.session_id, self._tools.clock.now()
        report = left_out.report(
            self._versions.left_out, self._held, session_id, self._published, now
        )
        if report == self._published:
            return
        await self._known.transact(usage.record_unarchived, session_id, report)
        self._published = report
        await self._tools.publish(session_id, report)

    # ---- saving ---------------------------------------------------------------------------------

    async def save(
        self, paths: Sequence[bytes], answer: SaveAnswer | None = None, *, give_up: bool = False
    ) -> Kept:
        """Take paths in at once; return the version that has them, durable, and what is left out.

        ``answer`` is remembered in the same transaction. ``give_up``: what is below paths that are gone
        is gone as well, even if it is yet to be put back. Raises StoreFull, QuotaExceeded, Fenced,
        Unavailable.
        """
        began = self._tools.clock.monotonic()
        kept = await self._versions.save(paths, answer, give_up=give_up)
        self._counters.saves += 1
        self._counters.save_seconds.observe(self._tools.clock.monotonic() - began)
        return kept

    async def flush(self) -> None:
        """Return when all that is in the workspace is kept; while it is being put back, all that changed.

        Raises QuotaExceeded when some of it is held.
        """
        if self._versions.incarnation is None:
            raise Unavailable("the archive", "the workspace is not followed yet")
        await self._walk_through()
        await self._versions.large.done()
        held = self._held
        if held.lacks is not None:
            room = await self._versions.room()
            files = held.lacks is Resource.FILES
            over, needed = (room.files, held.paths) if files else (room.size, held.size)
            raise QuotaExceeded(held.lacks.value, over.used, over.limit or 0, needed)

    # ---- restoring ------------------------------------------------------------------------------

    async def _planned_restore(self, incarnation: str) -> Restorer | None:
        """Return what puts back what the directory lacks; None if it is the one that has everything."""
        if self._known.head.incarnation == incarnation or self._known.head.version == 0:
            await self._record_unrestored(None)
            return None
        tools, workspace_id = self._tools, self.fence.workspace_id
        known = self._known
        restorer = Restorer(tools.client, tools.blobs, workspace_id, known.locate, known.current)
        await restorer.plan(self._known.below(b""))
        await self._record_unrestored(Unrestored(session_id=self.fence.session_id, paths=0))
        logger.info("workspace %s: %d paths to restore", workspace_id, len(restorer.missing))
        return restorer

    async def _record_unrestored(self, unrestored: Unrestored | None) -> None:
        """Have the session say that its workspace is being put back, and what cannot be; None: all is."""
        if unrestored != self._unrestored:
            work = usage.record_unrestored
            await self._known.transact(work, self.fence.session_id, unrestored)
            self._unrestored = unrestored

    async def _restore(self) -> None:
        """Put back what the directory lacks, if anything, beside all else. Does not end by itself."""
        await self._planned.wait()
        restorer = self._restorer
        if restorer is not None:
            while not restorer.complete:
                await self._restore_some(restorer)
                await self._tools.clock.sleep(restorer.pause)
            # A last look finds out what was made, changed or deleted meanwhile.
            await self._walk_through()
            await self._finish_restore()
        await asyncio.Event().wait()

    async def _restore_some(self, restorer: Restorer) -> None:
        """Put the next files back, and say what cannot be."""
        with self._known.reading() as reading:
            async with self._tools.restore_turns.turn(self._versions.user_id):
                made = await restorer.step(self.route, self._tools.clock.monotonic())
            if made:
                await self._versions.commit(made, reading)
                self._counters.restored += len(made)
        failed = [(path, reason, 0) for path, (reason, _) in sorted(restorer.failed.items())]
        listed = tuple(left_out.bounded(failed))
        session_id = self.fence.session_id
        await self._record_unrestored(
            Unrestored(session_id=session_id, paths=len(failed), left_out=listed)
        )

    async def _finish_restore(self) -> None:
        assert self._versions.incarnation is not None
        await self._known.transact(manifests.settle, self.fence, self._versions.incarnation)
        self._versions.restorer = None
        await self._record_unrestored(None)
        logger.info("workspace %s is restored", self.fence.workspace_id)


async def _first_end(*works: Coroutine[Any, Any, None]) -> None:
    """Do several things until one of them ends, and raise what that one raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            try:
                task.result()
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
