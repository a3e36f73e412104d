"""The ArchiveActor as a session's actor uses it. Apart from it, since that imports much more."""

from __future__ import annotations

from actors.core.calls import ArchiveCalls, Ref
from actors.core.directory import ActorDirectory

FLUSH_SECONDS = 10.0
WHOLE_SECONDS = 60.0


class RayArchive:
    """Implements ``actors.core.ports.services.Archive`` with a call to the node's ArchiveActor."""

    def __init__(self, directory: ActorDirectory, name: Ref[ArchiveCalls]) -> None:
        self._directory = directory
        self._name = name

    async def flush(self, session_id: str) -> None:
        """Return when all that is in the session's workspace is kept."""
        await self._directory.call(self._name, ArchiveCalls.flush, FLUSH_SECONDS, session_id)

    async def whole(self, session_id: str) -> None:
        """Return when all that is kept of the session's workspace is in its container's directory."""
        await self._directory.call(
            self._name, ArchiveCalls.whole, WHOLE_SECONDS + 1.0, session_id, WHOLE_SECONDS
        )
