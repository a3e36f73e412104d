"""Which logins have ended, so that their access tokens are worth nothing from then on.

Asking the store with every request would cost more than most requests do. Instead each replica follows
the list of ends in the store, one small read a second whatever the number of users, and looks in its
own memory. So a login ends at once on the replica that was told, and ``FOLLOW_SECONDS`` later on the
others; open sockets are closed then, too. While the store is away a replica goes on with what it
knows. An end is forgotten when no access token of its login can be valid any more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog

from actors.errors import CoditectError, Unauthenticated
from actors.ports import Clock
from serve_app.dependencies import RefreshTokens

logger = structlog.get_logger(__name__)

FOLLOW_SECONDS = 1.0
SKEW_SECONDS = 60.0


class EndedLogins:
    """Follows the ends of logins. Belongs to one event loop; ``run`` is a task of its owner.

    ``keep``: how long an access token lives. Logins end no faster than passwords are checked, which
    bounds what is remembered.
    """

    def __init__(self, store: RefreshTokens, clock: Clock, *, keep: float) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep + SKEW_SECONDS
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._place: bytes | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def __contains__(self, family: object) -> bool:
        return family in self._ended

    def __len__(self) -> int:
        return len(self._ended)

    def add(self, family: str, at: float) -> None:
        """Take note of an end; whoever waits for it goes on."""
        self._ended[family] = at
        self._ended.move_to_end(family)
        for event in self._waiting.pop(family, ()):
            event.set()

    async def require_live(self, family: str) -> None:
        """Wait until a login ends, then raise Unauthenticated."""
        if family not in self:
            event = asyncio.Event()
            self._waiting.setdefault(family, set()).add(event)
            try:
                await event.wait()
            finally:
                others = self._waiting.get(family)
                if others is not None:
                    others.discard(event)
                    if not others:
                        del self._waiting[family]
        raise Unauthenticated("signed out")

    async def catch_up(self) -> None:
        """Take over what the store knows and this replica does not. Raises Unavailable."""
        while page := await self._store.ended_after(self._place):
            for ended in page:
                self.add(ended.family_id, ended.at)
            self._place = page[-1].place
        past = self._clock.now() - self._keep
        while self._ended and next(iter(self._ended.values())) < past:
            self._ended.popitem(last=False)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.catch_up()
            except CoditectError as error:
                logger.warning("ends of logins are not followed", reason=str(error))
            await self._clock.sleep(FOLLOW_SECONDS)
