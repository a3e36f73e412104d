"""A session actor without Ray: binding, bytes' way, saves, sleep, death and its successor."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager

import pytest

from actors.core.errors.base import DeadlineExceeded, Unavailable
from actors.core.errors.requests import InvalidArgument, PayloadTooLarge, PreconditionFailed
from actors.core.errors.sessions import LaunchFailed, NotBound, SessionEnded
from actors.core.records.containers import ContainerStatus
from actors.core.records.environment import Environment
from actors.core.records.sessions import SessionPhase
from actors.session import executor as session_work
from actors.session.state import Work
from tests.fakes.pool_fakes import settle
from tests.fakes.runtimes import FailingRuntime, MemoryRuntime, NeverRuntime
from tests.fakes.session_fakes import MemoryCodi, Workbench, eventually

P = SessionPhase


def use(bench: Workbench, runtime: MemoryRuntime) -> None:
    """Put another runtime under a workbench that nothing was started on."""
    bench.runtime = runtime
    bench.codi = MemoryCodi(runtime)


async def warm(bench: Workbench, actor_id: str = "a1"):
    """Start an actor and let it find that the store has nothing for it."""
    runner = bench.runner(actor_id)
    await eventually(lambda: runner.state()["started"])
    return runner


async def committed(bench: Workbench, **fields: object) -> None:
    """Wait until the store has it."""

    async def says_so() -> bool:
        record = await bench.ledger.session("s1")
        return record is not None and all(getattr(record, k) == v for k, v in fields.items())

    await eventually(says_so)


async def started(bench: Workbench, container_id: str, terminals: dict[str, str | None]) -> None:
    """Wait until just these terminals run in a container, each in its directory."""
    await eventually(lambda: bench.codi.terminals.get(container_id, {}) == terminals)


# ---- binding ------------------------------------------------------------------------------------


async def test_a_claimed_warm_container_serves_at_once_and_costs_no_write(bench):
    handle = await bench.warm_container()
    runner = await warm(bench)
    record = await bench.claim(container_id="warm")
    await runner.bind(record, await bench.ledger.container("warm"))
    route = await runner.route("s1")
    assert (route.container_id, route.epoch, route.address) == (
        "warm",
        record.epoch,
        handle.address,
    )
    assert bench.codi.epochs["warm"] == record.epoch
    view = await runner.view("s1")
    assert (view.phase, view.container_status) == (P.READY, ContainerStatus.READY)
    assert await bench.ledger.session("s1") == record
    assert bench.runtime.launched == []


async def test_without_a_warm_container_one_is_launched_on_the_sessions_workspace(bench):
    runner = await warm(bench)
    record = await bench.claim()
    await runner.bind(record, None)
    route = await runner.route("s1")
    assert route.epoch == record.epoch + 1
    (spec,) = bench.runtime.launched
    assert (spec.workspace_id, spec.epoch, spec.container_id) == (
        "w1",
        route.epoch,
        route.container_id,
    )
    container = await bench.ledger.container(route.container_id)
    assert container is not None
    assert (container.status, container.session_id) == (ContainerStatus.READY, "s1")
    stored = await bench.ledger.session("s1")
    assert stored is not None
    assert (stored.phase, stored.container_id) == (P.READY, route.container_id)


class TurnRuntime(MemoryRuntime):
    """Notes in which order a launch prepares the workspace, takes a turn and starts."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    @asynccontextmanager
    async def turn(self, limit_seconds: float):
        self.steps.append("turn")
        yield

    async def prepare(self, workspace_id: str) -> None:
        self.steps.append(f"prepare {workspace_id}")

    async def launch(self, spec):
        self.steps.append("launch")
        return await super().launch(spec)


async def test_a_workspace_is_prepared_before_its_launch_takes_a_turn(bench):
    use(bench, runtime := TurnRuntime())
    runner = await warm(bench)
    await runner.bind(await bench.claim(), None)
    await runner.route("s1")
    assert runtime.steps == ["prepare w1", "turn", "launch"]


async def test_binding_again_changes_nothing_and_binding_another_session_is_refused(bench):
    runner = await bench.ready()
    record = await bench.ledger.session("s1")
    assert record is not None
    await runner.bind(record, None)
    assert len(bench.runtime.launched) == 1
    with pytest.raises(PreconditionFailed):
        await runner.bind(record.model_copy(update={"session_id": "s2"}), None)
    with pytest.raises(InvalidArgument):
        await runner.bind(record.model_copy(update={"owner_actor_id": "a9"}), None)


async def test_an_actor_that_was_never_bound_finds_its_session_in_the_store(bench):
    runner = await warm(bench)
    with pytest.raises(NotBound):
        await runner.view("s1")
    await bench.claim()
    assert (await runner.route("s1")).session_id == "s1"


async def test_an_actor_asked_about_a_session_that_is_not_its_own_reports_it(bench):
    runner = await bench.ready()
    with pytest.raises(NotBound):
        await runner.view("s2")


# ---- death and succession -----------------------------------------------------------------------


async def test_a_killed_actors_successor_adopts_the_container_under_a_new_epoch(bench):
    first = await bench.ready()
    before = await first.route("s1")
    await bench.kill(first)
    second = bench.runner()
    after = await second.route("s1", newer_than_epoch=before.epoch)
    assert after.container_id == before.container_id
    assert after.epoch > before.epoch
    assert bench.codi.epochs[after.container_id] == after.epoch
    assert bench.codi.emails[after.container_id] is None  # the account is not in this ledger
    assert len(bench.runtime.launched) == 1


async def test_a_successor_finds_a_dead_container_and_replaces_it(bench):
    first = await bench.ready()
    before = await first.route("s1")
    await bench.kill(first)
    bench.runtime.crash(before.container_id)
    second = bench.runner()
    after = await second.route("s1")
    assert after.container_id != before.container_id
    assert (await second.view("s1")).restarts == 1
    await eventually(lambda: before.container_id not in bench.runtime.running)


async def moved(bench, node_id: str, actor_id: str, dead_actor_id: str):
    """Have the session taken over on another node; return its actor's runner and the node's runtime."""
    runtime = MemoryRuntime(node_id)
    use(bench, runtime)
    runner = bench.runner(actor_id, node_id=node_id)
    await runner.bind(
        await bench.claim(actor_id, node_id=node_id, dead_actor_id=dead_actor_id), None
    )
    await runner.route("s1")
    return runner, runtime


async def test_a_container_of_another_node_is_replaced_and_left_to_its_own(bench):
    first, there = await bench.ready(), bench.runtime
    before = await first.route("s1")
    assert before.node_id == "node-1"
    await bench.kill(first)
    second, here = await moved(bench, "node-2", "a2", "a1")
    after = await second.route("s1")
    assert (after.node_id, after.container_id in here.running) == ("node-2", True)
    assert (await bench.ledger.session("s1")).workspace_node_id == "node-2"
    assert bench.archive.made_whole == ["s1"], "before anybody was sent there"

    # Without a record it is an orphan to its own node, which alone can stop it for certain.
    async def forgotten() -> bool:
        return await bench.ledger.container(before.container_id) is None

    await eventually(forgotten)
    assert before.container_id in there.running
    assert (there.stopped, here.stopped) == ([], [])
    # Whoever has its route still is refused as soon as it is reached.
    here.running[before.container_id] = there.running[before.container_id]
    await passes(bench, 2)
    assert bench.codi.epochs[before.container_id] > before.epoch


async def test_what_a_node_has_of_a_workspace_from_before_it_was_elsewhere_is_not_used(bench):
    first = await bench.ready()
    assert bench.runtime.deleted_workspaces == []
    await bench.kill(first)
    second, elsewhere = await moved(bench, "node-2", "a2", "a1")
    assert elsewhere.deleted_workspaces == ["w1"]
    bench.runtime.crash((await second.route("s1")).container_id)
    await eventually(lambda: len(elsewhere.launched) == 2)
    assert elsewhere.deleted_workspaces == ["w1"], (
        "the next container has the directory of the last"
    )
    await bench.kill(second)
    _, back = await moved(bench, "node-1", "a3", "a2")
    assert back.deleted_workspaces == ["w1"]


async def test_a_workspace_that_takes_long_to_restore_holds_up_its_session_for_a_while_only(
    bench, monkeypatch
):
    monkeypatch.setattr(session_work, "RESTORE_SECONDS", 0.05)
    first = await bench.ready()
    await bench.kill(first)

    async def never(session_id: str) -> None:
        await asyncio.Event().wait()

    bench.archive.whole = never
    use(bench, MemoryRuntime("node-2"))
    runner = bench.runner("a2", node_id="node-2")
    await runner.bind(await bench.claim("a2", node_id="node-2", dead_actor_id="a1"), None)
    assert (await runner.route("s1")).node_id == "node-2"


async def test_a_session_that_ends_away_from_its_workspace_leaves_it_noted_there(bench):
    first = await bench.ready()
    await bench.kill(first)
    use(bench, NeverRuntime("node-2"))
    second = bench.runner("a2", node_id="node-2")
    await second.bind(await bench.claim("a2", node_id="node-2", dead_actor_id="a1"), None)
    await second.end("s1")
    assert list(await bench.ledger.left_workspaces("node-1")) == ["w1"]


async def test_a_killed_container_is_replaced_with_its_terminals_and_its_state(bench):
    runner = await bench.ready()
    before = await runner.route("s1")
    await runner.patch_workspace_state("s1", {"open": ["a.py"]}, key="p1")
    await bench.opens_terminal(before.container_id, "main", "/workspace")
    await bench.journal.note("s1", "main", before.container_id, now=1.0, cwd="/workspace/x")
    bench.runtime.crash(before.container_id)
    after = await runner.route("s1", newer_than_epoch=before.epoch)
    assert after.container_id != before.container_id
    await started(bench, after.container_id, {"main": "/workspace/x"})
    view = await runner.view("s1")
    assert view.workspace_state["open"] == ["a.py"]
    await committed(bench, phase=P.READY, container_id=after.container_id, restarts=1)

    async def forgotten() -> bool:
        return await bench.ledger.container(before.container_id) is None

    await eventually(forgotten)


async def test_a_container_that_is_reported_deaf_is_replaced_and_stopped(bench):
    runner = await bench.ready()
    before = await runner.route("s1")
    await runner.container_lost("s1", before.container_id, "no answer")
    after = await runner.route("s1", newer_than_epoch=before.epoch)
    await runner.container_lost("s1", before.container_id, "no answer")
    assert after.container_id != before.container_id
    await eventually(lambda: before.container_id in bench.runtime.stopped)
    assert len(bench.runtime.launched) == 2


async def test_terminals_that_exited_or_were_deleted_are_not_started_again(bench):
    runner = await bench.ready()
    before = await runner.route("s1")
    for number, name in enumerate(("deleted", "exited", "lives")):
        await bench.opens_terminal(before.container_id, name, number=number)
    await bench.journal.note("s1", "exited", before.container_id, now=1.0, exit_code=0)
    await bench.journal.delete_terminal("s1", "deleted", now=1.0)
    bench.runtime.crash(before.container_id)
    after = await runner.route("s1", newer_than_epoch=before.epoch)
    await started(bench, after.container_id, {"lives": None})


async def test_a_successor_starts_the_terminals_that_its_predecessor_did_not(bench):
    first = await bench.ready()
    container_id = (await first.route("s1")).container_id
    await bench.opens_terminal(container_id, "main", "/workspace/here")
    await bench.kill(first)
    bench.codi.terminals.clear()
    second = bench.runner()
    assert (await second.route("s1")).container_id == container_id
    await started(bench, container_id, {"main": "/workspace/here"})


async def test_terminals_that_cannot_be_read_hold_up_no_recovery(fragile):
    runner = await fragile.ready()
    before = await runner.route("s1")
    await fragile.opens_terminal(before.container_id, "main")

    async def away(session_id: str):
        raise Unavailable("store", "away")

    fragile.journal.terminals = away
    fragile.runtime.crash(before.container_id)
    after = await runner.route("s1", newer_than_epoch=before.epoch)
    assert after.container_id != before.container_id
    await committed(fragile, phase=P.READY, container_id=after.container_id)


# ---- failures -----------------------------------------------------------------------------------


async def test_launch_failures_end_in_failed_and_an_attach_leaves_it(bench):
    use(bench, FailingRuntime(failures=5))
    runner = bench.runner()
    await runner.bind(await bench.claim(), None)

    held = await runner.held("s1")

    def failed() -> bool:
        if held.machine.work is Work.BACKOFF:  # a launch takes as long as the disk does
            bench.clock.advance(1.0)
        return held.machine.phase is P.FAILED

    await eventually(failed)
    with pytest.raises(LaunchFailed, match="this runtime fails"):
        await runner.route("s1")
    await committed(bench, phase=P.FAILED, failure="launch_failed: " + (await _failure(runner)))

    async def removed() -> bool:
        return await bench.ledger.containers() == []

    await eventually(removed)
    await runner.wake("s1")
    assert (await runner.route("s1")).session_id == "s1"


async def _failure(runner) -> str:
    return (await runner.view("s1")).failure.removeprefix("launch_failed: ")


async def test_a_launch_that_hangs_is_given_up_at_its_limit(bench):
    use(bench, NeverRuntime())
    runner = bench.runner(launch_timeout=0.05)
    await runner.bind(await bench.claim(), None)
    with pytest.raises(DeadlineExceeded):
        await runner.route("s1", timeout_seconds=0.3)
    await eventually(lambda: bench.runtime.launching == 0)


async def test_hibernating_during_a_launch_ends_the_launch(bench):
    use(bench, NeverRuntime())
    runner = bench.runner(launch_timeout=600.0)
    await runner.bind(await bench.claim(), None)
    await eventually(lambda: bench.runtime.launching == 1)
    assert (await runner.hibernate("s1")).phase is P.HIBERNATED
    await eventually(lambda: bench.runtime.launching == 0)

    async def nothing_left() -> bool:
        return await bench.ledger.containers() == []

    await eventually(nothing_left)


async def test_an_actor_that_ends_during_a_launch_leaves_no_launch_behind(bench):
    use(bench, NeverRuntime())
    runner = bench.runner()
    await runner.bind(await bench.claim(), None)
    await eventually(lambda: bench.runtime.launching == 1)
    await bench.kill(runner)
    assert bench.runtime.launching == 0


async def test_an_actor_that_is_fenced_off_lets_go_and_leaves_the_container_alone(fragile):
    runner = await fragile.ready()
    before = await runner.route("s1")
    fragile.ledger.take_over("s1", "a2")
    with pytest.raises(NotBound):
        await runner.patch_workspace_state("s1", {"a": 1}, key="p")
    assert runner.state()["session_id"] is None
    await eventually(lambda: fragile.pool.released == ["a1"])
    assert before.container_id in fragile.runtime.running
    assert fragile.runtime.stopped == []
    with pytest.raises(NotBound):
        await runner.view("s1")


async def test_an_actor_that_codi_refuses_lets_go_too(fragile):
    await fragile.warm_container()
    fragile.codi.epochs["warm"] = 99
    runner = await warm(fragile)
    await runner.bind(await fragile.claim(container_id="warm"), None)
    await eventually(lambda: runner.state()["session_id"] is None)
    assert fragile.runtime.stopped == []


async def test_a_process_whose_name_rules_elsewhere_ends(fragile):
    runner = await fragile.ready()
    fragile.ledger.take_over("s1", "a1")
    with pytest.raises(NotBound):
        await runner.patch_workspace_state("s1", {"a": 1}, "k")
    with pytest.raises(Exception, match="is over"):
        await asyncio.wait_for(fragile.runs[0], 2.0)


async def test_a_store_that_is_away_for_a_while_only_delays_the_record(fragile):
    runner = await fragile.ready()
    before = await runner.route("s1")
    fragile.ledger.refuse.extend([ConnectionError("away")] * 4)
    fragile.runtime.crash(before.container_id)

    async def back() -> bool:
        fragile.clock.advance(1.0)
        return (await runner.view("s1")).phase is P.READY

    await eventually(back)
    route = await runner.route("s1")
    await committed(fragile, phase=P.READY, container_id=route.container_id)


# ---- patches ------------------------------------------------------------------------------------


async def test_a_patch_whose_answer_was_lost_is_found_again_by_its_key(fragile):
    runner = await fragile.ready()
    fragile.ledger.lose.append(ConnectionError("lost"))
    with pytest.raises(Exception, match="lost"):
        await runner.patch_workspace_state("s1", {"a": 1}, "k1")
    await runner.patch_workspace_state("s1", {"a": 2}, "k2")
    again = await runner.patch_workspace_state("s1", {"a": 1}, "k1")
    assert again.workspace_state["a"] == 2


async def test_a_patch_repeated_late_does_not_undo_what_came_after_it(bench):
    runner = await bench.ready()
    await runner.patch_workspace_state("s1", {"a": 1}, key="p1")
    await runner.patch_workspace_state("s1", {"a": 2}, key="p2")
    view = await runner.patch_workspace_state("s1", {"a": 1}, key="p1")
    assert view.workspace_state["a"] == 2
    await committed(bench, workspace_state={"a": 2})


async def test_patches_at_once_are_all_kept(bench):
    runner = await bench.ready()
    await asyncio.gather(
        *(runner.patch_workspace_state("s1", {f"k{n}": n}, key=f"p{n}") for n in range(8))
    )
    view = await runner.view("s1")
    assert view.workspace_state == {f"k{n}": n for n in range(8)}


async def test_what_is_wrong_or_too_much_is_refused(bench):
    runner = await bench.ready()
    with pytest.raises(InvalidArgument):
        await runner.patch_workspace_state("s1", ["a"], key="p")
    with pytest.raises(PayloadTooLarge):
        await runner.patch_workspace_state("s1", {"a": "x" * 70_000}, key="p")
    with pytest.raises(InvalidArgument):
        await runner.wake("x" * 500)
    with pytest.raises(InvalidArgument):
        await runner.route("s1", timeout_seconds=float("nan"))
    with pytest.raises(InvalidArgument):
        await runner.view("")


# ---- hibernation and the end --------------------------------------------------------------------


async def test_hibernating_is_durable_when_it_is_answered(bench):
    runner = await bench.ready()
    route = await runner.route("s1")
    view = await runner.hibernate("s1")
    assert view.phase is P.HIBERNATED
    stored = await bench.ledger.session("s1")
    assert stored is not None
    assert (stored.phase, stored.container_id) == (P.HIBERNATED, None)
    assert bench.runtime.stopped == [route.container_id]
    assert await bench.ledger.containers() == []
    with pytest.raises(PreconditionFailed):
        await runner.route("s1")


async def test_a_new_client_or_a_resume_wakes_a_hibernated_session(bench):
    runner = await bench.ready()
    await runner.hibernate("s1")
    await runner.wake("s1")
    first = await runner.route("s1")
    await runner.hibernate("s1")
    await runner.resume("s1")
    second = await runner.route("s1")
    assert second.epoch > first.epoch
    assert {spec.workspace_id for spec in bench.runtime.launched} == {"w1"}


async def test_whoever_waits_for_a_route_is_reported_when_the_session_hibernates(bench):
    runner = await bench.ready()
    epoch = (await runner.route("s1")).epoch
    waiting = asyncio.create_task(runner.route("s1", newer_than_epoch=epoch))
    await asyncio.sleep(0)
    await runner.hibernate("s1")
    with pytest.raises(PreconditionFailed):
        await waiting


async def test_ending_removes_container_workspace_and_record(bench):
    runner = await bench.ready()
    route = await runner.route("s1")
    await runner.end("s1")
    assert bench.runtime.stopped == [route.container_id]
    assert bench.runtime.deleted_workspaces == ["w1"]
    assert await bench.ledger.session("s1") is None
    assert await bench.ledger.containers() == []
    await eventually(lambda: bench.pool.released == ["a1"])
    with pytest.raises(NotBound):
        await runner.end("s1")


async def test_a_session_whose_end_was_begun_is_ended_by_the_successor(bench):
    runner = await bench.ready()
    record = await bench.ledger.session("s1")
    assert record is not None
    await bench.kill(runner)
    await bench.ledger.save_session(record.model_copy(update={"phase": P.ENDING}))
    bench.runner()

    async def gone() -> bool:
        return await bench.ledger.session("s1") is None

    await eventually(gone)
    assert bench.runtime.deleted_workspaces == ["w1"]


async def test_an_end_that_cannot_remove_the_workspace_leaves_it_noted(bench):
    use(bench, MemoryRuntime())
    runner = await bench.ready()

    async def refused(workspace_id: str) -> None:
        raise PermissionError(workspace_id)

    bench.runtime.delete_workspace = refused
    ending = asyncio.create_task(runner.end("s1"))
    for _ in range(600):
        if ending.done():
            break
        await passes(bench, 1)
    await ending
    assert await bench.ledger.session("s1") is None
    assert list(await bench.ledger.left_workspaces("node-1")) == ["w1"]


async def test_an_ending_session_takes_no_clients(bench):
    use(bench, MemoryRuntime())
    runner = await bench.ready()
    held = asyncio.Event()

    async def slow(workspace_id: str) -> None:
        await held.wait()

    bench.runtime.delete_workspace = slow
    ending = asyncio.create_task(runner.end("s1"))
    await eventually(lambda: runner.state().get("phase") == "ending")
    with pytest.raises(SessionEnded):
        await runner.wake("s1")
    held.set()
    await ending


# ---- passivation --------------------------------------------------------------------------------


async def passes(bench: Workbench, seconds: float) -> None:
    """Let time go on in steps; whatever one of them has the session commit is committed in it."""
    for _ in range(int(seconds)):
        bench.clock.advance(1.0)
        await settle()
        await bench.ledger.forget_workspace("node-1", "none")  # commits go in their order
        await settle()


async def test_a_session_with_nothing_to_decide_is_let_go_of_and_its_container_runs_on(bench):
    runner = await bench.ready()
    route = await runner.route("s1")
    await passes(bench, 62)
    await eventually(lambda: runner.state()["session_id"] is None)
    await committed(bench, owner_actor_id=None, phase=P.READY, container_id=route.container_id)
    assert route.container_id in bench.runtime.running
    await eventually(lambda: bench.pool.released == ["a1"])
    with pytest.raises(NotBound):
        await runner.view("s1")


async def test_a_session_at_rest_is_activated_by_another_actor_with_its_container(bench):
    runner = await bench.ready()
    before = await runner.route("s1")
    await passes(bench, 62)
    await eventually(lambda: runner.state()["session_id"] is None)
    second = bench.runner("a2")
    await second.bind(await bench.claim("a2"), None)
    after = await second.route("s1")
    assert after.container_id == before.container_id
    assert after.epoch > before.epoch


async def test_calls_keep_a_session_and_looks_at_it_do_not(bench):
    runner = await bench.ready()
    for _ in range(12):
        await passes(bench, 10)
        await runner.resume("s1")
    assert runner.state()["session_id"] == "s1"
    for _ in range(8):
        await passes(bench, 10)
        with contextlib.suppress(NotBound):
            await runner.view("s1")
            await runner.route("s1")
    await eventually(lambda: runner.state()["session_id"] is None)


def passivates_slowly(bench: Workbench) -> tuple[asyncio.Event, asyncio.Event]:
    """Have passivations wait in the store; return what says that one does, and what lets it go on."""
    waiting, go_on = asyncio.Event(), asyncio.Event()
    passivate = bench.ledger.passivate

    async def slowly(record, **given):
        waiting.set()
        await go_on.wait()
        await passivate(record, **given)

    bench.ledger.passivate = slowly
    return waiting, go_on


async def test_what_is_asked_of_a_session_that_goes_to_rest_is_not_lost(fragile):
    runner = await fragile.ready()
    await runner.hibernate("s1")
    await passes(fragile, 58)
    waiting, go_on = passivates_slowly(fragile)
    await passes(fragile, 4)
    await waiting.wait()
    asked = [
        asyncio.create_task(each)
        for each in (runner.resume("s1"), runner.wake("s1"), runner.hibernate("s1"))
    ]
    await settle()
    go_on.set()
    for each in asked:
        with pytest.raises(NotBound):
            await each


async def test_a_route_is_returned_also_while_the_session_goes_to_rest(fragile):
    runner = await fragile.ready()
    before = await runner.route("s1")
    waiting, go_on = passivates_slowly(fragile)
    await passes(fragile, 62)
    await waiting.wait()
    assert await runner.route("s1") == before
    go_on.set()


async def test_the_life_of_a_container_ends_when_it_was_lost_and_not_when_it_is_replaced(bench):
    first = await bench.ready()
    before = await first.route("s1")
    await bench.kill(first)
    bench.runtime.crash(before.container_id)
    await bench.ledger.note_loss(before.container_id, bench.clock.now())
    bench.clock.advance(100.0)
    second = await warm(bench, "a2")
    claimed = await bench.claim("a2", dead_actor_id="a1")
    await second.bind(claimed, await bench.ledger.container(before.container_id), "k")
    await committed(bench, short_lives=1)


async def test_a_container_that_is_found_well_is_not_counted_as_lost_any_more(bench):
    first = await bench.ready()
    before = await first.route("s1")
    await bench.kill(first)
    await bench.ledger.note_loss(before.container_id, bench.clock.now())
    second = await warm(bench, "a2")
    claimed = await bench.claim("a2", dead_actor_id="a1")
    await second.bind(claimed, await bench.ledger.container(before.container_id), "k")
    assert (await second.route("s1")).container_id == before.container_id

    async def counts_as_well() -> bool:
        return (await bench.ledger.container(before.container_id)).lost_at is None

    await eventually(counts_as_well)


async def test_a_session_that_was_only_revived_is_let_go_of_as_soon_as_it_is_ready(bench):
    first = await bench.ready()
    before = await first.route("s1")
    await bench.kill(first)
    bench.runtime.crash(before.container_id)
    second = await warm(bench, "a2")
    claimed = await bench.claim("a2", dead_actor_id="a1")
    await second.bind(claimed, await bench.ledger.container(before.container_id), "k", 0.0)
    await eventually(lambda: second.state()["session_id"] is None)
    await committed(bench, owner_actor_id=None, phase=P.READY)
    stored = await bench.ledger.session("s1")
    assert stored is not None
    assert stored.container_id in bench.runtime.running
    assert stored.container_id != before.container_id


async def test_containers_that_end_at_once_are_counted_over_activations(bench):
    runner = await bench.ready()
    for number in range(2, 5):
        route = await runner.route("s1")
        await bench.kill(runner)
        bench.runtime.crash(route.container_id)
        runner = await warm(bench, f"a{number}")
        claimed = await bench.claim(f"a{number}", dead_actor_id=f"a{number - 1}")
        await runner.bind(claimed, await bench.ledger.container(route.container_id), "k")
        assert (await bench.ledger.session("s1")).short_lives == number - 2
        await committed(bench, short_lives=number - 1)
        bench.clock.advance(5.0 if number > 2 else 0.0)


async def test_the_warm_actor_that_is_left_can_hold_another_session(bench):
    runner = await bench.ready()
    await runner.end("s1")
    await runner.bind(await bench.claim(), None)
    assert (await runner.route("s1")).session_id == "s1"


# ---- events -------------------------------------------------------------------------------------


async def test_events_report_the_life_of_a_session(bench):
    await bench.ready()
    phases = [data["phase"] for data in bench.events.of("status")]
    assert phases == ["starting", "ready"]


async def test_a_successor_publishes_the_terminals_that_the_journal_knows(bench):
    first = await bench.ready()
    container_id = (await first.route("s1")).container_id
    await bench.opens_terminal(container_id, "a", number=1)
    await bench.opens_terminal(container_id, "b", number=2)
    await bench.journal.note("s1", "a", container_id, now=1.0, exit_code=1)
    await bench.kill(first)
    second = bench.runner()
    await second.route("s1")
    assert bench.events.of("terminals") == [{"names": ["a", "b"]}]


async def test_followers_hear_of_the_end(bench):
    runner = await bench.ready()
    await runner.end("s1")
    assert bench.events.of("ended") == [{"reason": "ended"}]


# ---- cleanliness --------------------------------------------------------------------------------


async def test_closing_leaves_no_task_behind_and_touches_no_container(bench):
    before = len(asyncio.all_tasks())
    runner = await bench.ready()
    await bench.kill(runner)
    assert len(asyncio.all_tasks()) == before
    assert len(bench.runtime.running) == 1


async def test_statistics_count_what_happened(bench):
    runner = await bench.ready()
    epoch = (await runner.route("s1")).epoch
    bench.runtime.crash((await runner.route("s1")).container_id)
    await runner.route("s1", newer_than_epoch=epoch)
    counted = runner.stats()
    assert counted["containers_lost_total"] == 1
    assert counted["session_recovery_seconds"]["count"] == 1
    assert counted["session_activations_total"] == 1


@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("known", [True, False])
async def test_every_container_is_reported_whose_it_is_if_that_is_known(
    bench, monkeypatch, known, claimed
):
    async def email_of(user_id: str) -> str:
        if not known:
            raise Unavailable("the store", "asked at a bad moment")
        return f"{user_id}@example.com"

    monkeypatch.setattr(bench.ledger, "email_of", email_of)
    reported = "u1@example.com" if known else None
    runner = await warm(bench)
    if claimed:
        await bench.warm_container()
    container_id = "warm" if claimed else None
    await runner.bind(await bench.claim(container_id=container_id), None)
    route = await runner.route("s1")
    assert bench.codi.emails[route.container_id] == reported


async def test_every_container_is_given_what_its_user_has_set(bench):
    bench.environments.has["s1"] = Environment(4, {"A": "x"}, dotfiles="https://h/d")
    runner = await warm(bench)
    await runner.bind(await bench.claim(), None)
    route = await runner.route("s1")
    assert bench.codi.environments[route.container_id].variables == {"A": "x"}
    assert bench.environments.noted == ["s1"]
