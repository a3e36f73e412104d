"""The ArchiveActor as a session's actor uses it, and the other way round.

Apart from it, since that imports much more.
"""

from __future__ import annotations

import logging

from actors.core import names
from actors.core.calls import ActorCaller, ArchiveCalls, Ref, SessionCalls
from actors.core.directory import ActorDirectory
from actors.core.errors.base import CoditectError
from actors.core.ports.ledger import Ledger
from actors.core.records.archive import Unarchived

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0
WHOLE_SECONDS = 60.0
PUBLISH_SECONDS = 2.0


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


class SessionPublisher:
    """Notifies sessions of what is held of their workspaces; a passive one has nobody who listens."""

    def __init__(self, actors: ActorCaller, ledger: Ledger) -> None:
        self._actors = actors
        self._ledger = ledger

    async def publish(self, session_id: str, unarchived: Unarchived | None) -> None:
        """Notify a session's owner. What fails is left out: the store has it, and whoever looks sees it."""
        try:
            session = await self._ledger.session(session_id)
            if session is not None and session.owner_actor_id is not None:
                owner = names.session_actor(session.owner_actor_id)
                await self._actors.call(
                    owner, SessionCalls.publish_unarchived, PUBLISH_SECONDS, session_id, unarchived
                )
        except CoditectError as error:
            logger.info("session %s does not hear what is held: %s", session_id, error)
