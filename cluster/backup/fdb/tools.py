"""Backups and restores of one server's part of a FoundationDB cluster, by FoundationDB's own tools.

The tools only leave orders with the cluster; ``backup_agent`` processes beside it do the work. A tool that
was killed ends nothing, so what was begun here is ended here by name, also when this is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import PreconditionFailed
from actors.core.ports.clock import Clock
from cluster.backup.fdb.commands import (
    GONE,
    NOTHING_LEFT,
    BackupStatus,
    FdbCommands,
    RestoreStatus,
    local_directory,
    read_backup_status,
    read_empty,
    read_restorable,
    read_restore_status,
)
from cluster.settings import Settings

logger = logging.getLogger(__name__)

TOOL_SECONDS = 120.0
"""A tool answers within this, or the cluster does not."""
DELETE_SECONDS = 3600.0
POLL_SECONDS = 2.0
AGENT_SECONDS = 60.0
"""An agent takes up what was begun within this, or there is none."""
STALL_SECONDS = 600.0
"""A backup or a restore moves on within this, or never will."""

Run = Callable[[Sequence[str], float], Awaitable[str]]


class _Status(Protocol):
    @property
    def running(self) -> bool: ...
    @property
    def begun(self) -> bool: ...
    @property
    def moved(self) -> tuple[object, ...]: ...


S = TypeVar("S", bound=_Status)


@dataclass(frozen=True, slots=True)
class FdbBackup:
    """A finished backup: where it is, and the version that it restores to."""

    url: str
    version: int


class FdbTools:
    """One server's part of a cluster. ``run`` runs a command for some seconds and returns what it said."""

    def __init__(self, commands: FdbCommands, run: Run, clock: Clock) -> None:
        self._commands = commands
        self._run = run
        self._clock = clock

    @property
    def prefix(self) -> str:
        """The name of the part."""
        return self._commands.prefix

    # ---- backups --------------------------------------------------------------------------------

    async def backup(self, url: str, progress: Callable[[BackupStatus], None]) -> FdbBackup:
        """Have a backup made and wait for it; ``progress`` gets its progress.

        The caller lets nobody else make one at the same time: one that runs is taken for one whose
        maker has died, and ended. Raises Unavailable; what was begun is ended and removed then.
        """
        before = await self._status()
        if before.running:
            await self._say(self._commands.abort())
        try:
            return await self._backup(url, progress)
        except Unavailable as error:
            met = await self._errors()
            await self._undo(url, before.url)
            raise Unavailable(error.component, f"{error.reason}{met}") from None
        except BaseException:
            await self._undo(url, before.url)
            raise

    async def _backup(self, url: str, progress: Callable[[BackupStatus], None]) -> FdbBackup:
        await self._begin(self._commands.start(url), self._status)
        ended = await self._watch(self._status, progress)
        if not ended.completed or ended.version is None or ended.url is None:
            raise Unavailable("fdbbackup", f"the backup {ended.description}")
        return FdbBackup(ended.url, ended.version)

    async def restorable(self, url: str) -> int | None:
        """Return the newest version that a backup can be restored to. Raises Unavailable."""
        return read_restorable(await self._say(self._commands.describe(url)))

    async def delete(self, url: str) -> None:
        """Remove a backup, if it is not gone; of a local one something may be left. Raises Unavailable."""
        try:
            await self._run(self._commands.delete(url), DELETE_SECONDS)
        except Unavailable as error:
            local = local_directory(url) is not None
            if GONE not in error.reason and not (local and NOTHING_LEFT in error.reason):
                raise

    async def _status(self) -> BackupStatus:
        return read_backup_status(await self._say(self._commands.status()))

    async def _errors(self) -> str:
        """Return what the agents have met, for a message; the status as JSON leaves it out."""
        try:
            said = await self._say(self._commands.errors())
        except Unavailable:
            return ""
        return f"; fdbbackup status: {said[-500:]}" if said else ""

    async def _undo(self, url: str, before: str | None) -> None:
        """End and remove what was begun; until the cluster knows of it, it reports ``before``."""
        with suppress(Unavailable):
            status = await self._status()
            if status.running:
                await self._say(self._commands.abort())
            if status.url is not None and status.url != before and status.url.startswith(url):
                await self.delete(status.url)

    # ---- restores -------------------------------------------------------------------------------

    async def check_empty(self) -> None:
        """Raise PreconditionFailed unless this part of the cluster is empty; Unavailable."""
        if self._commands.cluster_file is None:
            raise PreconditionFailed("store_fdb_cluster_file", "set, to name the cluster", "absent")
        if not read_empty(await self._say(self._commands.first_key())):
            what = f"in use: remove it with fdbcli --exec '{self._commands.clear_hint()}'"
            raise PreconditionFailed(f"the cluster's part {self.prefix!r}", "empty", what)

    async def restore(
        self, url: str, version: int, progress: Callable[[RestoreStatus], None]
    ) -> None:
        """Restore a backup into an empty part; ``progress`` gets its progress. Raises Unavailable.

        The whole cluster is locked meanwhile. Its versions go on above the backup's: FoundationDB sees to
        it, so what is ordered by versionstamps stays in order.
        """
        try:
            await self._restore(url, version, progress)
        except BaseException:
            with suppress(Unavailable):
                await self._say(self._commands.abort_restore())
            raise

    async def _restore(
        self, url: str, version: int, progress: Callable[[RestoreStatus], None]
    ) -> None:
        await self._begin(self._commands.restore(url, version), self._restore_status)
        ended = await self._watch(self._restore_status, progress)
        if ended.state != "completed":
            raise Unavailable("fdbrestore", f"the restore is {ended.state}: {ended.error}")

    async def _restore_status(self) -> RestoreStatus:
        return read_restore_status(await self._say(self._commands.restore_status()))

    # ---- both -----------------------------------------------------------------------------------

    async def _say(self, command: Sequence[str]) -> str:
        return await self._run(command, TOOL_SECONDS)

    async def _begin(self, command: Sequence[str], look: Callable[[], Awaitable[S]]) -> None:
        """Run what begins something; it also fails when it has begun and no agent answers at once."""
        try:
            await self._say(command)
        except Unavailable as error:
            try:
                running = (await look()).running
            except Unavailable:
                running = False
            if not running:
                raise error from None

    async def _watch(self, look: Callable[[], Awaitable[S]], progress: Callable[[S], None]) -> S:
        """Look until it has ended. Raises Unavailable when no agent begins or it moves no more."""
        moved: tuple[object, ...] | None = None
        since = self._clock.monotonic()
        while (status := await look()).running:
            progress(status)
            now = self._clock.monotonic()
            if status.moved != moved:
                moved, since = status.moved, now
            if not status.begun and now - since > AGENT_SECONDS:
                what = "no agent took it up: one must run beside the cluster, on its cluster file"
                raise Unavailable("backup_agent", what)
            if now - since > STALL_SECONDS:
                error = getattr(status, "error", None)
                what = f"nothing has moved for {STALL_SECONDS:g} s" + (
                    f": {error}" if error else ""
                )
                raise Unavailable("backup_agent", what)
            await self._clock.sleep(POLL_SECONDS)
        progress(status)
        return status


def fdb_tools(settings: Settings, clock: Clock) -> FdbTools:
    """Return the tools for the cluster that the settings name."""
    commands = FdbCommands(settings.store_fdb_cluster_file, settings.store_fdb_prefix)
    environment = tls_environment(settings)

    async def run(command: Sequence[str], seconds: float) -> str:
        return await run_tool(command, seconds, environment)

    return FdbTools(commands, run, clock)


def tls_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give the tools what options give the native client."""
    password = settings.store_fdb_tls_key_password
    given = {
        "FDB_TLS_CERTIFICATE_FILE": settings.store_fdb_tls_certificate,
        "FDB_TLS_KEY_FILE": settings.store_fdb_tls_key,
        "FDB_TLS_PASSWORD": password.get_secret_value() if password else None,
        "FDB_TLS_CA_FILE": settings.store_fdb_tls_ca,
        "FDB_TLS_VERIFY_PEERS": settings.store_fdb_tls_verify_peers,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


async def run_tool(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> str:
    """Run one of FoundationDB's tools to its end; return what it said. Raises Unavailable with that.

    ``environment`` is added to this process's.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
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
