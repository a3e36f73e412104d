"""Reads a backup again: whether everything is there, and what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actors.errors import NotFound, Unavailable
from cluster.archive.blobs import Blobs
from cluster.backup.catalog import Backup, Piece


@dataclass(frozen=True, slots=True)
class Damage:
    """An object of a backup that is not as it was written."""

    name: str
    reason: str


async def verify(
    place: Blobs, backup: Backup, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> list[Damage]:
    """Read all of it and return what is damaged; ``progress`` is told bytes read and bytes in all."""
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
    return damaged


async def read(place: Blobs, piece: Piece) -> bytes:
    """Return an object. Raises NotFound, Unavailable when it is not what was written."""
    data = await place.read(piece.name)
    if not piece.fits(data):
        raise Unavailable(
            f"backup object {piece.name}", "its bytes are not those that were written"
        )
    return data
