"""Finds a session's container, and whoever holds the session: the one way from the ingress to both.

A container that the store says is ready is gone to without asking anybody. A container that turns out
not to answer, and whatever there is to decide, is the owner's, whom a session at rest gets for it.

The owner changes: the session goes to rest, its actor dies, a node is lost. So a call is made to the
owner that was last known, and when that one says it is not, or is gone, the store is asked again, and
a session without an owner is opened through the pool. Every call is bounded in time and in tries.
Mutating calls carry an idempotency key, so that a try whose answer was lost can be made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, Literal, TypeVar

from cachetools import LRUCache

from actors.core import names
from actors.core.backoff import Backoff
from actors.core.calls import ActorCaller, ArchiveCalls, P, R, Ref, SessionCalls
from actors.core.errors.base import (
    ActorGone,
    CoditectError,
    DeadlineExceeded,
    Unavailable,
    Unreached,
)
from actors.core.errors.requests import NotFound, PreconditionFailed
from actors.core.errors.sessions import Fenced, LaunchFailed, NotBound, SessionEnded
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import Cause, Route, SessionPhase, SessionRecord
from actors.session.workspace_state import check_patch, with_patch
from serve_app.dependencies import SessionReader
from serve_app.sessions.opening import SessionOpener

T = TypeVar("T")

CALL_SECONDS = 10.0
ROUTE_SECONDS = 45.0
REPLACEMENT_SECONDS = 15.0
HUNG_SECONDS = 6.0
MAX_TRIES = 40
MAX_KNOWN = 20_000
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_ASLEEP = frozenset({SessionPhase.HIBERNATING, SessionPhase.HIBERNATED, SessionPhase.FAILED})
_COMING_UP = frozenset({SessionPhase.STARTING, SessionPhase.RECOVERING})
_ENDING = frozenset({SessionPhase.ENDING, SessionPhase.ENDED})


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


class _AtRest(Exception):
    """Nobody holds the session."""


class SessionGateway:
    """Calls session actors. Belongs to one event loop."""

    def __init__(
        self,
        ledger: SessionReader,
        actors: ActorCaller,
        clock: Clock,
        *,
        node_id: str,
        new_id: Callable[[str], str],
        used: Callable[[str], None],
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Report the id of each session that somebody uses to ``used``."""
        self._ledger = ledger
        self._actors = actors
        self._clock = clock
        self._opener = SessionOpener(actors, clock, node_id)
        self._node_id = node_id
        self._new_id = new_id
        self._used = used
        self._call_seconds = call_seconds
        self._owners: LRUCache[str, Owner] = LRUCache(MAX_KNOWN)
        self._routes: LRUCache[str, Route] = LRUCache(MAX_KNOWN)
        self._silent: LRUCache[str, str] = LRUCache(MAX_KNOWN)

    # ---- opening --------------------------------------------------------------------------------

    async def open(
        self, user_id: str, name: str, key: str, *, known: SessionRecord | None = None
    ) -> tuple[SessionRecord, bool]:
        """Open the user's session of that name; return it, and whether it was made now.

        One that runs is returned as it is, one that sleeps is resumed, and a missing one is made. ``known``
        is what the store said of it a moment ago. Raises Busy when as many launches wait as are allowed.
        """
        # Keys are the callers' own: one that somebody else used as well must not open their session.
        key = f"{user_id}:{name}:{key}"
        record = known or await self._ledger.session_of_user(user_id, name)
        created = False
        if record is None:
            opened = await self._opener.open(user_id, name, key, home=None, cause=Cause.LOGIN)
            created = opened.created
            record = opened.record or await self.view(opened.session_id)
        self.see(record)
        self._used(record.session_id)
        if record.phase in _ASLEEP:
            record = await self.resume(record.session_id, key)
        elif _is_abandoned(record):
            await self.call(record.session_id, SessionCalls.wake, None)
        return record, created

    # ---- asking the owner -----------------------------------------------------------------------

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

    async def patch_state(self, session_id: str, patch: Any, key: str) -> SessionRecord:
        """Apply a JSON merge patch (RFC 7396) to the workspace state; nobody is woken for it.

        Raises InvalidArgument for the server's own keys, PayloadTooLarge beyond 64 kB.
        """
        checked = check_patch(patch)
        self._used(session_id)
        changed = await self._ledger.change_at_rest(
            session_id, partial(with_patch, patch=checked), key=f"patch:{key}"
        )
        if changed is not None:
            return changed
        return await self.call(session_id, SessionCalls.patch_workspace_state, None, patch, key)

    async def resume(self, session_id: str, key: str) -> SessionRecord:
        """Bring a session up; does not wait until it is."""
        return await self.call(session_id, SessionCalls.resume, None, key)

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
        except _AtRest:
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
                raise _AtRest
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

    # ---- the container --------------------------------------------------------------------------

    async def route(
        self,
        session_id: str,
        *,
        newer_than_epoch: int = 0,
        lost: str | None = None,
        timeout_seconds: float = ROUTE_SECONDS,
    ) -> Route:
        """Return where the session's bytes go, waiting for a container under a newer epoch.

        ``lost`` is a container that does not answer under any epoch. Raises PreconditionFailed when the
        session is hibernated, LaunchFailed when it is FAILED.
        """
        deadline = self._clock.monotonic() + timeout_seconds
        for _ in range(MAX_TRIES):
            record, container = await self._serving(session_id)
            if lost is not None and record.container_id == lost:
                newer_than_epoch = max(newer_than_epoch, record.epoch)
            known = _ready_route(record, container, newer_than_epoch)
            if known is not None:
                return self._remember_route(known)
            owned = record.owner_actor_id is not None
            if not owned:
                _refuse_if_asleep(record)
            left = max(0.1, deadline - self._clock.monotonic())
            # The owner gives up a little earlier than the call, so that its word and not ours is heard.
            patience = max(0.5, left - 1.0)
            with suppress(_AtRest):  # it went to rest meanwhile: what it decided is in the record
                route = await self._ask(
                    "leave" if owned else "wake",
                    session_id,
                    SessionCalls.route,
                    left,
                    newer_than_epoch,
                    patience,
                )
                return self._remember_route(route)
        raise DeadlineExceeded(f"route of session {session_id}", timeout_seconds)

    async def arrive(self, session_id: str) -> Route | None:
        """Bring a session up for a client that has come; return the route if its container is ready.

        Raises NotFound, SessionEnded.
        """
        self._used(session_id)
        record, container = await self._serving(session_id)
        if record.phase in _ENDING:
            raise SessionEnded(session_id)
        if record.phase in _ASLEEP or _is_abandoned(record):
            await self.call(session_id, SessionCalls.wake, None)
        route = _ready_route(record, container, 0)
        return None if route is None else self._remember_route(route)

    async def renew(self, session_id: str) -> None:
        """See that a session goes on whose node does not answer: with another owner, elsewhere if need be."""
        record, _ = await self._serving(session_id)
        if record.phase is SessionPhase.READY:
            await self.route(session_id, newer_than_epoch=record.epoch)

    async def _serving(self, session_id: str) -> tuple[SessionRecord, ContainerRecord | None]:
        found = await self._ledger.serving(session_id)
        if found is None:
            self.forget(session_id)
            raise NotFound("session", session_id)
        self.see(found[0])
        return found

    def note_use(self, session_id: str) -> None:
        """Note that somebody uses a session through what is no call."""
        self._used(session_id)

    def _remember_route(self, route: Route) -> Route:
        # Nobody here sees one on another node replaced, and it may serve on where its session's owner
        # cannot reach it.
        if route.node_id in {None, self._node_id}:
            self._routes[route.session_id] = route
        return route

    async def look_into(
        self, record: SessionRecord, look: Callable[[Route], Awaitable[T]], limit_seconds: float
    ) -> T | None:
        """Ask the container of a session that runs; None when it does not, or there is no answer in time.

        Nothing is woken for it.
        """
        if record.phase is not SessionPhase.READY or record.container_id is None:
            return None
        with suppress(CoditectError, TimeoutError):
            async with asyncio.timeout(limit_seconds):
                container = await self._ledger.container(record.container_id)
                if container is None or container.handle is None:
                    return None
                return await look(Route.to(container.handle, record.session_id, record.epoch))
        return None

    async def on_container(
        self,
        session_id: str,
        work: Callable[[Route], Awaitable[T]],
        *,
        repeatable: bool = True,
    ) -> T:
        """Do something with the session's container; a hibernated session is resumed for it.

        ``work`` runs again, once, when the container turned out to have been replaced. What is not
        ``repeatable`` only runs again when it certainly was not carried out: otherwise
        its caller gets the error, and looks.
        """
        self._used(session_id)
        route = self._routes.get(session_id) or await self.awake_route(session_id)
        try:
            return await work(route)
        except (Unavailable, Fenced) as error:
            if not repeatable and type(error) is Unavailable:
                self._routes.pop(session_id, None)
                raise
            route = await self.newer_route(session_id, route, error)
        return await work(route)

    async def once_on_container(self, session_id: str, work: Callable[[Route], Awaitable[T]]) -> T:
        """Do something that may not run twice; again only if the first time nothing was done."""
        self._used(session_id)
        route = await self.awake_route(session_id)
        try:
            return await work(route)
        except (Unreached, Fenced) as error:
            route = await self.newer_route(session_id, route, error)
        return await work(route)

    async def awake_route(self, session_id: str) -> Route:
        """Return the route, resuming the session if it is hibernated or has failed."""
        try:
            return await self.route(session_id)
        except PreconditionFailed:
            await self.resume(session_id, self._new_id("k"))
        return await self.route(session_id)

    def archive_actor(self, route: Route) -> Ref[ArchiveCalls]:
        """Return the name of the ArchiveActor that keeps what is in a container's workspace."""
        return names.archive_actor(route.node_id or self._node_id)

    async def newer_route(self, session_id: str, old: Route, error: CoditectError) -> Route:
        """Return the route that replaced one that does not work. Raises ``error`` if none came."""
        self._routes.pop(session_id, None)
        try:
            return await self.route(
                session_id,
                newer_than_epoch=old.epoch,
                lost=None if isinstance(error, Fenced) else old.container_id,
                timeout_seconds=REPLACEMENT_SECONDS,
            )
        except PreconditionFailed:
            return await self.awake_route(session_id)
        except DeadlineExceeded:
            raise error from None

    # ---- who owns what --------------------------------------------------------------------------

    def _suspect(self, session_id: str, actor_id: str) -> None:
        self._silent[session_id] = actor_id

    def forget(self, session_id: str) -> None:
        """Look the session up again at its next use."""
        self._owners.pop(session_id, None)
        self._routes.pop(session_id, None)

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


def _is_abandoned(record: SessionRecord) -> bool:
    """Return whether something was under way that has nobody who goes on with it."""
    return record.owner_actor_id is None and record.phase in _COMING_UP


def _ready_route(
    record: SessionRecord, container: ContainerRecord | None, newer_than_epoch: int
) -> Route | None:
    """Return the way to a container that the store says is ready.

    An owner knows more than the store: who found a container wanting asks it, if there is one.
    """
    if newer_than_epoch and record.owner_actor_id is not None:
        return None
    if record.phase is not SessionPhase.READY or record.epoch <= newer_than_epoch:
        return None
    if container is None or container.handle is None:
        return None
    return Route.to(container.handle, record.session_id, record.epoch)


def _refuse_if_asleep(record: SessionRecord) -> None:
    """Raise what an owner would be made to say of a session without a container; nobody is woken to."""
    if record.phase is SessionPhase.HIBERNATED:
        raise PreconditionFailed("session", "ready", "hibernated")
    if record.phase is SessionPhase.FAILED:
        raise LaunchFailed("-", record.failure or "unknown")
