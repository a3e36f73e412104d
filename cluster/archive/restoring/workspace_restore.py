"""The restore of one workspace's directory, from finding out whether it needs one until it has everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container
from contextlib import AbstractAsyncContextManager

from actors.core.errors.base import Unavailable
from actors.core.records.archive import Unrestored
from actors.core.records.sessions import Route
from cluster.archive.listing import bounded
from cluster.archive.manifest_view import ManifestView
from cluster.archive.restoring.restorer import Restorer
from cluster.archive.tools import Counters, Tools
from cluster.store.layers import usage
from cluster.store.layers.workspaces import manifests

logger = logging.getLogger(__name__)


class WorkspaceRestore:
    """``begin`` once the directory's name is known; ``run`` beside all else; ``close`` when that ends."""

    def __init__(self, tools: Tools, user_id: str, counters: Counters, known: ManifestView) -> None:
        self.incarnation: str | None = None
        self._restorer: Restorer | None = None
        self._turn: Callable[[], AbstractAsyncContextManager[None]] = lambda: (
            tools.restore_turns.turn(user_id)
        )
        self._tools = tools
        self._counters = counters
        self._known = known
        self._recorded: Unrestored | None = None
        self._begun = asyncio.Event()

    # ---- what is yet to be put back -------------------------------------------------------------

    @property
    def complete_incarnation(self) -> str | None:
        """The directory's name, once it has everything."""
        return self.incarnation if self._restorer is None else None

    @property
    def missing(self) -> int:
        """The number of paths yet to be put back."""
        return len(self._restorer.missing) if self._restorer is not None else 0

    @property
    def opened(self) -> Container[bytes]:
        """Directories that have more permissions for the time being than they should."""
        return self._restorer.opened if self._restorer is not None else ()

    def awaits(self, path: bytes, *, within: bool = False) -> bool:
        """Return whether a path may be absent only because it, or what is in it, is not put back yet.

        ``within``: only because of what is in it. Raises Unavailable as long as it is not known whether
        the directory is complete.
        """
        if self.incarnation is None:
            raise Unavailable("the archive", "the workspace is not followed yet")
        return self._restorer is not None and self._restorer.awaits(path, within=within)

    # ---- restoring ------------------------------------------------------------------------------

    async def begin(self, incarnation: str) -> None:
        """Plan what the directory lacks, if it is not the one that has everything; once."""
        if self.incarnation is None:
            self._recorded = await self._known.transact(
                usage.unrestored, self._known.fence.session_id
            )
            self._restorer = await self._planned(incarnation)
            self.incarnation = incarnation
            self._begun.set()

    async def _planned(self, incarnation: str) -> Restorer | None:
        tools, known = self._tools, self._known
        if known.head.incarnation == incarnation or known.head.version == 0:
            await self._record(None)
            return None
        workspace_id = known.fence.workspace_id
        restorer = Restorer(tools.client, tools.blobs, workspace_id, known.locate, known.current)
        await restorer.plan(known.below(b""))
        await self._record(Unrestored(session_id=known.fence.session_id, paths=0))
        logger.info("workspace %s: %d paths to restore", workspace_id, len(restorer.missing))
        return restorer

    async def run(
        self, route: Callable[[], Route], look_through: Callable[[], Awaitable[None]]
    ) -> None:
        """Put back what the directory lacks, if anything. Does not end by itself.

        ``look_through`` finds out at last what was made, changed or deleted meanwhile.
        """
        await self._begun.wait()
        restorer = self._restorer
        if restorer is not None:
            while not restorer.complete:
                await self._put_back_some(restorer, route())
                await self._tools.clock.sleep(restorer.pause)
            await look_through()
            assert self.incarnation is not None
            await self._known.transact(manifests.settle, self._known.fence, self.incarnation)
            self._restorer = None
            await self._record(None)
            logger.info("workspace %s is restored", self._known.fence.workspace_id)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """End what goes on in the background."""
        if self._restorer is not None:
            await self._restorer.close()

    async def _put_back_some(self, restorer: Restorer, route: Route) -> None:
        """Put the next files back, and say what cannot be."""
        with self._known.look() as look:
            async with self._turn():
                made, there = await restorer.step(route, self._tools.clock.monotonic())
                # Whoever has seen that it was not there must not commit that it is gone.
                self._known.note(there, look)
            if made:
                await self._known.commit(dict(made), {}, look)  # their content is known
                self._counters.restored += len(made)
        failed = [(path, reason, 0) for path, (reason, _) in sorted(restorer.failed.items())]
        session_id, listed = self._known.fence.session_id, tuple(bounded(failed))
        await self._record(Unrestored(session_id=session_id, paths=len(failed), left_out=listed))

    async def _record(self, unrestored: Unrestored | None) -> None:
        """Have the session say that its workspace is being put back, and what cannot be; None: all is."""
        if unrestored != self._recorded:
            session_id = self._known.fence.session_id
            await self._known.transact(usage.record_unrestored, session_id, unrestored)
            self._recorded = unrestored
