"""The pool's runner over fakes: filling, healing, and what survives it."""

import asyncio

import pytest

from actors.core.errors.base import Busy, Unavailable
from actors.core.errors.store import CommitUnknown
from actors.core.informer import GATHER_SECONDS
from actors.core.records.containers import ContainerStatus, Health
from actors.core.records.sessions import Cause, SessionPhase
from actors.pool.claims import OpenRequest
from actors.pool.reconciler import PoolReconciler
from actors.pool.slots import SlotState
from tests.fakes.pool_fakes import (
    FakeSessionActors,
    ManualClock,
    PoolLedger,
    container_record,
    handle,
    services,
    session_record,
    settle,
)
from tests.fakes.runtimes import FailingRuntime, MemoryRuntime

POOL = "pool-node-1"


class House:
    """A runner and everything round it."""

    def __init__(self, runtime=None, **changes):
        self.runtime = runtime or MemoryRuntime()
        self.clock = ManualClock()
        self.ledger = PoolLedger(self.clock)
        self.actors = FakeSessionActors(POOL)
        self.services = services(self.ledger, self.runtime, self.clock, **changes)
        self.runner = self.restart()

    def restart(self):
        """Another process: nothing is remembered."""
        self.runner = PoolReconciler(self.services, self.actors, pool_name=POOL, max_starting=2)
        return self.runner

    async def fill(self):
        for _ in range(10):
            self.runner.refill()
            await settle()
            self.clock.advance(1.0)

    def count(self, state=SlotState.READY):
        pools = self.runner.pools
        return pools.actors.count(state), pools.containers.count(state)

    async def open(self, user="u1", key="k1", dead_actor_id=None, cause=Cause.CALL):
        request = OpenRequest(user, "main", key, cause)
        return await self.runner.open_session(request, dead_actor_id)


@pytest.fixture
async def house():
    made = []

    def make(runtime=None, **changes):
        made.append(House(runtime, **changes))
        return made[-1]

    yield make
    for each in made:
        await each.runner.close()
        each.runner.pools.actors.validate()
        each.runner.pools.containers.validate()


async def test_both_pools_fill_up_to_their_targets(house):
    h = house(warm_actors=3, warm_containers=5)
    await h.fill()
    assert h.count() == (3, 5)
    warm = [r for r in h.ledger.records.values() if r.status is ContainerStatus.WARM]
    assert len(warm) == 5
    assert all(r.handle and r.health is Health.HEALTHY for r in warm)


async def test_a_claim_takes_one_of_each_and_the_pool_refills(house):
    h = house()
    await h.fill()
    opened = await h.open()
    assert (opened.created, opened.warm_actor, opened.warm_container) == (True, True, True)
    assert h.count() == (1, 1)
    await h.fill()
    assert h.count() == (2, 2)


async def test_who_signs_in_for_the_first_time_gets_a_container_and_needs_no_actor(house):
    h = house()
    await h.fill()
    opened = await h.open(cause=Cause.LOGIN)
    assert (opened.created, opened.warm_container, opened.actor_id) == (True, True, None)
    assert opened.record == h.ledger.sessions_by_id[opened.session_id]
    assert opened.record.phase is SessionPhase.READY
    assert h.count() == (2, 1)
    again = await h.open(key="k2", cause=Cause.LOGIN)
    assert (again.session_id, again.created) == (opened.session_id, False)
    assert h.count() == (2, 1), "the container that was set aside is there for the next one"
    assert h.runner.stats()["activations_login_total"] == 0
    assert h.runner.stats()["pool_hit_rate"] == 1.0


async def test_who_signs_in_while_no_container_is_warm_gets_an_actor_that_starts_one(house):
    h = house(warm_containers=0)
    await h.fill()
    opened = await h.open(cause=Cause.LOGIN)
    assert (opened.created, opened.warm_container) == (True, False)
    assert opened.actor_id in h.actors.sessions
    assert h.runner.stats()["activations_login_total"] == 1


async def test_an_owner_stays_as_long_as_its_cause_asks_for(house):
    h = house(warm_actors=4)
    await h.fill()
    for cause in (Cause.LOSS, Cause.CALL, Cause.CALL):
        opened = await h.open(key=f"{cause}{len(h.actors.rests)}", cause=cause)
        await h.ledger.passivate(h.ledger.sessions_by_id[opened.session_id])
        h.clock.advance(120.0 if len(h.actors.rests) == 1 else 1.0)
    assert h.actors.rests == [0.0, None, 6 * h.services.settings.rest_after]


async def test_the_bound_actor_gets_the_handle_of_the_claimed_container(house):
    h = house()
    await h.fill()
    opened = await h.open()
    (bound,) = h.actors.bound
    session = h.ledger.sessions_by_id[opened.session_id]
    assert bound == (opened.actor_id, opened.session_id, session.container_id)


async def test_an_actor_whose_lost_claim_was_committed_late_gets_no_second_session(house):
    h = house()
    await h.fill()
    late = min(h.runner.pools.actors, key=lambda s: (s.since, s.slot_id)).slot_id
    h.ledger.sessions_by_id["s-late"] = session_record(
        "s-late", user_id="u-late", owner_actor_id=late
    )
    opened = await h.open()
    assert opened.warm_container, "the one that was set aside at first was put back"
    assert opened.actor_id != late
    assert h.ledger.sessions_by_id["s-late"].owner_actor_id == late
    assert late not in h.runner.pools.actors


async def test_concurrent_claims_never_share_a_slot(house):
    h = house(warm_actors=8, warm_containers=8)
    await h.fill()
    opened = await asyncio.gather(*(h.open(f"u{n}", f"k{n}") for n in range(8)))
    assert len({o.actor_id for o in opened}) == 8
    sessions = h.ledger.sessions_by_id.values()
    assert len({s.container_id for s in sessions}) == 8


async def test_without_a_warm_container_the_session_opens_all_the_same(house):
    h = house(warm_containers=0)
    await h.fill()
    opened = await h.open()
    assert (opened.warm_actor, opened.warm_container) == (True, False)


async def test_the_hit_rate_is_the_part_of_new_sessions_that_got_both_warm_slots(house):
    h = house(warm_actors=3, warm_containers=1)
    await h.fill()
    assert h.runner.stats()["pool_hit_rate"] == 1.0
    await h.open("u1", "k1")
    await h.open("u2", "k2")
    await h.open("u2", "k3")  # opens what is there: neither hit nor miss
    stats = h.runner.stats()
    assert (stats["sessions_created_total"], stats["pool_hits_total"]) == (2, 1)
    assert stats["pool_hit_rate"] == 0.5


async def test_without_a_warm_actor_one_is_started_for_the_claim(house):
    h = house(warm_actors=0, warm_containers=0)
    task = asyncio.create_task(h.open())
    await settle()
    h.runner.refill()
    opened = await task
    assert not opened.warm_actor
    assert h.actors.started == 1


async def test_more_waiting_claims_than_allowed_are_reported_when_to_come_back(house):
    h = house(warm_actors=0, max_pending_launches=2)
    h.actors.release = asyncio.Event()
    waiting = [asyncio.create_task(h.open(f"u{n}", f"k{n}")) for n in range(2)]
    await settle()
    with pytest.raises(Busy) as refused:
        await h.open("u9", "k9")
    assert refused.value.retry_after_seconds >= 1
    h.runner.refill()
    h.actors.release.set()
    assert len(await asyncio.gather(*waiting)) == 2


async def test_waiting_claims_are_served_in_their_order(house):
    h = house(warm_actors=0, warm_containers=0)
    order = []

    async def opened(user):
        await h.open(user, user)
        order.append(user)

    tasks = [asyncio.create_task(opened(f"u{n}")) for n in range(3)]
    await settle()
    for _ in range(3):
        h.runner.refill()
        await settle()
    await asyncio.gather(*tasks)
    assert order == ["u0", "u1", "u2"]


async def test_an_actor_given_to_a_claim_in_the_moment_it_is_given_up_is_not_lost(house):
    h = house(warm_actors=0)
    waiter = asyncio.create_task(h.runner.pools.wait_for_actor(10.0))
    await settle()
    h.runner.pools.actors.adopt("a1", 0.0)
    h.runner.pools.offer()
    assert h.count(SlotState.RESERVED)[0] == 1
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert h.count()[0] == 1


async def test_the_same_key_opens_once(house):
    h = house()
    await h.fill()
    first, second = await asyncio.gather(h.open(), h.open())
    third = await h.open()
    assert first == second
    assert third.actor_id == first.actor_id
    assert len(h.actors.bound) == 1


async def test_a_session_with_a_live_owner_is_returned_and_its_slots_stay(house):
    h = house()
    await h.fill()
    first = await h.open(key="k1")
    await h.fill()
    second = await h.open(key="k2")
    assert (second.session_id, second.actor_id, second.created) == (
        first.session_id,
        first.actor_id,
        False,
    )
    assert h.count() == (2, 2)


async def test_an_owner_that_is_gone_is_replaced_and_the_warm_container_stays_warm(house):
    h = house()
    await h.fill()
    first = await h.open(key="k1")
    await h.fill()
    h.actors.dies(first.actor_id)
    second = await h.open(key="k2")
    assert second.session_id == first.session_id
    assert second.actor_id != first.actor_id
    assert not second.warm_container
    assert h.ledger.sessions_by_id[first.session_id].epoch == 2
    assert h.count() == (1, 2)


async def test_an_owner_reported_dead_that_answers_keeps_its_session(house):
    h = house()
    await h.fill()
    first = await h.open(key="k1")
    await h.fill()
    second = await h.open(key="k2", dead_actor_id=first.actor_id)
    assert second.actor_id == first.actor_id


async def test_without_a_ready_actor_a_live_owner_is_found_without_starting_one(house):
    h = house(warm_actors=1)
    await h.fill()
    first = await h.open(key="k1")
    second = await h.open(key="k2")
    assert second.actor_id == first.actor_id
    assert h.actors.started == 1


async def test_a_warm_actor_that_died_unseen_costs_another_attempt_and_no_error(house):
    h = house()
    await h.fill()
    oldest = min(h.runner.pools.actors, key=lambda s: (s.since, s.slot_id))
    h.actors.restarts(oldest.slot_id)
    opened = await h.open()
    assert opened.actor_id != oldest.slot_id
    assert opened.created
    assert h.ledger.sessions_by_id[opened.session_id].owner_actor_id == opened.actor_id


async def test_a_container_that_is_no_longer_warm_is_skipped(house):
    h = house()
    await h.fill()
    oldest = min(h.runner.pools.containers, key=lambda s: (s.since, s.slot_id))
    await h.ledger.set_container_status(
        oldest.slot_id, ContainerStatus.LOST, expected=[ContainerStatus.WARM]
    )
    opened = await h.open()
    assert opened.warm_container
    assert h.ledger.sessions_by_id[opened.session_id].container_id != oldest.slot_id


async def test_a_claim_of_unknown_outcome_leaks_no_slot_and_double_books_none(house):
    for committed in (True, False):
        h = house()
        await h.fill()
        h.ledger.errors = [CommitUnknown()]
        h.ledger.commit_first = committed
        with pytest.raises(CommitUnknown):
            await h.open("u1", "k1")
        again = await h.open("u1", "k2")
        await h.fill()
        for _ in range(2):
            await h.runner.sweep()
            await h.fill()
        owners = [s.owner_actor_id for s in h.ledger.sessions_by_id.values()]
        slots = {s.slot_id for s in h.runner.pools.actors}
        assert again.actor_id in owners
        assert not slots & set(owners)
        assert slots | set(owners) == set(h.actors.sessions)


async def test_a_new_process_adopts_what_the_old_one_had_started(house):
    h = house()
    await h.fill()
    opened = await h.open()
    await h.fill()
    started, launched = h.actors.started, len(h.runtime.launched)
    await h.runner.close()
    h.restart()
    await h.runner.sweep()
    assert h.count() == (2, 2)
    await h.fill()
    assert (h.actors.started, len(h.runtime.launched)) == (started, launched)
    assert opened.actor_id not in h.runner.pools.actors


async def test_actors_of_another_pool_are_left_alone(house):
    h = house(warm_actors=0)
    h.actors.sessions["a-foreign"] = None
    h.actors.pool = "pool-node-2"
    await h.runner.sweep()
    assert h.count() == (0, 0)
    assert h.actors.killed == []


async def test_a_released_actor_serves_again_only_when_it_holds_nothing(house):
    h = house(warm_actors=1)
    await h.fill()
    opened = await h.open()
    await h.runner.actor_released(opened.actor_id)
    assert opened.actor_id not in h.runner.pools.actors
    session = h.ledger.sessions_by_id[opened.session_id]
    await h.ledger.passivate(session)
    h.actors.sessions[opened.actor_id] = None
    await h.runner.actor_released(opened.actor_id)
    assert opened.actor_id in h.runner.pools.actors


async def test_surplus_actors_are_retired(house):
    h = house(warm_actors=2, warm_containers=0)
    await h.fill()
    for number in range(4):
        h.actors.sessions[f"a-x{number}"] = None
    await h.runner.sweep()
    await h.fill()
    assert h.count()[0] == 3
    assert len(h.actors.killed) == 3


async def test_an_unhealthy_warm_container_is_replaced(house):
    h = house()
    await h.fill()
    sick = next(iter(h.ledger.records))
    await h.ledger.set_container_status(sick, ContainerStatus.LOST, expected=[ContainerStatus.WARM])
    await h.runner.sweep()
    assert sick in h.runtime.stopped
    assert sick not in h.ledger.records
    await h.fill()
    assert h.count() == (2, 2)


async def test_failing_launches_are_tried_again_ever_more_slowly_and_leave_nothing(house):
    h = house(FailingRuntime(3), warm_actors=0, warm_containers=1)
    for _ in range(20):
        h.runner.refill()
        await settle()
        h.clock.advance(0.25)
    assert h.runtime.attempts == 4
    assert h.count() == (0, 1)
    assert len(h.ledger.records) == 1
    assert len(h.runtime.deleted_workspaces) == 3


async def test_a_bug_in_a_launch_is_counted_and_leaves_no_start_behind(house):
    class BrokenRuntime(MemoryRuntime):
        async def launch(self, spec):
            raise ZeroDivisionError

    h = house(BrokenRuntime(), warm_actors=0, warm_containers=1)
    h.runner.refill()
    await settle()
    assert h.count(SlotState.STARTING) == (0, 0)
    assert h.runner.stats()["task_failures_total"] == 1
    assert h.runner.pools.containers.backoff.failures == 1


async def test_a_container_claimed_while_a_sweep_looks_is_not_adopted_again(house):
    h = house()
    await h.fill()
    records = h.runner._records
    refresh = records.refresh

    async def claim_meanwhile():
        found = await refresh()
        records.refresh = refresh
        await h.open()
        return found

    records.refresh = claim_meanwhile
    await h.runner.sweep()
    claimed = {s.container_id for s in h.ledger.sessions_by_id.values()}
    assert not claimed & {slot.slot_id for slot in h.runner.pools.containers}


async def test_orphans_are_stopped_after_their_lease_and_not_before(house):
    h = house(warm_actors=0, warm_containers=0)
    h.runtime.running["ghost"] = handle("ghost")
    h.runtime._ended["ghost"] = asyncio.Event()
    h.ledger.records["left"] = container_record(
        "left", ContainerStatus.READY, session_id="s-over", user_id="u1"
    )
    await h.runner.sweep()
    assert h.runtime.stopped == []
    assert h.runner.stats()["orphans"] == 2
    h.clock.advance(30.0)
    await h.runner.sweep()
    assert sorted(h.runtime.stopped) == ["ghost", "left"]
    assert h.runtime.deleted_workspaces == []
    await h.runner.sweep()
    assert h.runner.stats()["orphans"] == 0


async def test_a_silent_stray_is_killed_after_the_lease(house):
    h = house(warm_actors=0)
    h.actors.sessions["a-silent"] = None
    h.actors.hangs("a-silent")
    await h.runner.sweep()
    assert h.actors.killed == []
    h.clock.advance(30.0)
    await h.runner.sweep()
    assert h.actors.killed == ["a-silent"]


async def test_an_actor_that_holds_a_session_of_another_owner_is_killed_after_the_lease(house):
    h = house(warm_actors=0)
    h.actors.sessions["a-old"] = "s1"
    h.ledger.sessions_by_id["s1"] = session_record("s1", owner_actor_id="a-new")
    await h.runner.sweep()
    assert h.actors.killed == []
    h.clock.advance(30.0)
    await h.runner.sweep()
    assert h.actors.killed == ["a-old"]


async def test_a_ready_actor_that_does_not_answer_is_no_slot_until_it_does(house):
    h = house(warm_containers=0)
    await h.fill()
    sick = next(iter(h.runner.pools.actors)).slot_id
    h.actors.restarts(sick)
    await h.runner.sweep()
    assert sick not in h.runner.pools.actors
    del h.actors.fate[sick]
    await h.runner.sweep()
    assert sick in h.runner.pools.actors


async def test_owned_actors_are_never_pinged_as_strays(house):
    h = house(warm_actors=0)
    h.actors.sessions["a-owner"] = "s1"
    h.ledger.sessions_by_id["s1"] = session_record("s1", owner_actor_id="a-owner")
    h.actors.hangs("a-owner")
    for _ in range(3):
        await h.runner.sweep()
        h.clock.advance(100.0)
    assert h.actors.killed == []


async def test_what_an_ended_session_left_is_removed_and_forgotten(house):
    h = house(warm_actors=0, warm_containers=0)
    h.ledger.left["w-left"] = h.clock.now()
    await h.runner.sweep()
    await settle()
    assert h.runtime.deleted_workspaces == []
    h.clock.advance(100.0)
    await h.runner.sweep()
    await settle()
    assert h.runtime.deleted_workspaces == ["w-left"]
    assert h.ledger.left == {}
    assert h.runner.stats()["workspaces_removed_total"] == 1


async def test_a_workspace_that_cannot_be_removed_is_tried_again(house):
    h = house(warm_actors=0, warm_containers=0)
    h.ledger.left["w-left"] = h.clock.now() - 100.0
    removed = h.runtime.delete_workspace

    async def refused(workspace_id):
        raise PermissionError(workspace_id)

    h.runtime.delete_workspace = refused
    await h.runner.sweep()
    await settle()
    assert list(h.ledger.left) == ["w-left"]
    h.runtime.delete_workspace = removed
    await h.runner.sweep()
    await settle()
    assert h.ledger.left == {}


async def test_what_could_not_be_read_of_left_workspaces_is_read_again(house):
    h = house(warm_actors=0, warm_containers=0)
    await h.runner.sweep()  # there was none
    h.ledger.sessions_by_id["s-other"] = session_record("s-other")
    h.ledger.left["w-left"] = h.clock.now() - 100.0
    read = h.ledger.left_workspaces

    async def refused(node_id):
        raise Unavailable("store", "for a moment")

    h.ledger.left_workspaces = refused
    with pytest.raises(Unavailable):
        await h.runner.sweep()
    h.ledger.left_workspaces = read
    await h.runner.sweep()
    await settle()
    assert h.ledger.left == {}


async def test_a_lost_warm_container_is_replaced_without_waiting_for_the_next_sweep(house):
    h = house(warm_actors=0, warm_containers=1)
    task = asyncio.create_task(h.runner.run())
    async with asyncio.timeout(60):
        while h.count() != (0, 1):
            await settle(1)
        [lost] = h.runtime.running
        record = h.ledger.records[lost]
        h.ledger.records[lost] = record.model_copy(update={"status": ContainerStatus.LOST})
        h.clock.advance(GATHER_SECONDS)
        while h.count() != (0, 1) or lost in h.runtime.running:
            await settle(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_loops_fill_the_pool_by_themselves_and_end_with_their_owner(house):
    h = house()
    task = asyncio.create_task(h.runner.run())
    async with asyncio.timeout(60):
        while h.count() != (2, 2):
            await settle(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await h.runner.close()
    assert not [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
