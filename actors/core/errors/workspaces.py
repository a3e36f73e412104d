"""Errors of what is kept of workspaces."""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import CoditectError


@dataclass(eq=False)
class ManifestMoved(CoditectError):
    """A workspace's newest version is not the one that the changes were compared with."""

    code = "manifest_moved"
    retryable = True
    text = "workspace {workspace_id} is at version {current}, not {base}"

    workspace_id: str
    base: int
    current: int


@dataclass(eq=False)
class ChunkMissing(CoditectError):
    """Chunks that a version needs are not stored (any more): store them and commit again."""

    code = "chunk_missing"
    retryable = True

    names: tuple[bytes, ...]

    def __str__(self) -> str:
        return f"{len(self.names)} chunks are not stored"


@dataclass(eq=False)
class ContentMissing(CoditectError):
    """A file's kept content cannot be read back: the chunk store lacks it, or has something else.

    ``path`` is empty where that is not known. It can be read once the chunk store has it again, which is
    looked for every ``retry_after_seconds``.
    """

    code = "content_missing"
    retryable = True

    path: str
    reason: str
    retry_after_seconds: float = 60.0

    def __str__(self) -> str:
        what = f"{self.path!r}" if self.path else "the file"
        return f"the content of {what} cannot be read back: {self.reason}"
