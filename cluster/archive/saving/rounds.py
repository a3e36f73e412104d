"""The rounds of one workspace: what was reported or listed is looked into, and what is not archived is said.

A round that raises was cut short: whoever follows anew looks at everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from actors.core.errors.limits import QuotaExceeded
from actors.core.quotas import Resource
from actors.core.records.archive import Unarchived
from cluster.archive import diff
from cluster.archive.manifest_view import ManifestView
from cluster.archive.saving import left_out, round_plan
from cluster.archive.saving.versions import COMMIT_CHANGES, Versions
from cluster.archive.saving.walk import differences
from cluster.archive.tools import Counters, Tools
from cluster.store.layers import usage
from cluster.store.layers.entries import GONE, Entry

GONE_AT_ONCE = 20_000


class Rounds:
    """``open`` first; then a ``round`` for each report, and behind it ``look_again`` and ``publish``."""

    def __init__(
        self, tools: Tools, counters: Counters, known: ManifestView, versions: Versions
    ) -> None:
        self._tools = tools
        self._counters = counters
        self._known = known
        self._versions = versions
        self._published: Unarchived | None = None
        self._walking = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """True while something is held or under way, and has to be looked after."""
        return bool(self._versions.held or self._versions.large.paths)

    async def open(self) -> None:
        """Find out what was published last. Everything is looked at next."""
        self._known.moved = False
        self._published = await self._known.transact(usage.unarchived, self._known.fence.session_id)

    async def round(self, items: Iterable[list[Any]], trees: Sequence[str]) -> None:
        """Look into what is reported: additions first, since what is gone may be one of them moved."""
        if not (items or trees):
            return
        versions, clock = self._versions, self._tools.clock
        began = clock.monotonic()
        marked = [diff.seen(item) for item in items]
        paths = [each.path for each in marked]
        with self._known.look(paths) as look:
            known = await self._known.current(paths)
            found, gone, same, opened = round_plan.of_marks(marked, known, versions.left_out)
            gone |= await self._known.settle(same, look)
        wanted = [tree.encode("utf-8", "surrogateescape") for tree in trees] + opened
        if wanted:
            await versions.read(found)
            found = {}
        for tree in dict.fromkeys(wanted):
            await (self.walk_through() if tree == b"." else self._walk(tree))
        await versions.read(found | gone)
        versions.held.touched()
        self._counters.rounds += 1
        self._counters.round_seconds.observe(clock.monotonic() - began)

    async def walk_through(self) -> None:
        """Compare the whole workspace with the manifest; one at a time, so that what is met is counted."""
        versions, clock = self._versions, self._tools.clock
        async with self._walking:
            began = clock.monotonic()
            versions.held.begin_walk()
            versions.left_out.begin_walk()
            versions.large.begin_walk()
            await self._walk(b"")
            now = clock.monotonic()
            versions.held.end_walk(now, now - began)
            versions.left_out.end_walk(versions.large.paths)

    async def _walk(self, tree: bytes) -> None:
        """Compare everything below a directory with the manifest; additions first, then losses."""
        versions = self._versions
        read: dict[bytes, Entry] = {}
        gone: dict[bytes, Entry] = {}
        client, route = self._tools.client, lambda: versions.route
        async for found in differences(client, route, self._known, tree, versions.turn):
            for path, why in found.left_out.items():
                versions.left_out.note(path, why)
            read |= found.read
            gone |= dict.fromkeys(found.gone, GONE)
            if len(gone) >= GONE_AT_ONCE:
                await versions.read(read | gone)
                read, gone = {}, {}
            elif len(read) >= COMMIT_CHANGES:
                await versions.read(read)
                read = {}
        await versions.read(read | gone)

    async def look_again(self) -> None:
        """Look through the workspace for what can be archived by now, or was not taken up."""
        known, large, held = self._known, self._versions.large, self._versions.held
        await known.open()
        moved, known.moved = known.moved, False
        missed = large.missed and not large.paths
        if (moved or missed) or (
            held.may_look(self._tools.clock.monotonic())
            and held.worth_looking(await self._versions.room())
        ):
            await self.walk_through()

    async def publish(self) -> None:
        """Publish what of the workspace is not archived, when that has changed."""
        session_id, now = self._known.fence.session_id, self._tools.clock.now()
        versions = self._versions
        report = left_out.report(versions.left_out, versions.held, session_id, self._published, now)
        if report == self._published:
            return
        await self._known.transact(usage.record_unarchived, session_id, report)
        self._published = report
        self._tools.events.publish(session_id, "unarchived", {} if report is None else report.event)

    async def flush(self) -> None:
        """Return when all that is in the workspace is kept. Raises QuotaExceeded when some of it is held."""
        await self.walk_through()
        await self._versions.large.done()
        held = self._versions.held
        if held.lacks is not None:
            room = await self._versions.room()
            files = held.lacks is Resource.FILES
            over, needed = (room.files, held.paths) if files else (room.size, held.size)
            raise QuotaExceeded(held.lacks.value, over.used, over.limit or 0, needed)
