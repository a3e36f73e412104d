"""Measure a backup and a restore of a thousand sessions, without Ray: its actors only carry."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path

from actors.core.records.sessions import SessionPhase, SessionRecord
from benchmarks.harness import Report
from cluster.archive.packs.packs import Batch, name_of, pack
from cluster.backup.restorer import restore
from cluster.backup.snapshots import EmbeddedSnapshots
from cluster.backup.writer import BackupTools, BackupWriter
from cluster.blobs import DirectoryBlobs
from cluster.clock import SystemClock
from cluster.identifiers import new_id
from cluster.layout import Layout
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.layers.entries import ChunkRef, Entry, Kind
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import manifests
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.transactions.transaction import transact

SESSIONS = 1000
FILES = 20
FILE_BYTES = 8000
MAP_SIZE = 1 << 30


def main() -> None:
    """Make sessions with files, back them up twice, and restore."""
    report = Report("backup")
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_measure(Path(directory), report))
    report.finish()


async def _measure(directory: Path, report: Report) -> None:
    engine = LmdbEngine(directory / "store", map_size=MAP_SIZE)
    await engine.open()
    chunks, place = DirectoryBlobs(directory / "chunks"), DirectoryBlobs(directory / "backups")
    chance, keys = random.Random(1), Keyspace("t")
    for number in range(SESSIONS):
        await _session(engine, keys, chunks, number, chance)
    tools = BackupTools(
        engine=engine,
        tenant_id="t",
        node_id="n",
        chunks=chunks,
        place=place,
        freeze=EmbeddedSnapshots(engine.copy, MAP_SIZE).freeze,
        scratch=directory / "scratch",
        clock=SystemClock(),
        new_id=new_id,
    )
    maker = BackupWriter(tools)
    note = f"{SESSIONS} sessions, {FILES} files each of {FILE_BYTES} bytes"
    first = await _timed(report, f"first backup of {SESSIONS} sessions", maker.create(), note)
    report.add("its size", first.size / 1e6, "MB")
    for number in range(10):
        await _session(engine, keys, chunks, SESSIONS + number, chance)
    second = await _timed(report, "backup after ten more", maker.create())
    report.add("bytes that it copied", second.copied_bytes / 1e6, "MB")
    await engine.close()
    new = directory / "new"
    restoring = restore(
        place, second, Layout(new), DirectoryBlobs(new / "chunks"), lambda *_progress: None
    )
    await _timed(report, "verify and restore into an empty data directory", restoring)


async def _timed(report: Report, what: str, work, note: str = ""):
    began = time.perf_counter()
    answer = await work
    report.add(what, time.perf_counter() - began, "s", note=note)
    return answer


async def _session(
    engine: LmdbEngine, keys: Keyspace, chunks: DirectoryBlobs, number: int, chance: random.Random
) -> None:
    """Make a session with files in its workspace, as the archive would keep them."""
    session_id, workspace_id = f"s{number}", f"w{number}"
    record = SessionRecord(
        session_id=session_id, tenant_id="t", user_id=f"u{number}", name="main",
        phase=SessionPhase.HIBERNATED, epoch=1, workspace_id=workspace_id, container_id="c",
        created_at=0, updated_at=0, last_activity=0,
    )  # fmt: skip

    async def put(tr) -> None:
        sessions.put(tr, keys, record)

    await transact(engine, put)
    batch, entries = Batch(f"p{number}"), {}
    for file in range(FILES):
        data = chance.randbytes(FILE_BYTES)
        name = name_of(data)
        batch.add(name, pack(data))
        refs = (ChunkRef(name, len(data)),)
        entries[b"file%d" % file] = Entry(kind=Kind.FILE, size=len(data), chunks=refs)
    stored, content = batch.sealed()
    await chunks.put(f"{workspace_id}/{batch.pack_name}", content)
    fence = Fence(session_id, workspace_id, "c")
    await transact(engine, manifests.commit, keys, fence, 0, entries, stored, now=0.0)


if __name__ == "__main__":
    main()
