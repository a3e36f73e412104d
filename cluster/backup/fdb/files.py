"""The files of FoundationDB's own backup, where a directory holds it: they carry no checksums of their own.

A damaged one is noticed by an agent at the earliest, in the middle of a restore, which then never ends.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from blake3 import blake3

from actors.core.errors.base import Unavailable
from cluster.backup.catalog import Damage, Piece

_READ_BYTES = 1 << 20
_CHANGING = "properties"
"""Files below this are written anew whenever a backup is looked at; all it says follows from the others."""


async def pieces_below(directory: Path) -> list[Piece]:
    """Return the files of a finished backup. Raises Unavailable when it is not there."""
    names = await asyncio.to_thread(_names, directory)
    if not names:
        what = (
            f"{directory} is empty here: a file:// backup goes where agents and server both see it"
        )
        raise Unavailable("FoundationDB's backup", what)
    return [await asyncio.to_thread(_piece, directory, name) for name in names]


async def damage_below(directory: Path, pieces: list[Piece]) -> list[Damage]:
    """Return which files are not as they were written."""
    damaged: list[Damage] = []
    for piece in pieces:
        try:
            found = await asyncio.to_thread(_piece, directory, piece.name)
        except FileNotFoundError:
            damaged.append(Damage(piece.name, "missing"))
        except OSError as error:
            damaged.append(Damage(piece.name, str(error)))
        else:
            if found != piece:
                damaged.append(Damage(piece.name, "its bytes are not those that were written"))
    return damaged


def _names(directory: Path) -> list[str]:
    below = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(str(name) for name in below if name.parts[0] != _CHANGING)


def _piece(directory: Path, name: str) -> Piece:
    hasher, size = blake3(), 0
    with (directory / name).open("rb") as file:
        while data := file.read(_READ_BYTES):
            hasher.update(data)
            size += len(data)
    return Piece(name=name, size=size, blake3=hasher.hexdigest())
