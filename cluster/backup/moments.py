"""The store as of one moment, for a backup: a copy of the embedded one, FoundationDB's own backup."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.errors import Unavailable
from cluster.backup.maker import Moment
from cluster.backup.restorer import STORE_FILE
from cluster.store.engine import Engine
from cluster.store.lmdb_engine import LmdbEngine

FDB_SECONDS = 4 * 3600.0
LIST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EmbeddedMoments:
    """Copies of the embedded store. ``copy`` has the StoreActor write one into a directory."""

    copy: Callable[[Path], Awaitable[None]]
    map_size: int

    @asynccontextmanager
    async def freeze(self, scratch: Path, _backup_id: str) -> AsyncIterator[Moment]:
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


@dataclass(frozen=True, slots=True)
class FdbMoments:
    """FoundationDB's own backups, by its tool ``fdbbackup``; a ``backup_agent`` must run beside the cluster.

    ``url`` is where to, ``file://`` and a directory that the agents see, or ``blobstore://…``; ``{id}`` in
    it becomes the backup's id. What is read while a backup is made is read from the live store: its
    moment lies within.
    """

    engine: Engine
    cluster_file: Path | None
    url: str
    run: Callable[[Sequence[str], float], Awaitable[str]]

    @asynccontextmanager
    async def freeze(self, _scratch: Path, backup_id: str) -> AsyncIterator[Moment]:
        """Have a backup made, and wait until it can be restored."""
        url = self.url.replace("{id}", backup_id)
        if url.startswith("file://"):  # the agents do not make it
            await asyncio.to_thread(_make_kept, Path(url.removeprefix("file://")))
        await self.run(start_command(self.cluster_file, url, backup_id), FDB_SECONDS)
        if url.startswith("file://"):  # it made a directory of its own choice below
            url = (await self.run(["fdbbackup", "list", "-b", url], LIST_SECONDS)).split()[-1]
        yield Moment(self.engine, fdb_url=url)


def start_command(cluster_file: Path | None, url: str, tag: str) -> list[str]:
    """Return the command that makes one backup (FoundationDB, "Backup, Restore, and Replication")."""
    where = ["-C", str(cluster_file)] if cluster_file is not None else []
    return ["fdbbackup", "start", *where, "-d", url, "-t", tag, "-w"]


def restore_command(cluster_file: Path | None, url: str) -> list[str]:
    """Return the command that restores one into an empty cluster."""
    where = ["--dest-cluster-file", str(cluster_file)] if cluster_file is not None else []
    return ["fdbrestore", "start", *where, "-r", url, "-w"]


async def run_tool(command: Sequence[str], seconds: float) -> str:
    """Run one of FoundationDB's tools to its end; return what it said. Raises Unavailable with that."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except FileNotFoundError:
        advice = "install the foundationdb-clients package"
        raise Unavailable(command[0], f"is not there: {advice}") from None
    try:
        async with asyncio.timeout(seconds):
            said, _ = await process.communicate()
    except TimeoutError:
        raise Unavailable(command[0], f"did not end within {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = said.decode(errors="replace").strip()
    if process.returncode != 0:
        raise Unavailable(command[0], text[-500:] or "failed")
    return text
