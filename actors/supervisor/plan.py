"""Plans what the whole server needs, from who lives and what the store says. No Ray, no I/O, no clock.

Ray restarts a detached actor whose process died. What Ray does not do is done here:

* a component whose name is gone (killed for good, its node was lost and came back, its creation
  failed) is made again, with exponential waits between attempts;
* one that lives by name and answers no ping for ``hang_after`` is ended, so that Ray restarts it;
* a session whose owner's name is gone is let rest if it is settled: it costs no process until
  somebody wants it, and the next caller has it activated. In a passing phase it is opened through the
  pool at once, since a new owner has something to finish. After the loss of a whole machine's
  actors this keeps a thousand idle sessions from asking for a thousand processes;
* a session that stays in a passing phase longer than the phase may last is *stuck*. If nobody owns
  it, it is opened so that somebody does; if its owner lives, the owner's own time limits are in
  charge and operators see the session on their page.

An owner counts as gone only after two looks in a row: between a claim and the creation of a name
nothing can be missing for longer, and a takeover costs a new epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from actors.core.backoff import doubled
from actors.core.names import session_actor
from actors.core.records.sessions import SessionPhase, SessionRecord


@dataclass(frozen=True, slots=True)
class SupervisorRules:
    """The numbers of the supervision; seconds unless named. ``phase_limits``: see ``phase_limits``."""

    phase_limits: Mapping[SessionPhase, float]
    hang_after: float = 30.0
    remake_base: float = 1.0
    remake_cap: float = 30.0
    max_reopens: int = 16
    reopen_interval: float = 10.0


def phase_limits(*, launch_timeout: float, stop_grace: float) -> dict[SessionPhase, float]:
    """Return how long a session may be in each passing phase; the others may last for ever.

    Twice what the session's own machine allows, so that its limits come first.
    """
    return {
        SessionPhase.STARTING: 2 * launch_timeout + 10,
        SessionPhase.RECOVERING: 2 * launch_timeout + 10,
        SessionPhase.HIBERNATING: 2 * stop_grace + 30,
        SessionPhase.ENDING: 2 * stop_grace + 30,
    }


@dataclass(frozen=True, slots=True)
class Component:
    """One actor that must live, as it is seen now.

    ``listed``: its name exists. ``silent_since``: when pings began to fail, None while they do not.
    ``attempts`` and ``not_before`` are of making it again. Times are monotonic. ``node_id``: of a node
    that joined; empty for the head's.
    """

    name: str
    kind: str
    vital: bool
    node_id: str = ""
    listed: bool = False
    silent_since: float | None = None
    attempts: int = 0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Make:
    """Make a component that is not there."""

    name: str


@dataclass(frozen=True, slots=True)
class Restart:
    """End a component that does not answer; Ray starts it again."""

    name: str


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open a session that has no live owner. ``key`` is the same for the same loss."""

    session_id: str
    user_id: str
    name: str
    node_id: str | None
    dead_actor_id: str | None
    key: str


@dataclass(frozen=True, slots=True)
class Release:
    """Let a settled session rest whose owner is gone; refused if its record changed meanwhile."""

    session: SessionRecord


SupervisorAction = Make | Restart | Reopen | Release


@dataclass(frozen=True, slots=True)
class World:
    """Everything looked at. ``now`` is the Unix time, as records have it; ``monotonic`` the other.

    ``listed`` are the names of all actors, asked for *before* sessions were read: a name made later
    can only be missing, and that takes two looks to count. ``missing_before`` and ``reopened`` are
    what the last look returned.
    """

    now: float
    monotonic: float
    components: Sequence[Component]
    listed: Collection[str]
    sessions: Sequence[SessionRecord]
    missing_before: Collection[str] = ()
    reopened: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome of a look: what to do, what to remember for the next one, and what operators see.

    ``active`` sessions have an owner.
    """

    actions: list[SupervisorAction]
    missing: frozenset[str]
    reopened: dict[str, float]
    stuck: list[str]
    phases: dict[str, int]
    active: int


def judge(world: World, rules: SupervisorRules) -> Judgement:
    """Compare the world with what must be."""
    found = Counter(session.phase for session in world.sessions)
    phases = {p.value: found[p] for p in SessionPhase if p is not SessionPhase.ENDED or found[p]}
    # Of very many at rest there is nothing more to ask.
    concerned = [
        session
        for session in world.sessions
        if session.owner_actor_id is not None or session.phase in rules.phase_limits
    ]
    world = replace(world, sessions=concerned)
    missing = frozenset(
        session.owner_actor_id
        for session in world.sessions
        if session.owner_actor_id is not None
        and session_actor(session.owner_actor_id) not in world.listed
    )
    stuck = [session.session_id for session in world.sessions if _is_stuck(session, world, rules)]
    due = _session_actions(world, rules, missing, frozenset(stuck))
    asked = {a.session_id: world.monotonic for a in due if isinstance(a, Reopen)}
    kept = {
        session_id: at
        for session_id, at in world.reopened.items()
        if world.monotonic - at < rules.reopen_interval
    }
    return Judgement(
        actions=[*component_actions(world, rules), *due],
        missing=missing,
        reopened=kept | asked,
        stuck=stuck,
        phases=phases,
        active=sum(session.owner_actor_id is not None for session in world.sessions),
    )


def component_actions(world: World, rules: SupervisorRules) -> list[SupervisorAction]:
    """Return what the components need, in their order.

    All are made at once, since each waits by itself for what it needs and most of a start is imports.
    Only after a vital one could not be made do the later ones of its node wait for it.
    """
    actions: list[SupervisorAction] = []
    waiting: set[str] = set()
    for component in world.components:
        if component.node_id in waiting:
            continue
        if not component.listed:
            if world.monotonic >= component.not_before:
                actions.append(Make(component.name))
            if component.vital and component.attempts > 0:
                waiting.add(component.node_id)
        elif (
            component.silent_since is not None
            and world.monotonic - component.silent_since >= rules.hang_after
        ):
            actions.append(Restart(component.name))
    return actions


def remake_pause(attempts: int, rules: SupervisorRules) -> float:
    """Return the seconds to wait after the ``attempts``-th failed making in a row."""
    return doubled(rules.remake_base, rules.remake_cap, max(0, attempts - 1))


def _is_stuck(session: SessionRecord, world: World, rules: SupervisorRules) -> bool:
    limit = rules.phase_limits.get(session.phase)
    return limit is not None and world.now - session.updated_at > limit


def _session_actions(
    world: World, rules: SupervisorRules, missing: frozenset[str], stuck: frozenset[str]
) -> list[SupervisorAction]:
    actions: list[SupervisorAction] = []
    reopens = 0
    for session in world.sessions:
        owner = session.owner_actor_id
        gone = owner is not None and owner in missing and owner in world.missing_before
        if gone and session.phase not in rules.phase_limits:
            actions.append(Release(session))
        elif gone or (owner is None and session.session_id in stuck):
            asked_at = world.reopened.get(session.session_id)
            recently = asked_at is not None and world.monotonic - asked_at < rules.reopen_interval
            if not recently and reopens < rules.max_reopens:
                reopens += 1
                actions.append(_reopen(session))
    return actions


def _reopen(session: SessionRecord) -> Reopen:
    owner = session.owner_actor_id
    return Reopen(
        session_id=session.session_id,
        user_id=session.user_id,
        name=session.name,
        node_id=session.owner_node_id,
        dead_actor_id=owner,
        key=f"supervisor/{session.session_id}/{session.epoch}/{owner or 'nobody'}",
    )
