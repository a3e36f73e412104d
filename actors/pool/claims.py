"""Opens sessions: a warm container, one transaction, and where there is something to decide an actor.

Whoever signs in for the first time gets a container that is ready, so their session is made at rest; any
other one that is opened gets a warm actor, which is bound by one call.

The store decides. What is picked here is only a proposal: the transaction refuses a container that
is no longer warm (``SlotGone``: the next one is tried), and answers with the owner when somebody
else has the session (it is returned if it lives, and taken over once ``takeover`` knows that it does
not act any more; the raised epoch fences it in any case).

Opening is idempotent by what it is: a user has one session of a name, and the same call again finds
the one that the first made. No answer is kept under the caller's key: a late repetition would be
answered with a claim that has been over for long, and an actor would be bound to a session that it
does not own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

from cachetools import TTLCache

from actors.core.backoff import Backoff
from actors.core.errors.base import Busy, CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.requests import PreconditionFailed
from actors.core.errors.sessions import ActorTaken, Fenced, NotBound, SlotGone
from actors.core.errors.store import CommitUnknown
from actors.core.ports.ledger import ClaimRequest
from actors.core.ports.services import Services
from actors.core.records.sessions import (
    Cause,
    Claim,
    Opened,
    Route,
    SessionPhase,
    SessionRecord,
)
from actors.core.statistics import Histogram
from actors.core.tasks import Tasks
from actors.core.timing import within
from actors.pool.slots import Slot
from actors.pool.takeover import Owners, Takeover
from actors.pool.warm import SessionActors, WarmPools

MAX_ATTEMPTS = 5
BIND_SECONDS = 5.0
INTRODUCTION_PAUSE, INTRODUCTIONS = 0.2, 10
FLAPPING_SECONDS = 60.0
FLAPPING_FACTOR = 6.0
MAX_LATELY = 10_000

logger = logging.getLogger(__name__)

UNCERTAIN = (CommitUnknown, Unavailable, DeadlineExceeded)


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A user's request for a session. Requests with the same ``key`` that are under way are one.

    With ``session_id`` no other session is meant, and none is made.
    """

    user_id: str
    name: str
    key: str
    cause: Cause = Cause.CALL
    session_id: str | None = None


class Claims:
    """Opens sessions from the warm pools. Claims with the same key under way are one claim."""

    def __init__(
        self, services: Services, actors: SessionActors, pools: WarmPools, tasks: Tasks
    ) -> None:
        self._services = services
        self._actors = actors
        self._owners = Owners(services, actors)
        self._pools = pools
        self._tasks = tasks
        self._opening: dict[str, asyncio.Task[Opened]] = {}
        self.touched: set[str] = set()
        self.seconds = Histogram()
        self.activation_seconds = Histogram()
        self._lately: TTLCache[str, None] = TTLCache(
            MAX_LATELY, FLAPPING_SECONDS, services.clock.monotonic
        )
        self.activations: Counter[Cause] = Counter()
        self.total = 0
        self.created = 0
        self.hits = 0
        self.failures = 0
        self.slots_gone = 0
        self.takeovers = 0

    async def open_session(self, request: OpenRequest, dead_actor_id: str | None) -> Opened:
        """Return who holds the session; opens, activates or takes it over as needed.

        ``dead_actor_id`` is an owner that did not answer the caller; it is asked again before
        anything is taken from it. Raises Busy, Unavailable, DeadlineExceeded, and the store's errors.
        """
        task = self._opening.get(request.key)
        if task is None:
            work = self._measured(request, dead_actor_id)
            task = self._tasks.offer(f"open {request.key}", work, awaited=True)
            if task is None:
                raise Busy("session starts", self._pools.retry_after())
            self._opening[request.key] = task
            task.add_done_callback(lambda _: self._opening.pop(request.key, None))
        return await asyncio.shield(task)

    async def _measured(self, request: OpenRequest, dead_actor_id: str | None) -> Opened:
        clock = self._services.clock
        began = clock.monotonic()
        self._pools.note_claim()
        try:
            opened = await self._open(request, dead_actor_id)
        except CoditectError:
            self.failures += 1
            raise
        finally:
            self._pools.note_claim()
        self.total += 1
        self.created += opened.created
        self.hits += opened.created and opened.warm_container
        took = clock.monotonic() - began
        self.seconds.observe(took)
        if opened.actor_id is not None and opened.record is not None:
            self.activations[request.cause] += 1
            self.activation_seconds.observe(took)
        return opened

    async def _open(self, request: OpenRequest, suspect: str | None) -> Opened:
        dead = await self._takeover(request, suspect) if suspect else None
        if request.cause is Cause.LOGIN and dead is None:
            opened = await self._open_at_rest(request)
            if opened is not None:
                return opened
        created = warm_container = False
        for _ in range(MAX_ATTEMPTS):
            actor, warm_actor = self._pools.actors.reserve(), True
            if actor is None:
                held = await self._held(request, dead)
                if held is not None:
                    return held
                warm_actor = False
                actor = await self._pools.wait_for_actor(self._services.settings.launch_timeout)
            container = self._pools.containers.reserve()
            key = f"{request.key}/{self._services.new_id('k')}"
            claim = await self._claim(request, actor, container, dead)
            if claim is None:
                continue
            session = claim.session
            created |= claim.created
            warm_container |= container is not None and session.container_id == container.slot_id
            owner = session.owner_actor_id
            if owner != actor.slot_id:
                if owner is not None and await self._owners.answers(owner):
                    return _opened(session, created=created, warm_container=warm_container)
                dead = await self._owners.until_free(session)
            else:
                bound, dead = await self._bind(claim, key, self._rest_after(request, session))
                if bound is not None:
                    return Opened(
                        session_id=session.session_id,
                        actor_id=actor.slot_id,
                        created=created,
                        warm_actor=warm_actor,
                        warm_container=warm_container,
                        record=bound,
                    )
            self.takeovers += dead is not None
        raise Unavailable("pool", f"no slot held in {MAX_ATTEMPTS} attempts")

    async def _open_at_rest(self, request: OpenRequest) -> Opened | None:
        """Give a new session a warm container and no owner; None if that is not all that it takes."""
        while (container := self._pools.containers.reserve()) is not None:
            claim = await self._claim(request, None, container, None)
            if claim is None:
                continue
            session = claim.session
            if claim.created and claim.container is not None and claim.container.handle is not None:
                route = Route.to(claim.container.handle, session.session_id, session.epoch)
                self._tasks.offer(
                    f"introduce {session.session_id}", self._introduce(route, session)
                )
            elif session.owner_actor_id is None and session.phase is not SessionPhase.READY:
                return None  # it was made by somebody else, and wants an owner
            return _opened(session, created=claim.created, warm_container=claim.created)
        return None

    async def _introduce(self, route: Route, session: SessionRecord) -> None:
        """Name its user to a container; what fails for long is done by the session's first owner."""
        backoff = Backoff(INTRODUCTION_PAUSE, BIND_SECONDS)
        for _ in range(INTRODUCTIONS):
            try:
                email = await self._services.ledger.email_of(session.user_id)
                raised = self._services.codi.raise_epoch(route, email)
                return await within(BIND_SECONDS, "introduction", raised)
            except Fenced:
                return None  # its first owner did it
            except (CoditectError, OSError) as error:
                logger.info("container %s does not know its user: %s", route.container_id, error)
            await self._services.clock.sleep(backoff.next())
        return None

    def _rest_after(self, request: OpenRequest, session: SessionRecord) -> float | None:
        """Return for how long the owner should stay: not at all after a loss, longer when it comes again."""
        again = session.session_id in self._lately
        self._lately[session.session_id] = None
        if request.cause is Cause.LOSS:
            return 0.0
        return FLAPPING_FACTOR * self._services.settings.rest_after if again else None

    async def _takeover(self, request: OpenRequest, suspect: str) -> Takeover | None:
        """Return the right to replace an owner that its caller found silent; None if it lives."""
        session = await self._services.ledger.session_of_user(request.user_id, request.name)
        if session is None or session.owner_actor_id != suspect:
            return None
        return await self._owners.until_free(session)

    async def _held(self, request: OpenRequest, dead: Takeover | None) -> Opened | None:
        """Return the session if a live actor holds it already, without waiting for a new one."""
        session = await self._services.ledger.session_of_user(request.user_id, request.name)
        owner = session.owner_actor_id if session else None
        if session is None or owner is None or (dead is not None and owner == dead.actor_id):
            return None
        if not await self._owners.answers(owner):
            return None
        return _opened(session, created=False, warm_container=False)

    async def _claim(
        self,
        request: OpenRequest,
        actor: Slot | None,
        container: Slot | None,
        dead: Takeover | None,
    ) -> Claim | None:
        """Commit the claim and settle both reservations; None if the container or the actor was gone."""
        services, pools = self._services, self._pools
        if container is not None:
            self.touched.add(container.slot_id)
        try:
            claim = await services.ledger.claim(
                ClaimRequest(
                    user_id=request.user_id,
                    name=request.name,
                    new_session_id=services.new_id("s"),
                    new_workspace_id=services.new_id("w"),
                    actor_id=actor.slot_id if actor else None,
                    node_id=services.settings.node_id,
                    container_id=container.slot_id if container else None,
                    now=services.clock.now(),
                    dead_actor_id=dead.actor_id if dead else None,
                    lapsed=dead.lapsed if dead else None,
                    quotas=services.settings.quotas,
                    session_id=request.session_id,
                    may_leave=request.cause not in {Cause.LOGIN, Cause.CALL},
                )
            )
        except (SlotGone, ActorTaken) as gone:
            self._drop(gone)
            pools.put_back(container)
            pools.put_back(actor)
            return None
        except BaseException as error:
            if isinstance(error, CoditectError) and not isinstance(error, UNCERTAIN):
                pools.put_back(container)
                pools.put_back(actor)
            else:  # it may have been committed: the sweep finds out, and adopts what is free
                if actor is not None:
                    pools.actors.drop(actor.slot_id)
                if container is not None:
                    pools.containers.drop(container.slot_id)
            raise
        if container is not None:
            if claim.session.container_id == container.slot_id:
                pools.containers.take(container.slot_id)
            else:
                pools.put_back(container)
        if actor is not None and claim.session.owner_actor_id == actor.slot_id:
            pools.actors.take(actor.slot_id)
        else:
            pools.put_back(actor)
        return claim

    def _drop(self, gone: SlotGone | ActorTaken) -> None:
        """Count what was picked as warm no more; an actor says so once it is free again."""
        self.slots_gone += 1
        if isinstance(gone, SlotGone):
            self._pools.containers.drop(gone.container_id)
        else:
            self._pools.actors.drop(gone.actor_id)

    async def _bind(
        self, claim: Claim, key: str, rest_after: float | None
    ) -> tuple[SessionRecord | None, Takeover | None]:
        """Bind the owner; if it could not be, return the right to replace it, None if it lives."""
        session, owner = claim.session, claim.session.owner_actor_id
        assert owner is not None
        bind = self._actors.bind(owner, session, claim.container, key, BIND_SECONDS, rest_after)
        try:
            return await bind, None
        except (NotBound, PreconditionFailed, Fenced):
            return None, Takeover(owner, None)  # its own word: it does not hold the session
        except (Unavailable, DeadlineExceeded):
            return None, await self._owners.until_free(session)


def _opened(session: SessionRecord, *, created: bool, warm_container: bool) -> Opened:
    return Opened(
        session_id=session.session_id,
        actor_id=session.owner_actor_id,
        created=created,
        warm_actor=False,
        warm_container=warm_container,
        record=session if session.owner_actor_id is None else None,
    )
