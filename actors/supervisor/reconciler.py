"""Carries the supervisor's judgement out, and keeps what operators ask for. Nothing of Ray here."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from actors.core import calls, informer, placement
from actors.core.calls import ActorCaller, PoolCalls, Ref
from actors.core.errors.base import CoditectError, DeadlineExceeded, Unavailable
from actors.core.errors.requests import NotFound
from actors.core.informer import Informer
from actors.core.lease import LeaseRules, LeaseWatch
from actors.core.names import pool_actor, session_actor
from actors.core.ports.services import Services
from actors.core.records.nodes import NodeState, NodeView
from actors.core.records.sessions import SessionRecord
from actors.core.tasks import Tasks
from actors.core.timing import within
from actors.core.totals import Totals
from actors.supervisor.drain import Drainer, asleep, left_on
from actors.supervisor.nodes import NodeKeeper
from actors.supervisor.plan import (
    Component,
    Judgement,
    Make,
    Release,
    Reopen,
    Restart,
    SupervisorAction,
    SupervisorRules,
    World,
    component_actions,
    judge,
    phase_limits,
    remake_pause,
)

logger = logging.getLogger(__name__)

PING_SECONDS = 3.0
STATS_SECONDS = 3.0
SESSION_STATS_SECONDS = 2.0
QUESTIONS_AT_ONCE = 64
REOPEN_SECONDS = 60.0
SHUTDOWN_SECONDS = 10.0
KNOWN_SECONDS = 3.0
MAX_SOURCES = 256
LEASES_READ_AT_ONCE = 1000
SOURCE_TTL = 120.0
DUTY = 0.05
SETTLED_LOOKS = 3
"""Looks at an empty node before it leaves: replicas may just have learned that it is to be emptied."""


class ActorGateway(ActorCaller, Protocol):
    """The actors as the supervisor uses them. Every method ends within its limit."""

    async def listed(self) -> Sequence[str]:
        """Return the names of all actors that live or are being restarted. Raises Unavailable."""
        ...

    async def make(self, name: str) -> None:
        """Make a component; one that is there already is no error."""
        ...

    async def kill(self, name: str, *, restart: bool) -> None:
        """End an actor's process; without ``restart`` for good. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """A component: its actor's name, what it is (store, pool, health), whether all else needs it."""

    name: str
    kind: str
    vital: bool


class SupervisorReconciler:
    """Keeps the components alive and the sessions owned. Belongs to one event loop.

    The components come up by ``components_up`` first, without the store, which is one of them;
    ``services`` is known from ``attach_services`` on.
    """

    def __init__(
        self, gateway: ActorGateway, members: Sequence[Member], *, hang_after: float = 30.0
    ) -> None:
        self._gateway = gateway
        self._hang_after = hang_after
        self._components = {m.name: Component(m.name, m.kind, m.vital) for m in members}
        self._services: Services | None = None
        self._sessions: Informer[SessionRecord] | None = None
        self._leases: LeaseWatch | None = None
        self._tasks = Tasks(limit=1000)
        self._judgement: Judgement | None = None
        self._checked_at: float | None = None
        self._look_seconds = 0.0
        self._failures = 0
        self._made = self._restarted = self._reopened = self._released = 0
        self._answers: dict[str, dict[str, Any]] = {}
        self._stats: dict[str, dict[str, Any]] = {}
        self._pushed: dict[str, dict[str, Any]] = {}
        self._session_totals = Totals()
        self._nodes: NodeKeeper | None = None
        self._drainer: Drainer | None = None
        self._emptying: dict[str, asyncio.Task[Any]] = {}
        self._empty_looks: Counter[str] = Counter()

    def attach_services(self, services: Services) -> None:
        """Let the supervisor read the store from now on."""
        self._services = services
        self._sessions = informer.of_sessions(services)
        self._leases = LeaseWatch(LeaseRules(services.settings.owner_lease))

    def attach_nodes(self, nodes: NodeKeeper) -> None:
        """Look after nodes that join, too. Needs ``attach_services`` before."""
        services = self._needed()
        self._nodes = nodes
        self._drainer = Drainer(
            self._gateway, services.ledger, nodes, services.clock, services.new_id
        )

    async def components_up(self, monotonic: float) -> bool:
        """Look at the components alone, make what is missing; true if all of them answer."""
        listed = frozenset(await self._gateway.listed())
        await self._ping_all(listed, monotonic)
        components = list(self._components.values())
        for action in component_actions(
            World(0.0, monotonic, components, listed, []), self._rules()
        ):
            await self._act(action, monotonic)
        return all(c.listed and c.silent_since is None for c in components)

    async def run(self) -> None:
        """Look and act until cancelled. Needs ``attach_services`` before."""
        services = self._needed()
        while True:
            try:
                await self.look()
            except (CoditectError, OSError) as error:
                self._failures += 1
                logger.warning("supervision has to wait: %s", error)
            pause = max(services.settings.reconcile_interval, self._look_seconds / DUTY)
            await services.clock.sleep(pause)

    async def look(self) -> Judgement:
        """Take everything in, judge, and begin what has to be done."""
        services = self._needed()
        clock = services.clock
        began = clock.monotonic()
        listed = frozenset(await self._gateway.listed())
        await self._ping_all(listed, began)
        components_world = World(clock.now(), began, list(self._components.values()), listed, [])
        for action in component_actions(components_world, self._rules()):
            await self._act(action, began)
        assert self._sessions is not None
        sessions = list((await self._sessions.refresh()).values())
        await self._keep_up_with_nodes(sessions)
        before = self._judgement
        world = World(
            now=clock.now(),
            monotonic=began,
            components=(),
            listed=listed,
            sessions=sessions,
            missing_before=before.missing if before else (),
            reopened=before.reopened if before else {},
        )
        self._judgement = judgement = judge(world, self._rules())
        leases_read = 0
        for action in judgement.actions:
            if isinstance(action, Reopen):
                self._tasks.offer(f"reopen {action.session_id}", self._reopen(action))
                continue
            if isinstance(action, Release) and self._is_elsewhere(action.session):
                # The others come once these are released: a lost node may have had very many.
                leases_read += 1
                if leases_read > LEASES_READ_AT_ONCE:
                    continue
            await self._act(action, began)
        self._checked_at = clock.now()
        self._look_seconds = clock.monotonic() - began
        return judgement

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return what operators see: who lives, sessions by phase, what is stuck, how fresh this is."""
        judgement = self._judgement
        pools = {name: stats for name, stats in self._stats.items() if self._kind(name) == "pool"}
        return {
            "checked_at": self._checked_at,
            "age_seconds": None if self._checked_at is None else now - self._checked_at,
            "sessions": dict(judgement.phases) if judgement else {},
            "sessions_active": judgement.active if judgement else 0,
            "stuck": list(judgement.stuck) if judgement else [],
            "orphans": sum(int(stats.get("orphans", 0)) for stats in pools.values()),
            "ownerless": len(judgement.missing) if judgement else 0,
            "actors": [self._describe(component) for component in self._components.values()],
            "pools": pools,
            "components_made_total": self._made,
            "components_restarted_total": self._restarted,
            "sessions_reopened_total": self._reopened,
            "sessions_released_total": self._released,
            "supervision_failures_total": self._failures + self._tasks.failures,
            "look_duration": self._look_seconds,
        }

    def nodes(self) -> list[NodeView]:
        """Return the nodes and what they have room for, the head first."""
        if self._nodes is None:
            return []
        # What a silent one said last is no word of its: it would get every new session.
        answers = {
            name: answer
            for name, answer in self._answers.items()
            if name in self._components and self._components[name].silent_since is None
        }
        return self._nodes.views(answers)

    async def known_nodes(self) -> list[NodeView]:
        """Return the nodes once they have been looked at. Raises DeadlineExceeded."""
        if self._nodes is not None:
            await within(KNOWN_SECONDS, "a look at the nodes", self._nodes.known.wait())
        return self.nodes()

    async def drain(self, node_id: str) -> None:
        """Have a node emptied; it leaves when it is empty. Idempotent. Raises NotFound."""
        if self._nodes is None:
            raise NotFound("node", node_id)
        await self._nodes.set_state(node_id, NodeState.DRAINING)

    def push_metrics(self, source: str, families: Any, now: float) -> None:
        """Keep the latest metrics of a process that no actor asks; the oldest of too many go."""
        self._pushed.pop(source, None)
        self._pushed[source] = {"at": now, "families": families}
        self._expire(now)

    async def collect_metrics(self, now: float) -> dict[str, Any]:
        """Ask every actor for its ``stats`` at once and return them with what was pushed.

        ``{"actors": {name: {"kind", "stats"}}, "sessions": sums over all session actors,
        "pushed": {source: {"at", "families"}}, "supervisor": snapshot without the pools}``.
        A component that does not answer is left out.
        """
        await asyncio.gather(self._collect_stats(), self._collect_session_stats())
        self._expire(now)
        own = self.snapshot(now)
        own.pop("pools")
        return {
            "actors": {
                name: {"kind": self._kind(name), "stats": stats}
                for name, stats in self._stats.items()
            },
            "sessions": self._session_totals.snapshot(),
            "pushed": dict(self._pushed),
            "supervisor": own,
        }

    async def refresh_stats(self) -> None:
        """Ask every component for its ``stats``, for the next ``snapshot``."""
        await self._collect_stats()

    async def close(self) -> None:
        """End what is under way; the components live on."""
        await self._tasks.close()

    async def shutdown(self, others: Sequence[str] = ()) -> None:
        """End every component for good, the last made first, after ``others`` (session actors)."""
        await self.close()
        gate = asyncio.Semaphore(32)

        async def end(name: str) -> None:
            async with gate:
                try:
                    await self._gateway.kill(name, restart=False)
                except CoditectError as error:
                    logger.warning("%s did not end: %s", name, error)

        makers = [n for n in reversed(self._components) if self._kind(n) in {"pool", "health"}]
        for name in makers:  # first who would make or wake others
            await end(name)
        await asyncio.gather(*(end(name) for name in others))
        for name in reversed(self._components):
            if name not in makers:
                await end(name)

    # ---- carrying out -----------------------------------------------------------------------

    async def _act(self, action: SupervisorAction, monotonic: float) -> None:
        try:
            match action:
                case Make(name):
                    await self._make(name, monotonic)
                case Restart(name):
                    logger.error("%s does not answer and is restarted", name)
                    self._restarted += 1
                    self._update(name, silent_since=None)
                    await self._gateway.kill(name, restart=True)
                case Release(session):
                    await self._release(session)
                case Reopen():
                    raise AssertionError(action)
        except CoditectError as error:
            self._failures += 1
            logger.warning("%s: %s", type(action).__name__, error)

    async def _release(self, session: SessionRecord) -> None:
        """Let a session rest whose owner is gone; elsewhere, once its lease has run out too.

        That an actor of another node is gone means to Ray only that the node does not answer.
        """
        services, lapsed = self._needed(), None
        if self._is_elsewhere(session):
            assert self._leases is not None
            lapsed = await services.ledger.lease(session.session_id)
            now = services.clock.monotonic()
            if not self._leases.has_lapsed(session.session_id, lapsed, now):
                return
            self._leases.forget(session.session_id)
        await services.ledger.passivate(session, lapsed=lapsed)
        self._released += 1

    def _is_elsewhere(self, session: SessionRecord) -> bool:
        return session.owner_node_id not in {None, self._needed().settings.node_id}

    async def _make(self, name: str, monotonic: float) -> None:
        attempts = self._components[name].attempts + 1
        pause = remake_pause(attempts, self._rules())
        self._update(name, attempts=attempts, not_before=monotonic + pause)
        await self._gateway.make(name)
        self._made += 1
        self._update(name, listed=True)

    async def _reopen(self, action: Reopen) -> None:
        pools = [c.name for c in self._components.values() if c.kind == "pool"]
        own = [name for name in pools if action.node_id and name.endswith(action.node_id)]
        chosen = placement.choose(self.nodes())
        elsewhere = pools[:1] if chosen is None else [str(pool_actor(chosen))]
        for pool in own or elsewhere:
            try:
                await self._gateway.call(
                    Ref[PoolCalls](pool),
                    PoolCalls.open_session,
                    REOPEN_SECONDS,
                    user_id=action.user_id,
                    name=action.name,
                    key=action.key,
                    session_id=action.session_id,
                    dead_actor_id=action.dead_actor_id,
                )
                self._reopened += 1
            except CoditectError as error:
                self._failures += 1
                logger.warning("session %s waits for an owner: %s", action.session_id, error)

    async def _keep_up_with_nodes(self, sessions: Sequence[SessionRecord]) -> None:
        if self._nodes is None:
            return
        for node_id, components in (await self._nodes.refresh()).items():
            for name in [c.name for c in self._components.values() if c.node_id == node_id]:
                for known in (self._components, self._answers, self._stats):
                    known.pop(name, None)
            self._components |= {component.name: component for component in components}
        await self._nodes.note_ready(self._is_ready)
        await self._nodes.forget_lost()
        for node_id in self._nodes.to_empty():
            await self._empty(self._nodes, node_id, sessions)

    async def _empty(
        self, nodes: NodeKeeper, node_id: str, sessions: Sequence[SessionRecord]
    ) -> None:
        """Have what is left on a node moved; note that it is empty once nothing has been for some looks."""
        if (task := self._emptying.get(node_id)) is not None and not task.done():
            self._empty_looks[node_id] = 0
            return
        left = asleep(nodes.moving(node_id), sessions)
        if nodes.is_present(node_id):
            left += left_on(node_id, sessions)
        waiting = {session.session_id for session in left}
        for session_id in nodes.moving(node_id):
            if session_id not in waiting:  # it has ended, or runs elsewhere
                await nodes.set_moving(node_id, session_id, moving=False)
        self._empty_looks[node_id] = 0 if left else self._empty_looks[node_id] + 1
        if left:
            assert self._drainer is not None
            work = self._drainer.move_all(node_id, left, self.nodes)
            if (begun := self._tasks.offer(f"drain {node_id}", work)) is not None:
                self._emptying[node_id] = begun
        elif self._empty_looks[node_id] > SETTLED_LOOKS and nodes.is_present(node_id):
            assert self._sessions is not None
            now = (await self._sessions.refresh()).values()
            if not left_on(node_id, now):
                del self._empty_looks[node_id]
                await nodes.set_state(node_id, NodeState.DRAINED)

    def _is_ready(self, node_id: str) -> bool:
        return all(
            component.listed
            and component.silent_since is None
            and self._answers.get(component.name, {}).get("ready") is True
            for component in self._components.values()
            if component.node_id == node_id
        )

    # ---- looking ----------------------------------------------------------------------------

    async def _ping_all(self, listed: frozenset[str], monotonic: float) -> None:
        async def ping(name: str) -> None:
            if name not in listed:
                self._answers.pop(name, None)
                self._update(name, listed=False, silent_since=None)
                return
            try:
                self._answers[name] = await self._gateway.call(
                    Ref[calls.Component](name), calls.Component.ping, PING_SECONDS
                )
            except (Unavailable, DeadlineExceeded):
                since = self._components[name].silent_since
                self._update(name, listed=True, silent_since=monotonic if since is None else since)
            else:
                self._update(name, listed=True, silent_since=None, attempts=0, not_before=0.0)

        await asyncio.gather(*(ping(name) for name in tuple(self._components)))

    async def _collect_stats(self) -> None:
        async def ask(name: str) -> None:
            try:
                self._stats[name] = await self._gateway.call(
                    Ref[calls.Component](name), calls.Component.stats, STATS_SECONDS
                )
            except CoditectError:
                self._stats.pop(name, None)

        await asyncio.gather(*(ask(name) for name in tuple(self._components)))

    async def _collect_session_stats(self) -> None:
        """Ask the session actors; one that does not answer counts with what it said last."""
        try:
            listed = await self._gateway.listed()
        except CoditectError:
            return
        living = {name for name in listed if name.startswith(session_actor(""))}
        self._session_totals.keep_only(living)
        gate = asyncio.Semaphore(QUESTIONS_AT_ONCE)

        async def ask(name: str) -> None:
            async with gate:
                try:
                    stats = await self._gateway.call(
                        Ref[calls.Component](name), calls.Component.stats, SESSION_STATS_SECONDS
                    )
                except CoditectError:
                    return
            self._session_totals.update(name, stats)

        await asyncio.gather(*(ask(name) for name in living))

    def _describe(self, component: Component) -> Mapping[str, Any]:
        answer = self._answers.get(component.name, {})
        status = "missing"
        if component.listed:
            status = "ready" if component.silent_since is None else "silent"
            if status == "ready" and answer.get("ready") is False:
                status = "starting"
        return {
            "name": component.name,
            "kind": component.kind,
            "vital": component.vital,
            "status": status,
            "pid": answer.get("pid"),
            "uptime_seconds": answer.get("uptime_seconds"),
        }

    def _rules(self) -> SupervisorRules:
        limits = {}
        if self._services is not None:
            settings = self._services.settings
            limits = phase_limits(
                launch_timeout=settings.launch_limit, stop_grace=settings.stop_grace
            )
        return SupervisorRules(limits, hang_after=self._hang_after)

    def _expire(self, now: float) -> None:
        stale = [s for s, push in self._pushed.items() if now - push["at"] > SOURCE_TTL]
        surplus = list(self._pushed)[: max(0, len(self._pushed) - MAX_SOURCES)]
        for source in {*stale, *surplus}:
            self._pushed.pop(source, None)

    def _update(self, name: str, **changes: Any) -> None:
        if name in self._components:  # a node may have gone meanwhile
            self._components[name] = replace(self._components[name], **changes)

    def _kind(self, name: str) -> str:
        component = self._components.get(name)
        return component.kind if component else ""

    def _needed(self) -> Services:
        assert self._services is not None, "attach_services comes first"
        return self._services
