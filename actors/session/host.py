"""Binds an actor to at most one session: claim, adoption after a restart, release. Nothing of Ray here.

An actor is *warm* (holds no session) or holds exactly one ``Activation``. It comes to one in three
ways: ``bind`` by the pool that claimed it; its own start, when the store says that it owns a session
(this process is then the successor of one that died); or a question about a session that the store
says it owns. It lets go when the session ends or goes to rest, and when it is fenced off. If it was
fenced off after its lease had run out, it was stopped or cut off for long; if the store still names
*this* actor as the owner, another process of the same name rules, or a write of its own was never
answered: ``run`` then raises, the process ends, and whichever process is left starts from the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from actors.core.backoff import Backoff
from actors.core.errors.base import CoditectError, IllegalTransition, Unavailable
from actors.core.errors.requests import InvalidArgument, PreconditionFailed
from actors.core.errors.sessions import Fenced, NotBound
from actors.core.lease import LeaseRules, LeaseWatch
from actors.core.ports.services import Services
from actors.core.records.containers import ContainerRecord
from actors.core.records.sessions import SessionRecord
from actors.core.settings import ActorSettings
from actors.core.tasks import Tasks
from actors.core.timing import within
from actors.session import messages
from actors.session.activation import RETRY_LIMIT_SECONDS, RETRY_SECONDS, Activation
from actors.session.executor import (
    CODI_SECONDS,
    PREPARE_SECONDS,
    RESTORE_SECONDS,
    STOP_SLACK_SECONDS,
    WORKSPACE_SECONDS,
)
from actors.session.record_writer import WRITE_SECONDS
from actors.session.state import SessionRules
from actors.session.stats import SessionStats

logger = logging.getLogger(__name__)

PASSIVATE_SECONDS = 2 * WRITE_SECONDS


class Pool(Protocol):
    """The pool that made this actor."""

    async def actor_released(self, actor_id: str) -> None:
        """Report that the actor is warm again. Raises CoditectError; the pool's sweep finds it anyway."""
        ...


def rules_from(settings: ActorSettings) -> SessionRules:
    """Return the machine's limits: each is what its steps may take together, and a little more."""
    stop = settings.stop_grace + STOP_SLACK_SECONDS + 2 * WRITE_SECONDS
    return SessionRules(
        adopt_timeout=WRITE_SECONDS + CODI_SECONDS + settings.probe_timeout + 1.0,
        launch_timeout=settings.launch_limit
        + PREPARE_SECONDS
        + 2 * CODI_SECONDS
        + 4 * WRITE_SECONDS
        + RESTORE_SECONDS
        + WORKSPACE_SECONDS,
        stop_timeout=stop,
        end_timeout=stop + WORKSPACE_SECONDS + 2 * WRITE_SECONDS,
        passivate_timeout=PASSIVATE_SECONDS,
        rest_after=settings.rest_after,
    )


class SessionHost:
    """Holds one actor's session. Belongs to one event loop; ``run`` until cancelled, then ``close``."""

    def __init__(
        self,
        actor_id: str,
        services: Services,
        pool: Pool,
        *,
        jitter: Callable[[], float],
        rules: SessionRules | None = None,
    ) -> None:
        self._actor_id = actor_id
        self._services = services
        self._pool = pool
        self._jitter = jitter
        self._rules = rules or rules_from(services.settings)
        self._activation: Activation | None = None
        self._watch = LeaseWatch(LeaseRules(services.settings.owner_lease))
        self._binding = asyncio.Lock()
        self._background = Tasks(limit=1000)
        self._started = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stats = SessionStats()

    # ---- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take up the session that the store says is this actor's, then serve until cancelled.

        Raises Fenced or IllegalTransition when this process must not go on.
        """
        backoff = Backoff(RETRY_SECONDS, RETRY_LIMIT_SECONDS)
        while True:
            try:
                async with self._binding:
                    await self._find()
                break
            except (CoditectError, OSError) as error:
                logger.warning("actor %s cannot ask the store yet: %s", self._actor_id, error)
                await self._services.clock.sleep(backoff.next())
        self._started = True
        await asyncio.shield(self._over)

    async def close(self) -> None:
        """End every task. Session and container live on: whoever comes next adopts them."""
        activation, self._activation = self._activation, None
        if activation is not None:
            await activation.close()
        await self._background.close()
        if self._over.done() and not self._over.cancelled():
            self._over.exception()
        self._over.cancel()

    def state(self) -> dict[str, Any]:
        """Return whom this actor serves: ``session_id`` is None while it is warm."""
        state = {"actor_id": self._actor_id, "started": self._started, "session_id": None}
        held = self._activation
        return state if held is None else state | held.state()

    def stats(self) -> dict[str, Any]:
        """Return counters, gauges and distributions; see ``actors.core.statistics``."""
        held = self._activation
        return self._stats.snapshot() | {
            "session_held": int(held is not None),
            "background_tasks": len(self._background),
        }

    # ---- binding --------------------------------------------------------------------------------

    async def bind(
        self, record: SessionRecord, container: ContainerRecord | None, rest_after: float | None
    ) -> Activation:
        """Hold a session that the store says this actor owns. Idempotent; see ``Activation.start``.

        Raises InvalidArgument when the record names another owner, PreconditionFailed when another
        session is held.
        """
        if record.owner_actor_id != self._actor_id:
            raise InvalidArgument("record", f"its owner is not {self._actor_id}")
        async with self._binding:
            held = self._activation
            if held is not None:
                if held.session_id != record.session_id:
                    raise PreconditionFailed("actor", "warm", f"bound to {held.session_id}")
                if record.epoch <= held.writer.record.epoch:
                    return held
                held.step(messages.FencedOff(record.epoch))  # the claim was made anew
            return self._activate(record, container, rest_after)

    async def held(self, session_id: str) -> Activation:
        """Return the activation of that session; takes it up if the store says so. Raises NotBound."""
        held = self._activation
        if held is None:
            async with self._binding:
                held = self._activation or await self._find(session_id)
        if held is None or held.session_id != session_id:
            raise NotBound(self._actor_id, session_id)
        return held

    async def _find(self, session_id: str | None = None) -> Activation | None:
        """Activate the session that the store says is this actor's; with an id, only that one."""
        if self._activation is not None:
            return self._activation
        ledger, settings = self._services.ledger, self._services.settings
        look = ledger.bound_session(self._actor_id)
        record = await within(WRITE_SECONDS, "look-up of the session", look)
        if record is None or session_id not in {None, record.session_id}:
            return None
        lapsed = await self._lapsed(record)
        activate = ledger.activate(
            record.session_id,
            actor_id=self._actor_id,
            node_id=settings.node_id,
            now=self._services.clock.now(),
            dead_actor_id=self._actor_id,
            lapsed=lapsed,
        )
        try:
            record = await within(WRITE_SECONDS, "activation of the session", activate)
        except Fenced:
            return None
        return self._activate(record, None)

    async def _lapsed(self, record: SessionRecord) -> str | None:
        """Return the token of the lease that this actor's last process let run out.

        None if that process ran on this node, which has seen it end. Raises Unavailable while it may
        still act elsewhere.
        """
        if record.owner_node_id in {None, self._services.settings.node_id}:
            return None
        look = self._services.ledger.lease(record.session_id)
        token = await within(WRITE_SECONDS, "read of the lease", look)
        if not self._watch.has_lapsed(record.session_id, token, self._services.clock.monotonic()):
            raise Unavailable("the session's owner", "its last process may still act")
        return token

    def _activate(
        self,
        record: SessionRecord,
        container: ContainerRecord | None,
        rest_after: float | None = None,
    ) -> Activation:
        logger.info("actor %s holds %s, epoch %d", self._actor_id, record.session_id, record.epoch)
        self._activation = activation = Activation(
            self._services,
            record,
            rules=self._rules,
            jitter=self._jitter,
            background=self._background,
            stats=self._stats,
            on_released=self._released,
            on_broken=self._end_with,
        )
        activation.start(container, rest_after)
        return activation

    def _released(self, activation: Activation, reason: messages.ReleaseReason) -> None:
        logger.info("actor %s lets go of %s: %s", self._actor_id, activation.session_id, reason)
        if self._activation is activation:
            self._activation = None
        self._background.offer("close activation", activation.close())
        self._background.offer("after release", self._after_release(activation, reason))

    async def _after_release(self, activation: Activation, reason: messages.ReleaseReason) -> None:
        if reason is messages.ReleaseReason.FENCED and (
            activation.lease.has_run_out or await self._superseded(activation)
        ):
            mine = activation.writer.record
            self._end_with(Fenced(mine.session_id, mine.epoch, mine.epoch + 1))
            return
        try:
            await self._pool.actor_released(self._actor_id)
        except CoditectError as error:
            logger.info("the pool will find actor %s by itself: %s", self._actor_id, error)

    async def _superseded(self, activation: Activation) -> bool:
        """Return whether the store still names this actor as owner of what it has just been refused."""
        try:
            look = self._services.ledger.bound_session(self._actor_id)
            record = await within(WRITE_SECONDS, "look-up of the session", look)
        except (CoditectError, OSError):
            return True  # nothing is known: the safe end is that of this process
        if record is None or record.session_id != activation.session_id:
            return False
        return self._activation is None

    def _end_with(self, error: Fenced | IllegalTransition) -> None:
        if not self._over.done():
            self._over.set_exception(error)
