"""Makes what makes backups of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from cluster.backup import snapshots
from cluster.backup.catalog import Catalog
from cluster.backup.fdb.tools import fdb_tools
from cluster.backup.scheduler import BackupScheduler
from cluster.backup.writer import BackupTools, BackupWriter
from cluster.blobs import open_blobs
from cluster.clock import SystemClock
from cluster.identifiers import new_id
from cluster.paths import backup_place, chunk_store
from cluster.secret_settings import complete
from cluster.settings import Settings, StoreName
from cluster.store.engines.interface import Engine


def make_backup_scheduler(
    settings: Settings, engine: Engine, node_id: str, copy: Callable[[Path], Awaitable[None]]
) -> BackupScheduler:
    """Return what makes backups; ``copy`` writes the server's embedded store into a directory."""
    settings = complete(settings)
    clock, forget = SystemClock(), None
    frozen: snapshots.EmbeddedSnapshots | snapshots.FdbSnapshots = snapshots.EmbeddedSnapshots(
        copy, settings.store_map_size
    )
    if settings.store is StoreName.FOUNDATIONDB:
        url = (
            settings.store_fdb_backup_url
            or f"file://{settings.data_dir.resolve()}/fdb-backup/{{id}}"
        )
        frozen = snapshots.FdbSnapshots(engine, fdb_tools(settings, clock), url)
        forget = frozen.forget
    place = open_blobs(backup_place(settings))
    tools = BackupTools(
        engine=engine,
        tenant_id=settings.tenant,
        node_id=node_id,
        chunks=open_blobs(chunk_store(settings)),
        place=place,
        freeze=frozen.freeze,
        scratch=settings.data_dir / "run" / "backup",
        clock=clock,
        new_id=new_id,
    )
    return BackupScheduler(
        BackupWriter(tools),
        Catalog(place),
        clock,
        interval=settings.backup_interval,
        keep=settings.backup_keep,
        six_hourly=settings.backup_keep_six_hourly,
        forget=forget,
    )
