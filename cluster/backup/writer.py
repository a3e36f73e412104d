"""Makes a backup: holds the packs, copies the store as of one moment, copies what that copy needs.

No pack is removed while the hold stands (``store.backup_holds``). It is put before the store is copied,
so whatever the copy refers to is there until it has been copied, too. The hold is also what keeps two
backups from being made at once; it runs out by itself when its maker dies.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from actors.core.ports.clock import Clock
from cluster.backup.catalog import PART_BYTES, Backup, Catalog, FdbPart, Piece
from cluster.blobs import Blobs
from cluster.store.engines.interface import Engine
from cluster.store.layers.keyspace import Directory, Keyspace
from cluster.store.layers.workspaces import backup_holds, chunks, retention
from cluster.store.transactions.transaction import Transaction, transact

logger = logging.getLogger(__name__)

HOLD_SECONDS = 900.0
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Moment:
    """The store as of one moment: an engine to read it, and its file if it is one."""

    engine: Engine
    file: Path | None = None
    fdb: FdbPart | None = None


@dataclass(frozen=True, slots=True)
class BackupTools:
    """``freeze`` opens the store as of now.

    It gets a directory for its own use, the backup's id, and a function that takes its progress.
    """

    engine: Engine
    tenant_id: str
    node_id: str
    chunks: Blobs
    place: Blobs
    freeze: Callable[[Path, str, Callable[[str], None]], AbstractAsyncContextManager[Moment]]
    scratch: Path
    clock: Clock
    new_id: Callable[[str], str]


class BackupWriter:
    """Makes backups of one server into one place."""

    def __init__(self, tools: BackupTools) -> None:
        self._tools = tools
        self._keys = Keyspace(tools.tenant_id)
        self._catalog = Catalog(tools.place)

    async def create(self, progress: Callable[[str], None] = logger.info) -> Backup:
        """Make one and return it. Raises Busy while another is made, StoreFull, Unavailable."""
        tools = self._tools
        now = tools.clock.now()
        moment = dt.datetime.fromtimestamp(now, dt.UTC)
        backup_id = f"b-{moment:%Y%m%dT%H%M%S}-{tools.new_id('b')[-6:]}"
        scratch = tools.scratch / backup_id
        await self._hold(backup_id)
        renewing = asyncio.create_task(self._renew(backup_id), name=f"hold {backup_id}")
        making = asyncio.create_task(
            self._make(backup_id, scratch, now, progress), name=f"make {backup_id}"
        )
        try:
            await asyncio.wait({making, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done():
                renewing.result()
            return await making
        finally:
            for task in (making, renewing):
                task.cancel()
            await asyncio.gather(making, renewing, return_exceptions=True)
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
            await transact(tools.engine, backup_holds.release, self._keys, backup_id)

    async def _make(
        self, backup_id: str, scratch: Path, now: float, progress: Callable[[str], None]
    ) -> Backup:
        tools = self._tools
        async with tools.freeze(scratch, backup_id, progress) as moment:
            parts = await self._store_parts(backup_id, moment.file)
            files = moment.fdb.files if moment.fdb is not None else []
            store_bytes = sum(piece.size for piece in (*parts, *files))
            progress(f"store: {store_bytes:,} bytes")
            packs, copied = await self._packs(moment, progress)
            backup = Backup(
                backup_id=backup_id,
                tenant_id=tools.tenant_id,
                node_id=tools.node_id,
                created_at=now,
                finished_at=tools.clock.now(),
                sessions=await self._count(moment.engine, self._keys.sessions),
                users=await self._count(moment.engine, self._keys.users),
                parts=parts,
                packs=packs,
                copied_bytes=copied + store_bytes,
                fdb=moment.fdb,
            )
            await self._catalog.add(backup)
        return backup

    # ---- the store ------------------------------------------------------------------------------

    async def _store_parts(self, backup_id: str, file: Path | None) -> list[Piece]:
        parts: list[Piece] = []
        if file is None:
            return parts
        with file.open("rb") as source:
            while data := await asyncio.to_thread(source.read, PART_BYTES):
                parts.append(await self._put(f"{backup_id}/part-{len(parts):06d}", data))
        return parts

    async def _put(self, name: str, data: bytes) -> Piece:
        await self._tools.place.put(name, data)
        return Piece(name=name, size=len(data), blake3=blake3(data).hexdigest())

    # ---- packs ----------------------------------------------------------------------------------

    async def _packs(
        self, moment: Moment, progress: Callable[[str], None]
    ) -> tuple[list[Piece], int]:
        """Copy the packs that the moment needs and the place lacks; return all, and the bytes copied."""
        known = await self._known()
        pieces: list[Piece] = []
        copied = 0
        async for workspace_id in self._workspaces(moment.engine):
            there = await self._tools.place.listing(workspace_id)
            for pack in await self._needed(moment, workspace_id):
                name = f"{workspace_id}/{pack}"
                piece = known.get(name) if pack in there else None
                if piece is None:
                    piece = await self._put(name, await self._tools.chunks.read(name))
                    copied += piece.size
                pieces.append(piece)
            progress(f"contents: {len(pieces):,} packs, {copied:,} bytes copied")
        return pieces, copied

    async def _known(self) -> dict[str, Piece]:
        """Return what earlier backups say of packs: those of the newest that can be read."""
        for backup_id in reversed(await self._catalog.ids()):
            try:
                backup = await self._catalog.get(backup_id)
            except (NotFound, Unavailable):
                continue
            return {piece.name: piece for piece in backup.packs}
        return {}

    async def _needed(self, moment: Moment, workspace_id: str) -> list[str]:
        if moment.file is None:
            # Its own backup's moment lies somewhere in the time that it took: all that were there.
            names = await self._tools.chunks.listing(workspace_id)
            return sorted(name for name in names if not name.startswith("."))
        live = await transact(moment.engine, chunks.live_packs, self._keys, workspace_id)
        return sorted(live)

    async def _workspaces(self, engine: Engine) -> AsyncIterator[str]:
        after: str | None = None
        while True:
            page = await transact(engine, retention.workspaces, self._keys, after, PAGE)
            for workspace_id in page:
                yield workspace_id
            if len(page) < PAGE:
                return
            after = page[-1]

    @staticmethod
    async def _count(engine: Engine, branch: Directory) -> int:
        async def work(tr: Transaction) -> int:
            return len(await tr.get_range(branch.range(), limit=1_000_000, snapshot=True))

        return await transact(engine, work)

    # ---- the hold -------------------------------------------------------------------------------

    async def _hold(self, backup_id: str) -> None:
        tools = self._tools
        hold = backup_holds.hold
        await transact(tools.engine, hold, self._keys, backup_id, tools.clock.now(), HOLD_SECONDS)

    async def _renew(self, backup_id: str) -> None:
        """Keep the hold until cancelled; ends with an error when it cannot be kept."""
        while True:
            await self._tools.clock.sleep(HOLD_SECONDS / 10)
            await self._hold(backup_id)
