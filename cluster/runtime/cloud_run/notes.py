"""What this node knows of its containers on Cloud Run: a file each, written before Cloud Run is asked.

A creation may succeed after its call has failed, and whoever made it may die: the note has the full name of
the resource from before, so that it is found, awaited or removed, by any process of the node. The secret is
here and nowhere at Google's.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from actors.core.records.base import Frozen
from actors.core.records.containers import ContainerHandle, ContainerSpec


def directory(data_dir: Path) -> Path:
    """Return where a node keeps what it knows of its containers."""
    return data_dir.resolve() / "runtime" / "cloud-run"


class Note(Frozen):
    """A container that was asked for. ``handle`` is there once it was ready, at ``ready_at``."""

    spec: ContainerSpec
    resource: str
    began_at: float
    handle: ContainerHandle | None = None
    ready_at: float | None = None


class Notes:
    """The notes of a node, in a directory that is made with the first one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, container_id: str) -> Note | None:
        """Return a container's note, if there is one."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return Note.model_validate_json(self._path(container_id).read_bytes())
        return None

    def write(self, note: Note) -> None:
        """Note a container, durably: what is made next must be found again. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(note.spec.container_id)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(note.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def remove(self, container_id: str) -> None:
        """Forget a container. Idempotent."""
        self._path(container_id).unlink(missing_ok=True)

    def all(self) -> Iterator[Note]:
        """Yield every note."""
        for path in sorted(self._directory.glob("*.json")):
            note = self.read(path.stem)
            if note is not None:
                yield note

    def _path(self, container_id: str) -> Path:
        return self._directory / f"{container_id}.json"


class RoomFile:
    """How much room each place has, as the process that counts them last saw it, for all others."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "room.json"

    def write(self, used: dict[str, int]) -> None:
        """Publish what is used of each place. Raises OSError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(json.dumps(used), encoding="utf-8")
        draft.replace(self._path)

    def read(self) -> dict[str, int]:
        """Return what was used of each place; nothing when nobody has counted yet."""
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(place): int(number) for place, number in found.items()}
        return {}
