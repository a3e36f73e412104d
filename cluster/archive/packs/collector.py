"""Collects garbage: versions that are no longer kept, packs without a live chunk, packs of nobody.

What a manifest needs cannot be hit: chunks are counted in the store's transactions (``chunks``), and a
pack's name is never used twice. A pack that a writer stored and never committed is known by being in
no manifest though it is old; writers commit what they stored within half an hour or store it anew
(``packs.MAX_UPLOAD_AGE``), so a day is old enough.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import NotFound
from actors.core.ports.clock import Clock
from cluster.archive.packs.compactor import WRITTEN_AT_ONCE, Compactor
from cluster.blobs import Blobs
from cluster.store.engines.interface import Engine
from cluster.store.layers import usage
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.workspaces import backup_holds, chunks, manifests, retention
from cluster.store.layers.workspaces.recount import recount
from cluster.store.transactions.transaction import transact

logger = logging.getLogger(__name__)

COLLECT_SECONDS = 600.0
SWEEP_EVERY = 36
ORPHAN_SECONDS = 24 * 3600.0
PRUNED_AT_ONCE = 200
PAGE = 200


class Collector:
    """Collects for one tenant; any number of nodes may do so at once.

    Versions are kept for ``keep_seconds``, and the newest ``keep_versions`` however old they are.
    """

    def __init__(
        self,
        engine: Engine,
        keys: Keyspace,
        blobs: Blobs,
        clock: Clock,
        *,
        keep_seconds: float,
        keep_versions: int,
        new_id: Callable[[str], str],
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._blobs = blobs
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._keep_versions = keep_versions
        self._compactor = Compactor(engine, keys, blobs, clock, new_id)
        self._pruned = self._removed = self._swept = self._corrected = self._failures = 0

    async def run(self) -> None:
        """Collect until cancelled, and sweep now and then."""
        turn = 0
        while True:
            try:
                await self.collect()
                if turn % SWEEP_EVERY == 0:
                    await self.sweep()
                    await self.count(every=turn > 0)
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("garbage is collected later: %s", error)
            turn += 1
            await self._clock.sleep(COLLECT_SECONDS)

    def stats(self) -> dict[str, Any]:
        """Return counters."""
        return {
            "entries_pruned_total": self._pruned,
            "packs_removed_total": self._removed,
            "packs_swept_total": self._swept,
            "counts_corrected_total": self._corrected,
            "collector_failures_total": self._failures,
        } | self._compactor.stats()

    async def collect(self) -> None:
        """Remove what is no longer kept, and the packs that nothing lives in."""
        async for workspace_id in self._workspaces():
            await self.prune(workspace_id)
            await self._remove_dead_packs(workspace_id)
        dead = await transact(self._engine, retention.dead_workspaces, self._keys)
        if await self._held():
            return
        for workspace_id in dead:
            await self._blobs.delete_group(workspace_id)
            await transact(self._engine, retention.forget_workspace, self._keys, workspace_id)

    async def prune(self, workspace_id: str) -> None:
        """Remove the versions of a workspace that are no longer kept."""
        before = self._clock.now() - self._keep_seconds
        keep = self._keep_versions
        engine, keys = self._engine, self._keys
        oldest = await transact(engine, retention.expired, keys, workspace_id, before, keep)
        if not await transact(engine, retention.raise_oldest, keys, workspace_id, oldest):
            return
        while True:
            done = await transact(engine, retention.prune, keys, workspace_id, PRUNED_AT_ONCE)
            self._pruned += done
            if done < PRUNED_AT_ONCE:
                return

    async def sweep(self) -> None:
        """Remove packs that are in no manifest: their writer died before its commit. Compact others.

        A workspace where that fails, as at a damaged pack, is counted; those behind it have their turn.
        """
        budget = WRITTEN_AT_ONCE
        async for workspace_id in self._workspaces():
            try:
                budget -= await self._sweep(workspace_id, budget)
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("workspace %s is swept later: %s", workspace_id, error)

    async def _sweep(self, workspace_id: str, budget: int) -> int:
        """Sweep and compact one workspace; return how many bytes were written."""
        listed = await self._blobs.listing(workspace_id)
        live = await transact(self._engine, chunks.live_packs, self._keys, workspace_id)
        orphans = [
            pack for pack, (age, _) in listed.items() if age > ORPHAN_SECONDS and pack not in live
        ]
        if orphans and await self._held():
            orphans = []  # a backup may be about to copy them: the next sweep
        for pack in orphans:
            await self._blobs.delete(f"{workspace_id}/{pack}")
            self._swept += 1
        sizes = {pack: size for pack, (_, size) in listed.items()}
        return await self._compactor.compact(workspace_id, sizes, live, budget)

    async def count(self, *, every: bool) -> None:
        """Compare what users are said to have with what there is, and correct it.

        Workspaces are counted that never were (those of an earlier release), or with ``every`` all.
        """
        engine, keys = self._engine, self._keys
        async for workspace_id in self._workspaces():
            head = await transact(engine, manifests.head, keys, workspace_id)
            if every or head.counts == 0:
                with suppress(NotFound):  # its versions went on too fast: the next time
                    error = await recount(engine, keys, workspace_id)
                    self._note(f"workspace {workspace_id}", corrected=any(error))
        for user_id in sorted(await transact(engine, usage.counted_users, keys)):
            now = self._clock.now()
            errors = await transact(engine, usage.reconcile, keys, user_id, now)
            self._note(f"user {user_id}", corrected=bool(errors))

    def _note(self, what: str, *, corrected: bool) -> None:
        if corrected:
            self._corrected += 1
            logger.warning("the count of %s was wrong, and is corrected", what)

    async def _remove_dead_packs(self, workspace_id: str) -> None:
        packs = await transact(self._engine, chunks.dead_packs, self._keys, workspace_id)
        if packs and await self._held():
            return
        for pack in packs:
            await self._blobs.delete(f"{workspace_id}/{pack}")
            self._removed += 1
        if packs:
            forget = chunks.forget_packs
            await transact(self._engine, forget, self._keys, workspace_id, packs)

    async def _held(self) -> bool:
        """Return whether a backup may need what is dead; asked after looking for it, see ``backup_holds``."""
        held = backup_holds.held
        return await transact(self._engine, held, self._keys, self._clock.now())

    async def _workspaces(self) -> AsyncIterator[str]:
        after: str | None = None
        while True:
            page = await transact(self._engine, retention.workspaces, self._keys, after, PAGE)
            for workspace_id in page:
                yield workspace_id
            if len(page) < PAGE:
                return
            after = page[-1]
