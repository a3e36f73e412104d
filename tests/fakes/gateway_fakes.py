"""Actors whose answers are scripted, and a gateway to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.core.errors.base import (
    ActorGone,
    Unavailable,
)
from actors.core.records.containers import ContainerRecord
from actors.core.records.environment import Environment
from actors.core.records.sessions import Cause, Opened, Route, SessionRecord
from serve_app.sessions.environment import Personal
from serve_app.sessions.gateway import SessionGateway
from tests.fakes.pool_fakes import NoEnvironments, session_record


class SteppingClock:
    """Time passes by sleeping only."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += max(seconds, 0.001)


class Ledger:
    def __init__(self, *records: SessionRecord) -> None:
        self.records = {record.session_id: record for record in records}
        self.containers: dict[str, ContainerRecord] = {}
        self.asked = 0

    async def session(self, session_id: str) -> SessionRecord | None:
        self.asked += 1
        return self.records.get(session_id)

    async def serving(self, session_id: str) -> tuple[SessionRecord, ContainerRecord | None] | None:
        record = await self.session(session_id)
        return None if record is None else (record, self.containers.get(record.container_id or ""))

    async def session_of_user(self, user_id: str, name: str) -> SessionRecord | None:
        return next(
            (r for r in self.records.values() if (r.user_id, r.name) == (user_id, name)), None
        )


Answer = Callable[[], Any]


class ScriptedActors:
    """Actors whose answers are given by name; the pool makes ``a2`` the owner."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.script: dict[str, list[Any]] = {}
        self.away: set[str] = set()
        self.calls: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = []

    async def call(
        self, name: str, called: Any, timeout_seconds: float, /, *args: Any, **kwargs: Any
    ) -> Any:
        method = called.__name__
        self.calls.append((name, method, args, kwargs))
        if name in self.away:
            raise Unavailable(name, "away")
        if method == "open_session":
            return self.open(**kwargs)
        answers = self.script.get(name)
        answer = (
            (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else ActorGone(name)
        )
        if isinstance(answer, Exception):
            raise answer
        return answer

    def open(
        self,
        *,
        user_id: str,
        name: str,
        key: str,
        session_id: str | None,
        dead_actor_id: str | None,
        cause: Cause,
    ) -> Opened:
        record = next(iter(self.ledger.records.values()), None) or session_record()
        owned = record.owner_actor_id not in {None, dead_actor_id}
        actor_id = str(record.owner_actor_id) if owned else "a2"
        self.ledger.records[record.session_id] = record.model_copy(
            update={"owner_actor_id": actor_id}
        )
        return Opened(
            session_id=record.session_id,
            actor_id=actor_id,
            created=False,
            warm_actor=True,
            warm_container=False,
        )

    def opens(self) -> list[dict[str, Any]]:
        return [kwargs for _, method, _, kwargs in self.calls if method == "open_session"]


class NoTaker:
    """A container that is given nothing."""

    async def put_environment(self, route: Route, environment: Environment) -> None:
        raise AssertionError("there is nothing to be given")


def built(record: SessionRecord | None, **script: list[Any]):
    ledger = Ledger(*([record] if record else []))
    actors = ScriptedActors(ledger)
    actors.script = {f"session-{actor}": answers for actor, answers in script.items()}
    clock = SteppingClock()
    gateway = SessionGateway(
        ledger,
        actors,
        clock,
        node_id="node-1",
        new_id=lambda p: f"{p}-new",
        used=lambda _: None,
        personal=Personal(NoEnvironments(), NoTaker()),
    )
    return gateway, actors, ledger, clock


OWNED = session_record(owner_actor_id="a1")
