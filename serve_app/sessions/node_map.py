"""The nodes as they were a moment ago: where to open sessions, and where not to look for them any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from actors.core import names, placement
from actors.core.calls import ActorCaller, SupervisorCalls
from actors.core.errors.base import CoditectError
from actors.core.ports.clock import Clock
from actors.core.records.nodes import NodeView

logger = structlog.get_logger(__name__)

REFRESH_SECONDS = 1.0
ASK_SECONDS = 3.0
STALE_SECONDS = 15.0
REFUSED_SECONDS = 5.0


class NodeMap:
    """What the Supervisor says of the nodes. Without ``run`` nothing is known, and all is opened here."""

    def __init__(self, actors: ActorCaller, clock: Clock) -> None:
        self._actors = actors
        self._clock = clock
        self._views: Sequence[NodeView] = ()
        self._at = float("-inf")
        self._refused_until: dict[str, float] = {}

    async def run(self) -> None:
        """Keep up, until cancelled."""
        while True:
            await self.refresh()
            await self._clock.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Ask the Supervisor; without an answer the last one stands for a while."""
        try:
            self._views = await self._actors.call(
                names.SUPERVISOR, SupervisorCalls.nodes, ASK_SECONDS
            )
            self._at = self._clock.monotonic()
        except CoditectError as error:
            logger.info("nodes cannot be asked for", reason=str(error))

    def place(self, *, refused: Collection[str] = ()) -> str | None:
        """Choose a node for one more session, and count it there; None when nothing is known of any."""
        if self._is_stale():
            return None
        now = self._clock.monotonic()
        self._refused_until = {n: until for n, until in self._refused_until.items() if until > now}
        node_id = placement.choose(self._views, refused={*refused, *self._refused_until})
        if node_id is not None:
            self._views = placement.after(self._views, node_id)
        return node_id

    def note_refusal(self, node_id: str) -> None:
        """Place nothing on a node for some seconds: it did not take a session."""
        self._refused_until[node_id] = self._clock.monotonic() + REFUSED_SECONDS

    def is_gone(self, node_id: str) -> bool:
        """Return whether a node is known to be gone, or to be emptied."""
        return not self._is_stale() and placement.is_gone(self._views, node_id)

    def _is_stale(self) -> bool:
        return self._clock.monotonic() - self._at > STALE_SECONDS
