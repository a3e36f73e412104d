"""The ArchiveActor as a session's actor uses it; apart from it, since that imports much more."""

from __future__ import annotations

from actors.directory import ActorDirectory

FLUSH_SECONDS = 10.0


class RayArchive:
    """Implements ``actors.ports.Archive`` with a call to the node's ArchiveActor."""

    def __init__(self, directory: ActorDirectory, name: str) -> None:
        self._directory = directory
        self._name = name

    async def flush(self, session_id: str) -> None:
        """Return when all that is in the session's workspace is kept."""
        await self._directory.call(self._name, "flush", session_id, timeout_seconds=FLUSH_SECONDS)
