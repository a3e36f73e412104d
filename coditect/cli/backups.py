"""`coditect backup`: made by the running server; read and restored without one."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from actors.core.errors.base import CoditectError
from cluster.backup import restorer
from cluster.backup import verify as checker
from cluster.backup.catalog import Backup, Catalog, Damage
from cluster.backup.fdb.tools import FdbTools, fdb_tools
from cluster.blobs import Blobs, open_blobs
from cluster.clock import SystemClock
from cluster.layout import DataDirLock, Layout
from cluster.paths import backup_place, chunk_store
from cluster.settings import Settings, StoreName
from coditect.cli.common import JsonOption, ServerOption, administrator, fail, print_json
from coditect.cli.server import DataDir, load_settings

T = TypeVar("T")

WIDTH = 160
POLL_SECONDS = 0.5

app = typer.Typer(help="Backups of the whole server.", no_args_is_help=True)
BackupId = Annotated[str, typer.Argument(help="Of `coditect backup list`; `latest` is the newest.")]
Place = Annotated[
    str | None, typer.Option("--from", help="Where the backups are: a directory, gs://… or s3://….")
]


@app.command()
def create(server: ServerOption = None) -> None:
    """Have the running server make a backup now, and wait until it is one (administrators only)."""
    with administrator(server) as client:
        state = client.start_backup()
        said = ""
        while state.running:
            if state.progress != said:
                said = state.progress
                typer.echo(said)
            time.sleep(POLL_SECONDS)
            state = client.backups()
    if state.error is not None:
        fail(state.error)
    newest = state.backups[0]
    typer.echo(f"{newest.backup_id}: {newest.size:,} bytes, {newest.copied_bytes:,} of them new")


@app.command("list")
def list_backups(
    data_dir: DataDir = None, place: Place = None, as_json: JsonOption = False
) -> None:
    """List the backups, the newest first."""
    settings = load_settings({"data_dir": data_dir})
    catalog = Catalog(_place(settings, place))

    async def read() -> list[Backup | str]:
        found: list[Backup | str] = []
        for backup_id in reversed(await catalog.ids()):
            try:
                found.append(await catalog.get(backup_id))
            except CoditectError as error:
                found.append(f"{backup_id}: {error}")
        return found

    listed = _run(read())
    if as_json:
        print_json(
            [
                {"damaged": each} if isinstance(each, str) else each.model_dump(mode="json")
                for each in listed
            ]
        )
        return
    table = Table("backup", "made", "took", "sessions", "users", "bytes", "new bytes", box=None)
    for each in listed:
        if isinstance(each, str):
            table.add_row(each)
            continue
        made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.created_at))
        took = f"{each.finished_at - each.created_at:.1f} s"
        sizes = f"{each.size:,}", f"{each.copied_bytes:,}"
        table.add_row(each.backup_id, made, took, str(each.sessions), str(each.users), *sizes)
    # In a pipe nobody cuts a line, and nothing may be left out.
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


@app.command()
def verify(backup_id: BackupId = "latest", data_dir: DataDir = None, place: Place = None) -> None:
    """Read a whole backup and say whether it is what was written; exits 1 if it is not."""
    settings = load_settings({"data_dir": data_dir})
    source = _place(settings, place)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("verify", total=None)

        async def work() -> tuple[Backup, list[Damage]]:
            backup = await _get(source, backup_id)
            verified = lambda done, whole: progress.update(bar, completed=done, total=whole)  # noqa: E731
            return backup, await checker.verify(source, backup, verified, _tools(settings))

        backup, damaged = _run(work())
    for each in damaged:
        typer.echo(f"{each.name}: {each.reason}", err=True)
    if damaged:
        fail(f"{backup.backup_id} is damaged: {len(damaged)} of its objects")
    typer.echo(f"{backup.backup_id} is whole: {backup.size:,} bytes")


@app.command()
def restore(backup_id: BackupId = "latest", data_dir: DataDir = None, place: Place = None) -> None:
    """Put a backup into an empty data directory, for `coditect up` to serve."""
    settings = load_settings({"data_dir": data_dir})
    source, layout = _place(settings, place), Layout(settings.data_dir)
    with Progress(console=Console(stderr=True)) as progress:
        bars = {
            step: progress.add_task(step, total=None) for step in ("verify", "contents", "store")
        }

        def advance(step: str, done: int, whole: int) -> None:
            progress.update(bars[step], completed=done, total=whole)

        async def work() -> Backup:
            backup = await _get(source, backup_id)
            chunks = open_blobs(chunk_store(settings))
            await restorer.restore(source, backup, layout, chunks, advance, _tools(settings))
            return backup

        backup = _run(_locked(layout, work()))
    typer.echo(
        f"{backup.backup_id} is restored; start it: coditect up --data-dir {layout.data_dir}"
    )


async def _locked(layout: Layout, work: Coroutine[Any, Any, Backup]) -> Backup:
    """Restore only what no server runs on."""
    layout.prepare()
    lock = DataDirLock(layout)
    try:
        lock.acquire()
    except CoditectError:
        work.close()
        raise
    try:
        return await work
    finally:
        lock.release()


async def _get(source: Blobs, backup_id: str) -> Backup:
    catalog = Catalog(source)
    if backup_id == "latest":
        ids = await catalog.ids()
        if not ids:
            fail("there is no backup")
        backup_id = ids[-1]
    return await catalog.get(backup_id)


def _tools(settings: Settings) -> FdbTools | None:
    """Return FoundationDB's tools if the server's store is one."""
    return fdb_tools(settings, SystemClock()) if settings.store is StoreName.FOUNDATIONDB else None


def _place(settings: Settings, place: str | None) -> Blobs:
    try:
        return open_blobs(place or backup_place(settings))
    except CoditectError as error:
        fail(str(error))


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except CoditectError as error:
        fail(str(error))
