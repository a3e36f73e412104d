"""Notes when people used their sessions, for those who look at a list of them."""

from __future__ import annotations

import structlog
from cachetools import TTLCache

from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from serve_app.dependencies import SessionReader

logger = structlog.get_logger(__name__)

ROUND_SECONDS = 5.0
PRECISION_SECONDS = 60.0
MAX_NOTED = 20_000
PAGE = 500


class ActivityNotes:
    """What this replica has seen; written once a minute for each session. ``run`` is a task of its owner."""

    def __init__(self, ledger: SessionReader, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._noted: TTLCache[str, None] = TTLCache(MAX_NOTED, PRECISION_SECONDS, clock.monotonic)
        self._pending: dict[str, None] = {}

    def note(self, session_id: str) -> None:
        """Note that somebody uses a session at this moment."""
        if session_id not in self._noted and len(self._pending) < MAX_NOTED:
            self._noted[session_id] = None
            self._pending[session_id] = None

    async def run(self) -> None:
        """Write what is noted until cancelled."""
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            try:
                await self.write()
            except CoditectError as error:
                logger.info("activity is written later", reason=str(error))

    async def write(self) -> None:
        """Write what is noted. Raises what the store does; then it is still to be written."""
        while self._pending:
            some = list(self._pending)[:PAGE]
            await self._ledger.note_activity(some, self._clock.now())
            for session_id in some:
                del self._pending[session_id]
