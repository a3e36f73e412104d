"""The warm pool under random claims, deaths, failures and time: it converges, and nothing is shared.

The machine drives the runner itself over fakes, one event loop per run. After every step the
invariants of the slots hold, no two sessions share an actor or a container, and the bounds hold.
At the end the faults stop, and within a few sweeps the pools are full again and nothing is left over.
"""

import asyncio
import contextlib

from hypothesis import settings, stateful
from hypothesis import strategies as st

from actors.core.errors.base import Busy, Unavailable
from actors.core.errors.sessions import LaunchFailed
from actors.core.errors.store import CommitUnknown
from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import Cause
from actors.pool.claims import OpenRequest
from actors.pool.reconciler import PoolReconciler
from actors.pool.slots import SlotState
from tests.fakes import pool_fakes
from tests.fakes.runtimes import MemoryRuntime

POOL = "pool-node-1"
ACTORS, CONTAINERS, STARTING = 2, 3, 2


class MoodyRuntime(MemoryRuntime):
    """Fails the next ``failures`` launches."""

    failures = 0

    async def launch(self, spec):
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise LaunchFailed(spec.container_id, "moody")
        return await super().launch(spec)


class PoolMachine(stateful.RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.runtime = MoodyRuntime()
        self.clock = pool_fakes.ManualClock()
        self.ledger = pool_fakes.PoolLedger(self.clock)
        self.actors = pool_fakes.FakeSessionActors(POOL)
        self.opening = []
        self.keys = 0
        self.generation = 0
        self.new_process()

    def new_process(self):
        self.generation += 1
        self.runner = PoolReconciler(
            pool_fakes.services(
                self.ledger,
                self.runtime,
                self.clock,
                generation=self.generation,
                warm_actors=ACTORS,
                warm_containers=CONTAINERS,
                max_pending_launches=2,
            ),
            self.actors,
            pool_name=POOL,
            max_starting=STARTING,
        )

    def do(self, work):
        async def bounded():
            async with asyncio.timeout(60):
                return await work

        return self.loop.run_until_complete(bounded())

    def settle(self):
        self.do(pool_fakes.settle())

    @stateful.rule(
        user=st.integers(0, 4), same_key=st.booleans(), cause=st.sampled_from(list(Cause))
    )
    def open(self, user, same_key, cause):
        self.keys += not same_key
        key = f"{user}/{self.keys}"

        async def attempt():
            with contextlib.suppress(Busy, Unavailable, CommitUnknown):
                await self.runner.open_session(OpenRequest(f"u{user}", "main", key, cause))

        self.opening.append(self.loop.create_task(attempt()))

    @stateful.rule(turns=st.integers(0, 12))
    def let_it_run(self, turns):
        self.do(pool_fakes.settle(turns))

    @stateful.rule()
    def refill(self):
        async def refill():
            self.runner.refill()

        self.do(refill())

    @stateful.rule()
    def sweep(self):
        self.do(self.runner.sweep())

    @stateful.rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 40.0]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @stateful.rule(number=st.integers(0, 20), fate=st.sampled_from(["dies", "restarts", "hangs"]))
    def an_actor_fails(self, number, fate):
        if self.actors.sessions:
            getattr(self.actors, fate)(
                sorted(self.actors.sessions)[number % len(self.actors.sessions)]
            )

    @stateful.rule()
    def actors_come_back(self):
        for actor_id in self.actors.fate:
            if actor_id in self.actors.sessions:
                bound = self.do(self.ledger.bound_session(actor_id))
                self.actors.sessions[actor_id] = bound.session_id if bound else None
        self.actors.fate.clear()

    @stateful.rule(number=st.integers(0, 20))
    def a_warm_container_is_found_sick(self, number):
        warm = sorted(r.container_id for r in self.ledger.records.values() if r.session_id is None)
        if warm:
            self.do(
                self.ledger.set_container_status(
                    warm[number % len(warm)], ContainerStatus.LOST, expected=[ContainerStatus.WARM]
                )
            )

    @stateful.rule(number=st.integers(0, 20))
    def a_container_crashes(self, number):
        if self.runtime.running:
            self.runtime.crash(sorted(self.runtime.running)[number % len(self.runtime.running)])

    @stateful.rule(number=st.integers(0, 20), release=st.booleans())
    def a_session_goes_passive(self, number, release):
        owned = sorted(i for i, s in self.ledger.sessions_by_id.items() if s.owner_actor_id)
        if not owned:
            return
        session = self.ledger.sessions_by_id[owned[number % len(owned)]]
        actor_id = session.owner_actor_id
        self.do(self.ledger.passivate(session))
        if self.actors.sessions.get(actor_id) == session.session_id:
            self.actors.sessions[actor_id] = None
            if release and actor_id not in self.actors.fate:
                self.do(self.runner.actor_released(actor_id))

    @stateful.rule(failures=st.integers(1, 3))
    def launches_fail(self, failures):
        self.runtime.failures = failures
        self.actors.failing_starts = failures

    @stateful.rule(committed=st.booleans())
    def a_commit_is_uncertain(self, committed):
        self.ledger.errors = [CommitUnknown()]
        self.ledger.commit_first = committed

    @stateful.rule()
    def the_process_is_killed(self):
        self.do(self.runner.close())
        self.settle()
        self.new_process()

    @stateful.invariant()
    def slots_are_sound(self):
        self.runner.pools.actors.validate()
        self.runner.pools.containers.validate()
        assert self.runner.pools.waiting <= 2

    @stateful.invariant()
    def nothing_is_shared(self):
        sessions = list(self.ledger.sessions_by_id.values())
        owners = [s.owner_actor_id for s in sessions if s.owner_actor_id]
        containers = [s.container_id for s in sessions if s.container_id]
        assert len(owners) == len(set(owners))
        assert len(containers) == len(set(containers))

    @stateful.invariant()
    def a_sessions_container_is_never_stopped_by_the_pool(self):
        theirs = {s.container_id for s in self.ledger.sessions_by_id.values()}
        assert not theirs & set(self.runtime.stopped)

    def teardown(self):
        try:
            self.heal()
        finally:
            self.do(self.runner.close())
            self.settle()
            self.loop.close()

    def heal(self):
        """Stop the faults; the pools fill, and every actor and container has its place."""
        self.ledger.errors, self.runtime.failures, self.actors.failing_starts = [], 0, 0
        self.actors_come_back()
        for _ in range(12):
            self.clock.advance(35.0)
            self.sweep()
            self.refill()
            self.settle()
        assert all(task.done() for task in self.opening)
        assert [t for t in self.opening if not t.cancelled() and t.exception() is not None] == []
        actors, containers = self.runner.pools.actors, self.runner.pools.containers
        assert ACTORS <= actors.count(SlotState.READY) <= ACTORS + 1
        assert containers.count(SlotState.READY) == CONTAINERS
        for table in (actors, containers):
            assert table.count(SlotState.RESERVED) == table.count(SlotState.STARTING) == 0
        owners = {s.owner_actor_id for s in self.ledger.sessions_by_id.values()}
        assert set(self.actors.sessions) <= owners | {slot.slot_id for slot in actors}
        unused = {r.container_id for r in self.ledger.records.values() if r.session_id is None}
        assert unused == {slot.slot_id for slot in containers}
        assert unused <= set(self.runtime.running) <= set(self.ledger.records)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=80, stateful_step_count=30)
