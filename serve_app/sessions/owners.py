"""Finds whoever holds a session and asks them: the one way from the ingress to session actors.

The owner changes: the session goes to rest, its actor dies, a node is lost. So a call is made to the
owner that was last known, and when that one says it is not, or is gone, the store is asked again, and
a session without an owner is opened through the pool. Every call is bounded in time and in tries.
Mutating calls carry an idempotency key, so that a try whose answer was lost can be made again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Concatenate, Literal

from cachetools import LRUCache

from actors.core import names
from actors.core.backoff import Backoff
from actors.core.calls import ActorCaller, P, R, SessionCalls
from actors.core.errors.base import ActorGone, DeadlineExceeded, Unavailable
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import Fenced, NotBound
from actors.core.ports.clock import Clock
from actors.core.records.sessions import SessionRecord
from serve_app.dependencies import SessionReader
from serve_app.sessions.node_map import NodeMap
from serve_app.sessions.opening import SessionOpener

CALL_SECONDS = 10.0
HUNG_SECONDS = 6.0
MAX_TRIES = 40
MAX_KNOWN = 20_000
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Owner:
    """The actor last known to hold a session. ``user_id`` and ``name`` never change.

    ``home``: the node that has its container, or had the last one.
    """

    session_id: str
    user_id: str
    name: str
    actor_id: str | None
    home: str | None = None


class AtRest(Exception):
    """Nobody holds the session."""


class SessionOwners:
    """Calls session actors. Belongs to one event loop."""

    def __init__(
        self,
        ledger: SessionReader,
        actors: ActorCaller,
        clock: Clock,
        *,
        node_id: str,
        used: Callable[[str], None],
        nodes: NodeMap | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Report the id of each session that somebody uses to ``used``; ``nodes`` can have some opened."""
        self._ledger = ledger
        self._actors = actors
        self._clock = clock
        self._opener = SessionOpener(actors, clock, node_id, nodes)
        self._used = used
        self._call_seconds = call_seconds
        self._owners: LRUCache[str, Owner] = LRUCache(MAX_KNOWN)
        self._silent: LRUCache[str, str] = LRUCache(MAX_KNOWN)

    async def require(self, session_id: str, user_id: str, *, admin: bool = False) -> bool:
        """Raise NotFound unless the session is the user's; administrators see every session.

        Returns whether it is the user's own.
        """
        owner = self._owners.get(session_id) or await self._look_up(session_id)
        if owner.user_id != user_id and not admin:
            raise NotFound("session", session_id)
        return owner.user_id == user_id

    async def user_of(self, session_id: str) -> str:
        """Return whose a session is. Raises NotFound."""
        return (self._owners.get(session_id) or await self._look_up(session_id)).user_id

    async def view(self, session_id: str) -> SessionRecord:
        """Return a session as it is at this moment; one at rest is not woken for it."""
        record = await self._require(session_id)
        if record.owner_actor_id is None:
            return record
        view = await self.call_if_active(session_id, SessionCalls.view, None)
        return view or await self._require(session_id)  # it went to rest a moment ago

    async def call(
        self,
        session_id: str,
        method: Callable[Concatenate[SessionCalls, str, P], Awaitable[R]],
        limit: float | None,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call a method of the session's owner, whoever that is; ``args`` come after the session's id.

        ``limit`` is in seconds, None the usual one. Raises NotFound for a session that is not there (any
        more), DeadlineExceeded when no owner answered in time, and whatever the owner raised. An owner
        that said nothing at all is suspected by the next call, which has the pool look at it, and replace
        it once its lease has run out.
        """
        self._used(session_id)
        return await self._ask("wake", session_id, method, limit, *args, **kwargs)

    async def call_if_active(
        self,
        session_id: str,
        method: Callable[Concatenate[SessionCalls, str, P], Awaitable[R]],
        limit: float | None,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R | None:
        """Call likewise, but not for a session at rest: it has nobody to ask, and None is returned."""
        try:
            return await self._ask("leave", session_id, method, limit, *args, **kwargs)
        except AtRest:
            return None

    async def _ask(
        self,
        at_rest: Literal["wake", "leave"],
        session_id: str,
        method: Callable[Concatenate[SessionCalls, str, P], Awaitable[R]],
        limit: float | None,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        what, limit = method.__name__, limit or self._call_seconds
        deadline = self._clock.monotonic() + limit
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        silent_since: float | None = None
        dead = self._silent.get(session_id)
        for _ in range(MAX_TRIES):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            owner = self._owners.get(session_id) or await self._look_up(session_id)
            if owner.actor_id is None and at_rest == "leave":
                raise AtRest
            if owner.actor_id is None or owner.actor_id == dead:
                owner = await self._reopen(owner, dead)
                self._silent.pop(session_id, None)
                dead = None
            name = names.session_actor(str(owner.actor_id))
            try:
                return await self._actors.call(name, method, left, session_id, *args, **kwargs)
            except DeadlineExceeded as error:
                if error.what == f"{name}.{what}":
                    self._suspect(session_id, str(owner.actor_id))
                raise
            except (NotBound, Fenced):
                self.forget(session_id)
            except ActorGone:
                dead = owner.actor_id
                self.forget(session_id)
            except Unavailable as error:
                if error.component != name:
                    raise
                # Ray restarts it within a second or two; one that stays away is replaced.
                now = self._clock.monotonic()
                silent_since = now if silent_since is None else silent_since
                dead = owner.actor_id if now - silent_since > HUNG_SECONDS else None
                self.forget(session_id)
            left = deadline - self._clock.monotonic()
            await self._clock.sleep(min(backoff.next(), max(0.0, left)))
        raise DeadlineExceeded(f"{what} of session {session_id}", limit)

    # ---- who owns what --------------------------------------------------------------------------

    def _suspect(self, session_id: str, actor_id: str) -> None:
        self._silent[session_id] = actor_id

    def forget(self, session_id: str) -> None:
        """Look the session up again at its next use."""
        self._owners.pop(session_id, None)

    async def _require(self, session_id: str) -> SessionRecord:
        record = await self._ledger.session(session_id)
        if record is None:
            self.forget(session_id)
            raise NotFound("session", session_id)
        self.see(record)
        return record

    async def _look_up(self, session_id: str) -> Owner:
        return self.see(await self._require(session_id))

    def home(self, session_id: str) -> str | None:
        """Return the node where a session was at last, as far as that is known."""
        owner = self._owners.get(session_id)
        return None if owner is None else owner.home

    def see(self, record: SessionRecord) -> Owner:
        """Take note of who owns a session, as its record says that was just read."""
        return self._remember(
            Owner(
                record.session_id, record.user_id, record.name, record.owner_actor_id, record.home
            )
        )

    async def _reopen(self, owner: Owner, dead_actor_id: str | None) -> Owner:
        """Have the pool give the session an owner; all who want that of one session are one request."""
        opened = await self._opener.open(
            owner.user_id,
            owner.name,
            names.wake_key(owner.session_id, dead_actor_id),
            home=owner.home,
            session_id=owner.session_id,
            dead_actor_id=dead_actor_id,
        )
        home = opened.record.home if opened.record else owner.home
        return self._remember(
            Owner(opened.session_id, owner.user_id, owner.name, opened.actor_id, home)
        )

    def _remember(self, owner: Owner) -> Owner:
        self._owners[owner.session_id] = owner
        return owner
