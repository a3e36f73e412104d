"""Reads a backup again: whether everything is there, and what was written."""

from __future__ import annotations

from collections.abc import Callable

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import NotFound
from cluster.backup.catalog import Backup, Damage, FdbPart, Piece
from cluster.backup.fdb.commands import local_directory
from cluster.backup.fdb.files import damage_below
from cluster.backup.fdb.tools import FdbTools
from cluster.blobs import Blobs


async def verify(
    place: Blobs,
    backup: Backup,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    tools: FdbTools | None = None,
) -> list[Damage]:
    """Read all of it and return what is damaged; ``progress`` gets bytes read and bytes in all.

    ``tools`` are needed for a backup of FoundationDB in a bucket, whose files cannot be read here: it is
    asked whether it can be restored.
    """
    damaged: list[Damage] = []
    done = 0
    for piece in (*backup.parts, *backup.packs):
        try:
            await read(place, piece)
        except NotFound:
            damaged.append(Damage(piece.name, "missing"))
        except Unavailable as error:
            damaged.append(Damage(piece.name, str(error)))
        done += piece.size
        progress(done, backup.size)
    if backup.fdb is not None:
        damaged += await _fdb_damage(backup.fdb, tools)
        progress(backup.size, backup.size)
    return damaged


async def _fdb_damage(part: FdbPart, tools: FdbTools | None) -> list[Damage]:
    directory = local_directory(part.url)
    if directory is not None:
        return await damage_below(directory, part.files)
    if tools is None:
        return []
    try:
        version = await tools.restorable(part.url)
    except Unavailable as error:
        return [Damage(part.url, str(error))]
    if version is None or version < part.version:
        return [Damage(part.url, f"it cannot be restored to version {part.version}")]
    return []


async def read(place: Blobs, piece: Piece) -> bytes:
    """Return an object. Raises NotFound, Unavailable when it is not what was written."""
    data = await place.read(piece.name)
    if not piece.fits(data):
        raise Unavailable(
            f"backup object {piece.name}", "its bytes are not those that were written"
        )
    return data
