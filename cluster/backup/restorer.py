"""Puts a backup into an empty server's data directory and chunk store.

Everything is read and compared before anything is written. Contents come first and the store last, under
another name until it is whole: a restore that was cut short leaves no server that could start.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import PreconditionFailed
from cluster.backup.catalog import Backup, Damage, FdbPart, Piece
from cluster.backup.fdb.commands import RestoreStatus
from cluster.backup.fdb.tools import FdbTools
from cluster.backup.verify import read, verify
from cluster.belonging import adopt
from cluster.blobs import Blobs
from cluster.layout import Layout

STORE_FILE = "data.mdb"
_DRAFT = "data.mdb.restoring"


class DamagedBackup(Unavailable):
    """A backup that cannot be trusted; ``damage`` says what of it."""

    def __init__(self, backup_id: str, damage: list[Damage]) -> None:
        self.damage = damage
        what = "; ".join(f"{each.name}: {each.reason}" for each in damage[:20])
        more = f"; and {len(damage) - 20} more" if len(damage) > 20 else ""
        super().__init__(f"backup {backup_id}", f"damaged, nothing was restored: {what}{more}")


async def restore(
    place: Blobs,
    backup: Backup,
    layout: Layout,
    chunks: Blobs,
    progress: Callable[[str, int, int], None],
    tools: FdbTools | None = None,
) -> None:
    """Restore. ``progress`` gets the step, how much is done and how much it is in all.

    ``tools`` are those of the cluster of the server that it is for, None when its store is the embedded
    one. Raises DamagedBackup, PreconditionFailed when the server is not empty or has another store,
    StoreFull, Unavailable.
    """
    check_empty(layout)
    part = backup.fdb
    if tools is not None:
        await _check_cluster(part, tools)
    elif part is not None:
        raise PreconditionFailed("store", "foundationdb, as the backup's is", "embedded")
    verified = lambda done, whole: progress("verify", done, whole)  # noqa: E731
    damaged = await verify(place, backup, verified, tools)
    if damaged:
        raise DamagedBackup(backup.backup_id, damaged)
    layout.prepare()
    # What was the store's server and chunk store is this one from now on.
    adopt(layout.data_dir)
    (layout.data_dir / "node-id").write_text(f"{backup.node_id}\n")
    done, whole = 0, sum(piece.size for piece in backup.packs)
    for piece in backup.packs:
        await chunks.put(piece.name, await read(place, piece))
        done += piece.size
        progress("contents", done, whole)
    if backup.parts:
        await _write_store(place, backup.parts, layout.store_dir)
        progress("store", 1, 1)
    if part is not None and tools is not None:

        def restored(status: RestoreStatus) -> None:
            progress("store", status.done, status.whole)

        await tools.restore(part.url, part.version, restored)


async def _check_cluster(part: FdbPart | None, tools: FdbTools) -> None:
    if part is None:
        raise PreconditionFailed("store", "embedded, as the backup's is", "foundationdb")
    if part.prefix != tools.prefix:
        raise PreconditionFailed("store_fdb_prefix", f"{part.prefix!r}", f"{tools.prefix!r}")
    await tools.check_empty()


def check_empty(layout: Layout) -> None:
    """Raise PreconditionFailed unless a server with this data directory would begin with nothing."""
    if (layout.store_dir / STORE_FILE).exists():
        raise PreconditionFailed("data directory", "empty", f"{layout.data_dir} has a store")


async def _write_store(place: Blobs, parts: list[Piece], directory: Path) -> None:
    draft = directory / _DRAFT
    with draft.open("wb") as file:
        for piece in parts:
            data = await read(place, piece)
            await asyncio.to_thread(file.write, data)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    draft.replace(directory / STORE_FILE)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
