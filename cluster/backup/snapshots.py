"""The store as of one moment, for a backup: a copy of the embedded one, FoundationDB's own backup."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from actors.core.errors.base import Unavailable
from cluster.backup.catalog import FdbPart
from cluster.backup.fdb.commands import BackupStatus, local_directory
from cluster.backup.fdb.files import pieces_below
from cluster.backup.fdb.tools import FdbTools
from cluster.backup.restorer import STORE_FILE
from cluster.backup.writer import Moment
from cluster.store.engines.interface import Engine
from cluster.store.engines.lmdb.engine import LmdbEngine


@dataclass(frozen=True, slots=True)
class EmbeddedSnapshots:
    """Copies of the embedded store. ``copy`` has the StoreActor write one into a directory."""

    copy: Callable[[Path], Awaitable[None]]
    map_size: int

    @asynccontextmanager
    async def freeze(
        self, scratch: Path, _backup_id: str, _progress: Callable[[str], None]
    ) -> AsyncIterator[Moment]:
        """Copy the store and open the copy."""
        await asyncio.to_thread(_make_empty, scratch)
        await self.copy(scratch)
        engine = LmdbEngine(scratch, map_size=self.map_size)
        await engine.open()
        try:
            yield Moment(engine, file=scratch / STORE_FILE)
        finally:
            await engine.close()


def _make_empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)


def _make_kept(directory: Path) -> None:
    """Make a directory that may hold earlier backups."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _removed(directory: Path) -> bool:
    """Remove the directory of one of FoundationDB's backups; whether it was there, and is gone."""
    if not directory.name.startswith("backup-") or not directory.is_dir():
        return False
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


@dataclass(frozen=True, slots=True)
class FdbSnapshots:
    """FoundationDB's own backups; a ``backup_agent`` must run beside the cluster.

    ``url`` is where to, ``file://`` and a directory that the agents and this server see, or
    ``blobstore://…``; ``{id}`` in it becomes the backup's id. What is read while a backup is made is read
    from the live store: its moment lies within.
    """

    engine: Engine
    tools: FdbTools
    url: str

    @asynccontextmanager
    async def freeze(
        self, _scratch: Path, backup_id: str, progress: Callable[[str], None]
    ) -> AsyncIterator[Moment]:
        """Have a backup made, and wait until it can be restored."""
        url = self.url.replace("{id}", backup_id)
        base = local_directory(url)
        if base is not None:  # nobody else makes it
            await asyncio.to_thread(_make_kept, base)

        def report(status: BackupStatus) -> None:
            progress(f"store: {status.written:,} bytes written")

        made = await self.tools.backup(url, report)
        prefix, version = self.tools.prefix, made.version
        part = FdbPart(url=made.url, prefix=prefix, version=version, files=[])
        try:
            own = local_directory(made.url)  # a directory of its own choice below the base
            files = await pieces_below(own) if own is not None else []
            part = FdbPart(url=made.url, prefix=prefix, version=version, files=files)
            yield Moment(self.engine, fdb=part)
        except BaseException:
            with suppress(Unavailable):
                await self.forget(part)
            raise

    async def forget(self, part: FdbPart) -> None:
        """Remove a backup, also one whose removal was cut short. Raises Unavailable."""
        own = local_directory(part.url)
        try:
            await self.tools.delete(part.url)
        except Unavailable:
            # The tool refuses what it cannot read, such as one half removed.
            if own is None or not await asyncio.to_thread(_removed, own):
                raise
        else:
            if own is not None:
                await asyncio.to_thread(_removed, own)
        if own is not None and own.parent == local_directory(self.url):
            return  # the base is shared
        if own is not None:
            with suppress(OSError):
                await asyncio.to_thread(own.parent.rmdir)
