"""Keeps the manifest of one workspace up to its container: follows changes, saves at request, restores.

A round takes what CODI says has changed, compares it with the manifest, and has versions made of what differs
(``saving``); only then is the change acknowledged to CODI, so that a round cut short anywhere is made
again. Large files are read beside the rounds: whoever follows anew looks at everything, and finds those
that were not read. Files are put back beside the rounds as well (``restoring``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from actors.core.errors.base import Unavailable
from actors.core.records.archive import Kept, SaveAnswer
from actors.core.records.sessions import Route
from cluster.archive.manifest_view import ManifestView
from cluster.archive.restoring.workspace_restore import WorkspaceRestore
from cluster.archive.saving.rounds import Rounds
from cluster.archive.saving.versions import Versions
from cluster.archive.tools import Counters, Tools
from cluster.store.layers.workspaces.manifests import Fence

WAIT_SECONDS = 25.0
HELD_WAIT_SECONDS = 2.0


class WorkspaceSyncer:
    """One workspace in one container. ``follow`` until it raises; ``save`` meanwhile."""

    def __init__(
        self, tools: Tools, fence: Fence, route: Route, counters: Counters, user_id: str
    ) -> None:
        self.fence = fence
        self._tools = tools
        self._counters = counters
        self._known = ManifestView(tools, fence, counters)
        self._restore = WorkspaceRestore(tools, user_id, counters, self._known)
        self._versions = Versions(tools, route, user_id, counters, self._known, self._restore)
        self._rounds = Rounds(tools, counters, self._known, self._versions)

    @property
    def route(self) -> Route:
        """The route to its container."""
        return self._versions.route

    @route.setter
    def route(self, route: Route) -> None:
        self._versions.route = route

    @property
    def whole(self) -> bool:
        """True once it is known that nothing is yet to be put back."""
        return self._restore.complete_incarnation is not None

    @property
    def restoring(self) -> int:
        """The number of paths yet to be put back."""
        return self._restore.missing

    async def follow(self) -> None:
        """Follow until cancelled. Raises Fenced, Unavailable and whatever else ends it."""
        large, rounds = self._versions.large, self._rounds
        restoring = self._restore.run(lambda: self.route, rounds.walk_through)
        try:
            await _first_end(self._follow(), large.run(), restoring)
        finally:
            await large.close()
            await self._restore.close()

    async def _follow(self) -> None:
        syncer, rounds, cursor = self._tools.new_id("f"), self._rounds, -1
        await self._known.open(fresh=True)
        await rounds.open()
        while True:
            busy = rounds.busy or not self.whole
            wait = (HELD_WAIT_SECONDS if busy else WAIT_SECONDS) if cursor >= 0 else 0.0
            answer = await self._tools.client.changes(self.route, syncer, cursor, wait)
            # First of all: as long as it is not known whether a directory is complete, nothing that
            # is missing in it may count as deleted.
            await self._restore.begin(str(answer["incarnation"]))
            await rounds.round(answer["items"], answer["trees"])
            await rounds.look_again()
            await rounds.publish()
            cursor = int(answer["cursor"])

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
        if self._restore.incarnation is None:
            raise Unavailable("the archive", "the workspace is not followed yet")
        await self._rounds.flush()


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
