"""Finds a session's container, or has one brought up: the way from the ingress to sessions.

A container that the store says is ready is gone to without asking anybody. A container that turns out
not to answer, and whatever there is to decide, is the owner's (``owners``), whom a session at rest gets
for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from cachetools import LRUCache

from actors.core import names
from actors.core.backoff import Backoff
from actors.core.calls import ActorCaller, ArchiveCalls, Ref, SessionCalls
from actors.core.errors.base import CoditectError, DeadlineExceeded, Unavailable, Unreached
from actors.core.errors.requests import NotFound, PreconditionFailed
from actors.core.errors.sessions import Fenced, LaunchFailed, SessionEnded
from actors.core.ports.clock import Clock
from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import Cause, Route, SessionPhase, SessionRecord
from actors.session.workspace_state import check_patch, with_patch
from serve_app.dependencies import SessionReader
from serve_app.sessions.environment import Personal
from serve_app.sessions.node_map import NodeMap
from serve_app.sessions.owners import CALL_SECONDS, MAX_KNOWN, AtRest, SessionOwners

T = TypeVar("T")

ROUTE_SECONDS = 45.0
REPLACEMENT_SECONDS = 15.0
NOTICE_SECONDS = 2.0
REVIVAL_SECONDS = 40.0
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_ASLEEP = frozenset({SessionPhase.HIBERNATING, SessionPhase.HIBERNATED, SessionPhase.FAILED})
_COMING_UP = frozenset({SessionPhase.STARTING, SessionPhase.RECOVERING})
_ENDING = frozenset({SessionPhase.ENDING, SessionPhase.ENDED})


class SessionGateway(SessionOwners):
    """Opens sessions, and does things with their containers. Belongs to one event loop."""

    def __init__(
        self,
        ledger: SessionReader,
        actors: ActorCaller,
        clock: Clock,
        *,
        node_id: str,
        new_id: Callable[[str], str],
        used: Callable[[str], None],
        personal: Personal,
        nodes: NodeMap | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Report the id of each session that somebody uses to ``used``; ``personal`` prepares containers."""
        super().__init__(
            ledger,
            actors,
            clock,
            node_id=node_id,
            used=used,
            nodes=nodes,
            call_seconds=call_seconds,
        )
        self._node_id = node_id
        self._new_id = new_id
        self.start = personal.start
        self._routes: LRUCache[str, Route] = LRUCache(MAX_KNOWN)
        self._route_hits = self._route_misses = self._route_stale = 0

    def statistics(self) -> dict[str, int]:
        """Return how calls found containers: by a route that was known, and how often that was an old one."""
        return {
            "route_hits_total": self._route_hits,
            "route_misses_total": self._route_misses,
            "route_stale_total": self._route_stale,
        }

    def forget(self, session_id: str) -> None:
        """Look the session up again at its next use."""
        super().forget(session_id)
        self._routes.pop(session_id, None)

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
        began = self._clock.monotonic()
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while (left := began + timeout_seconds - self._clock.monotonic()) > 0:
            record, container = await self._serving(session_id)
            if lost is not None and record.container_id == lost:
                newer_than_epoch = max(newer_than_epoch, record.epoch)
            known = _ready_route(record, container, newer_than_epoch)
            if known is not None:
                return self._remember_route(known)
            owned = record.owner_actor_id is not None
            waited = self._clock.monotonic() - began
            if container is not None and container.lost_at is not None:
                waited = self._clock.now() - container.lost_at
            if not owned and newer_than_epoch and _may_be_revived(record, container, waited):
                await self._clock.sleep(min(backoff.next(), left))
                continue
            if not owned:
                _refuse_if_asleep(record)
            # The owner gives up a little earlier than the call, so that its word and not ours is heard.
            patience = max(0.5, left - 1.0)
            with suppress(AtRest):  # it went to rest meanwhile: what it decided is in the record
                route = await self._ask(
                    "leave" if owned else "wake",
                    session_id,
                    SessionCalls.route,
                    left,
                    newer_than_epoch,
                    patience,
                )
                return self._remember_route(route)
            await self._clock.sleep(min(backoff.next(), left))
        raise DeadlineExceeded(f"route of session {session_id}", timeout_seconds)

    async def ready_route(self, session_id: str) -> tuple[SessionRecord, Route | None]:
        """Return a session and the way to its container, if that is ready; nothing is woken.

        Raises NotFound.
        """
        record, container = await self._serving(session_id)
        return record, _ready_route(record, container, 0)

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
        known = self._routes.get(session_id)
        if known is None:
            self._route_misses += 1
        else:
            self._route_hits += 1
        route = known or await self.awake_route(session_id)
        try:
            return await work(route)
        except (Unavailable, Fenced) as error:
            self._route_stale += known is not None
            if not repeatable and type(error) is Unavailable:
                self._routes.pop(session_id, None)
                raise
            route = await self.newer_route(session_id, route, error)
        return await work(route)

    async def once_on_container(self, session_id: str, work: Callable[[Route], Awaitable[T]]) -> T:
        """Do what may not run twice, and may start a program; again only if the first time nothing was done.

        The program finds what its user has set (``Personal``).
        """
        self._used(session_id)
        route = await self.awake_route(session_id)
        try:
            return await self.start(route, work)
        except (Unreached, Fenced) as error:
            route = await self.newer_route(session_id, route, error)
        return await self.start(route, work)

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

    async def newer_route(
        self, session_id: str, old: Route, error: CoditectError, *, wakes: bool = True
    ) -> Route:
        """Return the route that replaced one that does not work. Raises ``error`` if none came.

        A session that sleeps by now is resumed, or PreconditionFailed raised unless it ``wakes``.
        """
        self._routes.pop(session_id, None)
        try:
            return await self.route(
                session_id,
                newer_than_epoch=old.epoch,
                lost=None if isinstance(error, Fenced) else old.container_id,
                timeout_seconds=REPLACEMENT_SECONDS,
            )
        except PreconditionFailed:
            if not wakes:
                raise
            return await self.awake_route(session_id)
        except DeadlineExceeded:
            raise error from None


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


def _may_be_revived(
    record: SessionRecord, container: ContainerRecord | None, waited: float
) -> bool:
    """Return whether to leave it to the node's HealthChecker to replace a container, in its turn.

    It notes a loss as soon as it sees one; of very many it replaces a few at a time, while each that is
    not waited for would take an actor of its own.
    """
    if record.phase is not SessionPhase.READY or container is None:
        return False
    return waited < (NOTICE_SECONDS if container.lost_at is None else REVIVAL_SECONDS)


def _refuse_if_asleep(record: SessionRecord) -> None:
    """Raise what an owner would be made to say of a session without a container; nobody is woken to."""
    if record.phase is SessionPhase.HIBERNATED:
        raise PreconditionFailed("session", "ready", "hibernated")
    if record.phase is SessionPhase.FAILED:
        raise LaunchFailed("-", record.failure or "unknown")
