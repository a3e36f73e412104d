"""Decides on replacing a session's owner: certainly dead, or silent until its lease has run out.

An owner that is gone from this node has ended for certain: this node's raylet saw its process end. Of
any other silent owner, a stopped process or one on a node that cannot be reached, nobody knows, so
its lease is watched (``lease.py``): that it renews no more, and for long enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.core.errors.base import ActorGone, DeadlineExceeded, Unavailable
from actors.core.lease import LeaseRules, LeaseWatch
from actors.core.ports.services import Services
from actors.core.records.sessions import SessionRecord
from actors.pool.warm import SessionActors

LOOK_SECONDS = 0.5
PING_SECONDS = 2.0
SUSPECT_PING_SECONDS = 0.75


@dataclass(frozen=True, slots=True)
class Takeover:
    """The right to replace an actor. ``lapsed``: the lease token that ran out; None: its process ended."""

    actor_id: str
    lapsed: str | None


class Owners:
    """Asks owners, and watches the leases of the silent ones."""

    def __init__(self, services: Services, actors: SessionActors) -> None:
        self._services = services
        self._actors = actors
        self._watch = LeaseWatch(LeaseRules(services.settings.owner_lease))

    async def answers(self, actor_id: str, seconds: float = PING_SECONDS) -> bool:
        """Return whether an actor lives."""
        try:
            await self._actors.ping(actor_id, seconds)
        except (Unavailable, DeadlineExceeded):
            return False
        return True

    async def until_free(self, session: SessionRecord) -> Takeover | None:
        """Wait until the session's silent owner may be replaced; None if it answers after all.

        Raises Unavailable when it says nothing and goes on renewing its lease.
        """
        owner = session.owner_actor_id
        if owner is None:
            return None
        clock, ledger = self._services.clock, self._services.ledger
        deadline = clock.monotonic() + 2 * self._watch.rules.patience
        while True:
            try:
                await self._actors.ping(owner, SUSPECT_PING_SECONDS)
            except ActorGone:
                if session.owner_node_id == self._services.settings.node_id:
                    return Takeover(owner, None)
            except (Unavailable, DeadlineExceeded):
                pass
            else:
                self._watch.forget(session.session_id)
                return None
            token = await ledger.lease(session.session_id)
            now = clock.monotonic()
            if self._watch.has_lapsed(session.session_id, token, now):
                self._watch.forget(session.session_id)
                return Takeover(owner, token)
            if now > deadline:
                raise Unavailable(
                    "the session's owner", "it does not answer, and its lease runs on"
                )
            await clock.sleep(LOOK_SECONDS)
