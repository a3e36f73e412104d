"""Backups' manifests, and the list of them. A manifest is written last: without it there is no backup.

In the place of backups lie ``backups/{id}`` (a manifest), ``{id}/part-…`` (the store) and
``{workspace}/{pack}``: packs are immutable and their names are never used twice, so each is copied once
and shared by all backups that need it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import zstandard
from blake3 import blake3
from pydantic import ValidationError

from actors.core.errors.base import CoditectError, Unavailable
from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.records.base import Record
from cluster.blobs import Blobs

logger = logging.getLogger(__name__)

GROUP = "backups"
PART_BYTES = 16 << 20
_MAX_MANIFEST = 1 << 30
_BEGUN = re.compile(r"b-(\d{8})T(\d{2})")


class Piece(Record):
    """An object of a backup: its name in the place of backups, its size and the BLAKE3 of its bytes."""

    name: str
    size: int
    blake3: str

    def fits(self, data: bytes) -> bool:
        """Return whether these bytes are it."""
        return len(data) == self.size and blake3(data).hexdigest() == self.blake3


@dataclass(frozen=True, slots=True)
class Damage:
    """An object of a backup that is not as it was written."""

    name: str
    reason: str


class FdbPart(Record):
    """FoundationDB's own backup of the keys below ``prefix``, as of ``version``.

    ``files`` are those of a directory, by their names below it; in a bucket they are not known.
    """

    url: str
    prefix: str
    version: int
    files: list[Piece]


class Backup(Record):
    """A backup. ``parts`` together are the embedded store's file; ``packs`` are workspaces' contents.

    With FoundationDB as the store ``parts`` is empty, and ``fdb`` is the store.
    ``copied_bytes`` is what this backup wrote. Times are Unix seconds.
    """

    backup_id: str
    tenant_id: str
    node_id: str
    created_at: float
    finished_at: float
    sessions: int
    users: int
    parts: list[Piece]
    packs: list[Piece]
    copied_bytes: int
    fdb: FdbPart | None = None

    @property
    def size(self) -> int:
        """The bytes of all that it needs."""
        files = self.fdb.files if self.fdb is not None else []
        return sum(piece.size for piece in (*self.parts, *self.packs, *files))


def surviving(ids: Sequence[str], keep: int, six_hourly: int) -> list[str]:
    """Return which backups are kept: the newest, and of each of so many times six hours the newest.

    ``ids`` begin with when each was begun, and are in that order; 0 as ``keep`` keeps all.
    """
    if not keep:
        return list(ids)
    newest = {}
    for backup_id in ids:
        found = _BEGUN.match(backup_id)
        if found is not None:
            newest[found[1], int(found[2]) // 6] = backup_id
    stepwise = list(newest.values())[-six_hourly:] if six_hourly else []
    chosen = {*ids[-keep:], *stepwise}
    return [backup_id for backup_id in ids if backup_id in chosen]


class Catalog:
    """The backups of one place."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def ids(self) -> list[str]:
        """Return all backups, the oldest first: ids begin with the time."""
        listed = await self._blobs.listing(GROUP)
        return sorted(name for name in listed if not name.startswith("."))

    async def get(self, backup_id: str) -> Backup:
        """Return a backup. Raises NotFound, Unavailable when its manifest is damaged."""
        try:
            data = await self._blobs.read(f"{GROUP}/{backup_id}")
        except (NotFound, InvalidArgument):
            raise NotFound("backup", backup_id) from None
        what = f"manifest of backup {backup_id}"
        try:
            plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=_MAX_MANIFEST)
        except zstandard.ZstdError as error:
            raise Unavailable(what, f"damaged: {error}") from error
        digest, _, body = plain.partition(b"\n")
        if digest != blake3(body).hexdigest().encode():
            raise Unavailable(what, "damaged: it is not what was written")
        try:
            return Backup.model_validate_json(body)
        except ValidationError as error:
            raise Unavailable(what, f"cannot be read: {error}") from error

    async def add(self, backup: Backup) -> None:
        """Write the manifest: from now on the backup is one."""
        body = backup.model_dump_json().encode()
        plain = blake3(body).hexdigest().encode() + b"\n" + body
        data = zstandard.ZstdCompressor().compress(plain)
        await self._blobs.put(f"{GROUP}/{backup.backup_id}", data)

    async def expire(
        self,
        keep: int,
        forget: Callable[[FdbPart], Awaitable[None]] | None = None,
        six_hourly: int = 0,
    ) -> list[str]:
        """Remove all but those of ``surviving``, and what only they needed; return their ids.

        ``forget`` removes FoundationDB's own backups. They go before the manifest, which alone knows of
        them; everything else goes after it: what a death leaves behind is removed the next time.
        One that cannot be removed keeps none from it that can; what it met is raised behind them.
        """
        ids = await self.ids()
        kept = surviving(ids, keep, six_hourly)
        gone = [backup_id for backup_id in ids if backup_id not in kept]
        if not gone:
            return []
        remaining = [await self.get(backup_id) for backup_id in kept]
        needed = {piece.name for backup in remaining for piece in backup.packs}
        failed: CoditectError | OSError | None = None
        for backup_id in gone:
            try:
                await self._remove(backup_id, needed, forget)
            except (CoditectError, OSError) as error:
                logger.warning("backup %s is removed later: %s", backup_id, error)
                failed = failed or error
        if failed is not None:
            raise failed
        return gone

    async def _remove(
        self,
        backup_id: str,
        needed: set[str],
        forget: Callable[[FdbPart], Awaitable[None]] | None,
    ) -> None:
        """Remove a backup, and its packs but those ``needed``; if that fails they are needed, too."""
        expired: list[Piece] = []
        try:
            backup = await self.get(backup_id)
        except Unavailable:
            pass
        else:
            expired = backup.packs
            if backup.fdb is not None and forget is not None:
                try:
                    await forget(backup.fdb)
                except (CoditectError, OSError):
                    needed.update(piece.name for piece in expired)
                    raise
        await self._blobs.delete(f"{GROUP}/{backup_id}")
        await self._blobs.delete_group(backup_id)
        for piece in expired:
            if piece.name not in needed:
                await self._blobs.delete(piece.name)
