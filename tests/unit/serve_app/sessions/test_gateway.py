"""Finding whoever holds a session, with actors that are gone, silent, restarting or wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.core.calls import SessionCalls
from actors.core.errors.base import (
    Busy,
    CoditectError,
    DeadlineExceeded,
    Unavailable,
    Unreached,
)
from actors.core.errors.requests import InvalidArgument, NotFound, PreconditionFailed
from actors.core.errors.sessions import Fenced, LaunchFailed, NotBound, SessionEnded
from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import Cause, Opened, Route, SessionPhase
from serve_app.sessions import opening as opening_module
from serve_app.sessions.owners import MAX_TRIES
from tests.fakes.gateway_fakes import OWNED, ScriptedActors, SteppingClock, built
from tests.fakes.pool_fakes import container_record, session_record


async def test_a_known_owner_is_asked_without_the_store():
    gateway, actors, ledger, _ = built(OWNED, a1=[OWNED])
    for _ in range(3):
        assert await gateway.view("s1") == OWNED
        assert await gateway.call("s1", SessionCalls.view, None) == OWNED
    assert ledger.asked == 3, "it is looked at in the store first, and asked for nothing else"
    assert len(actors.calls) == 6


async def test_an_owner_that_no_longer_holds_it_is_looked_up_again():
    gateway, _, ledger, _ = built(OWNED, a1=[OWNED, NotBound("a1", "s1")], a2=["moved"])
    await gateway.view("s1")
    ledger.records["s1"] = session_record(owner_actor_id="a2")
    assert await gateway.call("s1", SessionCalls.view, None) == "moved"


async def test_a_session_that_was_just_opened_is_not_asked_for_again():
    gateway, actors, _, _ = built(None)
    made = session_record(owner_actor_id=None)
    opening = actors.open
    actors.open = lambda **request: opening(**request).model_copy(update={"record": made})
    assert await gateway.open("u1", made.name, "k") == (made, False)
    assert [method for _, method, _, _ in actors.calls] == ["open_session"]
    assert [call["cause"] for call in actors.opens()] == [Cause.LOGIN]


async def test_a_session_at_rest_is_opened_without_asking_anybody():
    at_rest = session_record(owner_actor_id=None)
    gateway, actors, _, _ = built(at_rest)
    assert await gateway.open("u1", at_rest.name, "k") == (at_rest, False)
    assert actors.calls == []


async def test_a_start_that_nobody_goes_on_with_gets_an_owner():
    starting = session_record(owner_actor_id=None, phase=SessionPhase.STARTING)
    gateway, actors, _, _ = built(starting, a2=[None])
    await gateway.open("u1", starting.name, "k")
    assert [method for _, method, _, _ in actors.calls] == ["open_session", "wake"]


async def test_a_dead_owner_is_replaced_through_the_pool_which_is_reported_so():
    gateway, actors, _, _ = built(OWNED, a2=["alive"])
    assert await gateway.call("s1", SessionCalls.view, None) == "alive"
    assert [call["dead_actor_id"] for call in actors.opens()] == ["a1"]


async def test_a_restarting_owner_is_waited_for():
    restarting = Unavailable("session-a1", "restarting")
    gateway, actors, _, clock = built(OWNED, a1=[restarting] * 4 + ["back"])
    assert await gateway.call("s1", SessionCalls.view, None) == "back"
    assert actors.opens() == []
    assert clock.time < 1.0


async def test_an_owner_that_stays_away_is_replaced():
    gateway, actors, _, clock = built(OWNED, a1=[Unavailable("session-a1", "away")], a2=["alive"])
    assert await gateway.call("s1", SessionCalls.view, 30) == "alive"
    assert [call["dead_actor_id"] for call in actors.opens()] == ["a1"]
    assert clock.time < 10.0


async def test_a_silent_owner_is_suspected_by_the_next_call():
    silent = DeadlineExceeded("session-a1.view", 10.0)
    gateway, actors, _, _ = built(OWNED, a1=[silent], a2=["alive"])
    with pytest.raises(DeadlineExceeded):
        await gateway.call("s1", SessionCalls.view, None)
    assert actors.opens() == []
    assert await gateway.call("s1", SessionCalls.view, None) == "alive"
    assert [call["dead_actor_id"] for call in actors.opens()] == ["a1"]
    assert await gateway.call("s1", SessionCalls.view, None) == "alive"
    assert len(actors.opens()) == 1


async def test_an_owner_whose_own_wait_was_too_long_is_not_suspected():
    waited = DeadlineExceeded("a ready container", 10.0)
    gateway, actors, _, _ = built(OWNED, a1=[waited, "ready"])
    with pytest.raises(DeadlineExceeded):
        await gateway.call("s1", SessionCalls.view, None)
    assert await gateway.call("s1", SessionCalls.view, None) == "ready"
    assert actors.opens() == []


async def test_a_call_to_the_pool_that_was_lost_is_made_again_with_its_key():
    gateway, actors, _, _ = built(None, a2=[session_record(owner_actor_id="a2")])
    lost = [Unavailable("pool-node-1", "lost")] * 2
    opened = actors.open

    def unreliable(**kwargs: Any) -> Opened:
        if lost:
            raise lost.pop()
        return opened(**kwargs)

    actors.open = unreliable
    await gateway.open("u1", "default", "k")
    assert {call["key"] for call in actors.opens()} == {"u1:default:k"}
    assert len(actors.opens()) == 3


async def test_a_pool_that_stays_away_is_reported():
    gateway, actors, _, clock = built(None)
    actors.open = lambda **_: (_ for _ in ()).throw(Unavailable("pool-node-1", "away"))
    with pytest.raises(Unavailable):
        await gateway.open("u1", "default", "k")
    assert 10 <= clock.time < 12


async def test_a_session_is_opened_on_the_node_that_has_its_container():
    passive = session_record(owner_actor_id=None, workspace_node_id="node-2")
    gateway, actors, _, _ = built(passive, a2=[passive])
    await gateway.call("s1", SessionCalls.view, 90)
    assert actors.calls[0][0] == "pool-node-2"


async def test_a_dead_owner_is_replaced_on_its_own_node():
    owned = OWNED.model_copy(update={"owner_node_id": "node-2"})
    gateway, actors, _, _ = built(owned, a2=["alive"])
    assert await gateway.call("s1", SessionCalls.view, None) == "alive"
    assert [name for name, method, _, _ in actors.calls if method == "open_session"] == [
        "pool-node-2"
    ]


async def test_a_node_that_is_busy_but_lives_is_waited_for():
    passive = session_record(owner_actor_id=None, workspace_node_id="node-2")
    gateway, actors, _, clock = built(passive, a2=[passive])
    actors.script["pool-node-2"] = [{"ready": True}]
    answers = with_slow_opens(actors, clock, slow=3)
    await gateway.call("s1", SessionCalls.view, 90)
    assert answers == ["pool-node-2"] * 4
    assert {call["key"] for call in actors.opens()} == {"wake/s1/-"}


async def test_a_silent_node_is_pinged_and_asked_again(monkeypatch):
    monkeypatch.setattr(opening_module, "HOME_SECONDS", 0.01)
    passive = session_record(owner_actor_id=None, workspace_node_id="node-2")
    gateway, actors, _, _ = built(passive, a2=[passive])
    actors.script["pool-node-2"] = [{"ready": True}]
    call, asked = actors.call, []

    async def silent_once(name: str, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        asked.append((name, method.__name__))
        if len(asked) == 1:
            await asyncio.Event().wait()
        return await call(name, method, *args, **kwargs)

    actors.call = silent_once
    await gateway.call("s1", SessionCalls.view, 90)
    opening = ("pool-node-2", "open_session")
    assert asked[:3] == [opening, ("pool-node-2", "ping"), opening]


async def test_a_node_that_is_busy_for_too_long_is_reported_and_its_container_stays():
    passive = session_record(owner_actor_id=None, workspace_node_id="node-2")
    gateway, actors, _, clock = built(passive)
    actors.script["pool-node-2"] = [{"ready": True}]
    answers = with_slow_opens(actors, clock, slow=100)
    with pytest.raises(DeadlineExceeded):
        await gateway.call("s1", SessionCalls.view, 90)
    assert set(answers) == {"pool-node-2"}
    assert 45 <= clock.time < 60


@pytest.mark.parametrize(
    "silence", [DeadlineExceeded("pool-node-2.ping", 3.0), Unavailable("pool-node-2", "away")]
)
async def test_a_node_whose_pool_answers_no_ping_either_is_given_up(silence):
    passive = session_record(owner_actor_id=None, workspace_node_id="node-2")
    gateway, actors, _, clock = built(passive, a2=[passive])
    actors.script["pool-node-2"] = [silence]
    answers = with_slow_opens(actors, clock, slow=1)
    await gateway.call("s1", SessionCalls.view, 90)
    assert answers == ["pool-node-2", "pool-node-1"]


def with_slow_opens(actors: ScriptedActors, clock: SteppingClock, slow: int) -> list[str]:
    """Have that many opens take longer than is waited; return the pools that are asked, as they are."""
    asked: list[str] = []
    opened = actors.open

    def slowly(**kwargs: Any) -> Opened:
        asked.append(actors.calls[-1][0])
        if len(asked) > slow:
            return opened(**kwargs)
        clock.time += 10.0
        raise DeadlineExceeded(f"{asked[-1]}.open_session", 10.0)

    actors.open = slowly
    return asked


async def test_a_session_whose_node_does_not_answer_goes_on_here():
    owned = OWNED.model_copy(update={"owner_node_id": "node-2"})
    gateway, actors, _, clock = built(owned, a2=["alive"])
    actors.away = {"pool-node-2"}
    assert await gateway.call("s1", SessionCalls.view, 45) == "alive"
    assert actors.calls[-2][0] == "pool-node-1"
    assert clock.time < 12


async def test_a_route_to_another_node_is_asked_for_each_time():
    there = route(1).model_copy(update={"node_id": "node-2"})
    starting = OWNED.model_copy(update={"phase": SessionPhase.STARTING})
    gateway, _, _, _ = built(starting, a1=[there, route(2)])

    async def work(found: Route) -> str:
        return gateway.archive_actor(found)

    assert await gateway.on_container("s1", work) == "archive-node-2"
    assert await gateway.on_container("s1", work) == "archive-node-1"


async def test_tries_and_time_are_bounded():
    gateway, actors, _, clock = built(OWNED, a1=[NotBound("a1", "s1")])
    with pytest.raises(DeadlineExceeded):
        await gateway.call("s1", SessionCalls.view, 5)
    assert clock.time <= 5.1
    assert len(actors.calls) <= MAX_TRIES


@pytest.mark.parametrize(
    "error", [Unavailable("store-node-1", "away"), PreconditionFailed("w", "e", "a"), Busy("l", 1)]
)
async def test_other_errors_are_the_callers(error: CoditectError):
    gateway, actors, _, _ = built(OWNED, a1=[error])
    with pytest.raises(type(error)):
        await gateway.call("s1", SessionCalls.view, None)
    assert len(actors.calls) == 1


async def test_a_passive_session_is_seen_without_being_woken():
    passive = session_record(owner_actor_id=None)
    gateway, actors, _, _ = built(passive)
    assert await gateway.view("s1") == passive
    assert actors.calls == []
    actors.script = {"session-a2": ["awake"]}
    assert await gateway.call("s1", SessionCalls.view, None) == "awake"


async def test_unknown_sessions_and_those_of_others_are_not_found():
    gateway, _, _, _ = built(OWNED)
    for session_id, user_id in (("s-none", "u1"), ("s1", "u2")):
        with pytest.raises(NotFound):
            await gateway.require(session_id, user_id)
    await gateway.require("s1", "u1")
    await gateway.require("s1", "u2", admin=True)


async def test_opening_a_running_session_asks_nobody():
    gateway, actors, _, _ = built(OWNED)
    assert await gateway.open("u1", OWNED.name, "k") == (OWNED, False)
    assert actors.calls == []


async def test_opening_a_resting_session_resumes_it():
    resting = OWNED.model_copy(update={"phase": SessionPhase.HIBERNATED})
    starting = OWNED.model_copy(update={"phase": SessionPhase.STARTING})
    gateway, actors, _, _ = built(resting, a1=[starting])
    record, _ = await gateway.open("u1", OWNED.name, "k")
    assert record.phase is SessionPhase.STARTING
    assert [method for _, method, _, _ in actors.calls] == ["resume"]


# ---- the container ----------------------------------------------------------------------------------


def route(epoch: int) -> Route:
    return Route(session_id="s1", container_id=f"c{epoch}", epoch=epoch, address="h:1", secret="s")


async def test_a_route_is_kept_until_it_fails():
    gateway, actors, _, _ = built(OWNED, a1=[route(1), route(2)])
    worked: list[int] = []

    async def work(found: Route) -> str:
        worked.append(found.epoch)
        if len(worked) == 2:
            raise Unavailable("the container", "gone")
        return "done"

    assert await gateway.on_container("s1", work) == "done"
    assert await gateway.on_container("s1", work) == "done"
    assert worked == [1, 1, 2]
    newer = [args[1] for _, method, args, _ in actors.calls if method == "route"]
    assert newer == [0, 1]


def serving(**changes: Any):
    """A session at rest whose container c1 is ready."""
    record = session_record(owner_actor_id=None, container_id="c1", epoch=4, **changes)
    gateway, actors, ledger, clock = built(record, a2=[route(5)])
    ledger.containers["c1"] = container_record("c1", ContainerStatus.READY, session_id="s1")
    return gateway, actors, ledger, clock


async def test_a_container_that_is_ready_is_gone_to_without_waking_anybody():
    gateway, actors, _, _ = serving()
    found = await gateway.route("s1")
    assert (found.container_id, found.epoch, found.secret) == ("c1", 4, "secret")
    assert await gateway.arrive("s1") == found
    assert actors.calls == []


async def test_a_session_at_rest_whose_container_does_not_answer_gets_an_owner():
    gateway, actors, _, _ = serving()

    async def work(found: Route) -> str:
        if found.epoch == 4:
            raise Unavailable("the container", "gone")
        return found.container_id

    assert await gateway.on_container("s1", work) == "c5"
    assert gateway.statistics()["route_misses_total"] == 1
    methods = [method for _, method, _, _ in actors.calls]
    assert methods == ["open_session", "route"]


async def test_a_container_that_is_known_to_be_lost_is_waited_for_and_nobody_is_woken():
    gateway, actors, ledger, clock = serving()
    lost = ledger.containers["c1"].model_copy(update={"lost_at": 1.0})
    ledger.containers["c1"] = lost
    sleep = clock.sleep

    async def revived_after_a_while(seconds: float) -> None:
        await sleep(seconds)
        if clock.time > 5:
            ledger.records["s1"] = ledger.records["s1"].model_copy(
                update={"container_id": "c2", "epoch": 6}
            )
            ledger.containers["c2"] = container_record("c2", ContainerStatus.READY)

    clock.sleep = revived_after_a_while
    assert (await gateway.route("s1", newer_than_epoch=4)).container_id == "c2"
    assert actors.calls == []


@pytest.mark.parametrize(("lost_at", "waits"), [(None, 2.0), (0.0, 40.0)])
async def test_a_revival_that_does_not_come_is_not_waited_for_for_ever(lost_at, waits):
    gateway, actors, ledger, clock = serving()
    ledger.containers["c1"] = ledger.containers["c1"].model_copy(update={"lost_at": lost_at})
    assert (await gateway.route("s1", newer_than_epoch=4)).epoch == 5
    assert waits <= clock.time < waits + 1.0
    assert len(actors.opens()) == 1


async def test_who_was_refused_by_a_container_finds_its_newer_epoch_without_waking_anybody():
    gateway, actors, _, _ = serving()
    assert (await gateway.route("s1", newer_than_epoch=3)).epoch == 4
    assert actors.calls == []


async def test_who_found_a_container_wanting_asks_its_owner_if_there_is_one():
    gateway, _, ledger, _ = serving()
    ledger.records["s1"] = ledger.records["s1"].model_copy(update={"owner_actor_id": "a2"})
    assert (await gateway.route("s1", newer_than_epoch=3)).epoch == 5
    assert (await gateway.route("s1")).epoch == 4


@pytest.mark.parametrize(
    ("phase", "wakes"),
    [
        (SessionPhase.HIBERNATED, True),
        (SessionPhase.FAILED, True),
        (SessionPhase.HIBERNATING, True),
        (SessionPhase.STARTING, False),
        (SessionPhase.RECOVERING, False),
    ],
)
async def test_a_client_that_comes_wakes_a_session_that_sleeps(phase, wakes):
    gateway, actors, _, _ = built(OWNED.model_copy(update={"phase": phase}), a1=[None])
    assert await gateway.arrive("s1") is None
    assert [method for _, method, _, _ in actors.calls] == ["wake"] * wakes


@pytest.mark.parametrize(
    ("phase", "error"),
    [(SessionPhase.HIBERNATED, PreconditionFailed), (SessionPhase.FAILED, LaunchFailed)],
)
async def test_nobody_is_woken_to_say_that_a_session_sleeps(phase, error):
    gateway, actors, _, _ = built(session_record(owner_actor_id=None, phase=phase))
    with pytest.raises(error):
        await gateway.route("s1")
    assert actors.calls == []


async def test_a_container_that_is_known_to_be_gone_is_not_gone_to_under_a_newer_epoch():
    gateway, actors, _, _ = serving()
    actors.script["session-a2"] = [route(7)]
    assert (await gateway.route("s1", newer_than_epoch=2, lost="c1")).epoch == 7
    assert [args[1] for _, method, args, _ in actors.calls if method == "route"] == [4]


async def test_what_an_owner_decided_before_it_let_go_is_read_and_nobody_is_woken_again():
    gateway, actors, ledger, _ = serving()
    ledger.records["s1"] = ledger.records["s1"].model_copy(update={"owner_actor_id": "a2"})
    call = actors.call

    async def let_go(name: str, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        rested = {"owner_actor_id": None, "epoch": 6}
        ledger.records["s1"] = ledger.records["s1"].model_copy(update=rested)
        actors.script[str(name)] = [NotBound("a2", "s1")]
        return await call(name, method, *args, **kwargs)

    actors.call = let_go
    assert (await gateway.route("s1", newer_than_epoch=4)).epoch == 6
    assert actors.opens() == []


async def test_one_session_is_meant_when_it_is_opened_again():
    gateway, actors, _, _ = built(session_record(owner_actor_id=None))
    actors.open = lambda **_: (_ for _ in ()).throw(NotFound("session", "s1"))
    with pytest.raises(NotFound):
        await gateway.call("s1", SessionCalls.end, None, "k")
    assert [call["session_id"] for call in actors.opens()] == ["s1"]


async def test_a_session_that_ends_takes_no_clients():
    gateway, _, ledger, _ = built(OWNED.model_copy(update={"phase": SessionPhase.ENDING}))
    with pytest.raises(SessionEnded):
        await gateway.arrive("s1")
    ledger.records.clear()
    with pytest.raises(NotFound):
        await gateway.arrive("s1")


async def test_work_is_tried_twice_and_no_more():
    gateway, _, _, _ = built(OWNED, a1=[route(1), route(2)])
    worked: list[int] = []

    async def work(found: Route) -> None:
        worked.append(found.epoch)
        raise Fenced("s1", found.epoch, found.epoch + 1)

    with pytest.raises(Fenced):
        await gateway.on_container("s1", work)
    assert worked == [1, 2]


@pytest.mark.parametrize(
    ("error", "runs"),
    [(Unreached("the container", "about to stop"), 2), (Unavailable("the container", "gone"), 1)],
)
async def test_work_that_may_not_run_twice_is_repeated_only_if_nothing_was_done(error, runs):
    gateway, _, _, _ = built(OWNED, a1=[route(1), route(2)])
    worked: list[int] = []

    async def work(found: Route) -> None:
        worked.append(found.epoch)
        raise error

    with pytest.raises(Unavailable):
        await gateway.once_on_container("s1", work)
    assert worked == list(range(1, runs + 1))


async def test_work_wakes_a_hibernated_session():
    asleep = PreconditionFailed("session", "ready", "hibernated")
    gateway, actors, _, _ = built(OWNED, a1=[asleep, OWNED, route(3)])

    async def work(found: Route) -> int:
        return found.epoch

    assert await gateway.on_container("s1", work) == 3
    assert [method for _, method, _, _ in actors.calls] == ["route", "resume", "route"]


async def test_the_state_of_a_session_at_rest_is_patched_without_waking_anybody():
    gateway, actors, ledger, _ = serving()
    changed: dict[str, Any] = {}

    async def change_at_rest(session_id: str, change: Any, *, key: str) -> Any:
        record = ledger.records[session_id]
        if record.owner_actor_id is None:
            changed[key] = change(record)
            return changed[key]
        return None

    ledger.change_at_rest = change_at_rest
    record = await gateway.patch_state("s1", {"a": 1}, "k")
    assert (record.workspace_state, list(changed)) == ({"a": 1}, ["patch:k"])
    assert actors.calls == []
    ledger.records["s1"] = ledger.records["s1"].model_copy(update={"owner_actor_id": "a2"})
    assert await gateway.patch_state("s1", {"a": 1}, "k") == route(5)
    assert [(m, args) for _, m, args, _ in actors.calls] == [
        ("patch_workspace_state", ("s1", {"a": 1}, "k"))
    ]
    with pytest.raises(InvalidArgument):
        await gateway.patch_state("s1", ["a"], "k")
