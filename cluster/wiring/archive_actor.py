"""The ArchiveActor: one per node, made by the Supervisor. A shell round ``archiver``.

It keeps nothing that the store and the containers do not have: after its own end it asks every
container for everything, compares, and goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from actors.core.calls import ArchiveCalls
from actors.core.process import Pair, Shell
from actors.core.records.archive import Kept, SaveAnswer
from cluster.archive.archiver import Archiver
from cluster.backup.scheduler import BackupScheduler

MakeArchiver = Callable[[], Awaitable[Archiver]]
MakeBackups = Callable[[], Awaitable[BackupScheduler]]


class ArchiveActor(Shell[Pair[Archiver, BackupScheduler]]):
    """Keeps the workspaces of a node's containers. ``make`` is called in the actor's own process."""

    def __init__(self, make: MakeArchiver, make_backups: MakeBackups) -> None:
        self._make_archiver = make
        self._make_backups = make_backups
        super().__init__()

    async def save(
        self,
        session_id: str,
        paths: list[str],
        answer: SaveAnswer | None = None,
        give_up: bool = False,
    ) -> Kept:
        """Take paths of a workspace in at once; see ``Archiver.save``. Idempotent by ``answer``."""
        return await (await self._ready()).runner.save(session_id, paths, answer, give_up=give_up)

    async def flush(self, session_id: str) -> None:
        """Return when all that is in a workspace is kept; see ``Archiver.flush``."""
        await (await self._ready()).runner.flush(session_id)

    async def whole(self, session_id: str, timeout_seconds: float) -> None:
        """Return when a workspace is as it was kept; see ``Archiver.whole``."""
        await (await self._ready()).runner.whole(session_id, timeout_seconds)

    async def restoring(self, session_id: str) -> int:
        """Return how many paths of a workspace are yet to be put back."""
        return (await self._ready()).runner.restoring(session_id)

    async def start_backup(self) -> None:
        """Have a backup made, unless one is."""
        (await self._ready()).loop.start()

    async def backups(self) -> dict[str, Any]:
        """Return the backups and what is being made; see ``BackupScheduler.state``."""
        return await (await self._ready()).loop.state()

    async def _make(self) -> Pair[Archiver, BackupScheduler]:
        return Pair(await self._make_archiver(), await self._make_backups())


def _as_called(actor: ArchiveActor) -> ArchiveCalls:
    return actor  # for the type checker
