"""The supervisor's runner over fakes."""

import pytest

from actors.core.errors.base import ActorGone, Busy, DeadlineExceeded, Unavailable
from actors.core.records.sessions import SessionPhase
from actors.supervisor.reconciler import Member, SupervisorReconciler
from tests.fakes.pool_fakes import ManualClock, PoolLedger, services, session_record, settle

MEMBERS = [
    Member("store-node-1", "store", True),
    Member("pool-node-1", "pool", True),
    Member("health-node-1", "health", False),
]


class FakeActorGateway:
    def __init__(self):
        self.living, self.made, self.killed, self.opened = [], [], [], []
        self.silent, self.broken = set(), set()
        self.blind = False
        self.refusal = None

    async def listed(self):
        if self.blind:
            raise Unavailable("ray", "no answer")
        return list(self.living)

    async def make(self, name):
        self.made.append(name)
        if name in self.broken:
            raise Unavailable(name, "its node is away")
        self.living.append(name)

    async def call(self, name, called, timeout_seconds, /, **arguments):
        if name not in self.living:
            raise ActorGone(name)
        if name in self.silent:
            raise DeadlineExceeded(name, timeout_seconds)
        match called.__name__:
            case "ping":
                return {"pid": 7, "uptime_seconds": 1.0, "ready": True}
            case "stats":
                return {"orphans": 2} if name.startswith("pool") else {"saves_total": 3}
            case "open_session":
                self.opened.append((name, arguments["dead_actor_id"]))
                if self.refusal:
                    raise self.refusal
        return None

    async def kill(self, name, *, restart):
        self.killed.append((name, restart))
        if not restart and name in self.living:
            self.living.remove(name)


class Tower:
    def __init__(self):
        self.gateway, self.clock = FakeActorGateway(), ManualClock()
        self.ledger = PoolLedger(self.clock)
        self.runner = SupervisorReconciler(self.gateway, MEMBERS, hang_after=10.0)
        self.runner.attach_services(services(self.ledger, None, self.clock))

    async def up(self):
        for _ in range(len(MEMBERS) + 1):
            if await self.runner.components_up(self.clock.time):
                return
        raise AssertionError("not up")

    async def look(self, seconds=1.0):
        self.clock.advance(seconds)
        judgement = await self.runner.look()
        await settle()
        return judgement

    def own(self, owner="a1", phase=SessionPhase.READY, node="node-1"):
        session = session_record(
            "s1",
            owner_actor_id=owner,
            owner_node_id=node,
            phase=phase,
            updated_at=self.clock.time,
        )
        self.ledger.sessions_by_id["s1"] = session


@pytest.fixture
async def tower():
    made = Tower()
    yield made
    await made.runner.close()


async def test_components_come_up_in_order(tower):
    assert not await tower.runner.components_up(0.0)
    assert tower.gateway.made == [member.name for member in MEMBERS]
    assert await tower.runner.components_up(1.0)


async def test_a_component_that_is_gone_is_made_again(tower):
    await tower.up()
    tower.gateway.living.remove("pool-node-1")
    await tower.look()
    assert tower.gateway.made.count("pool-node-1") == 2


async def test_making_is_tried_again_ever_more_slowly(tower):
    tower.gateway.broken = {"store-node-1"}
    for _ in range(32):
        await tower.runner.components_up(tower.clock.time)
        tower.clock.advance(0.5)
    assert tower.gateway.made.count("store-node-1") == 5


async def test_a_hanging_component_is_restarted_once_per_hang(tower):
    await tower.up()
    tower.gateway.silent = {"pool-node-1"}
    for _ in range(15):
        await tower.look()
    assert tower.gateway.killed == [("pool-node-1", True)]


async def test_nothing_is_judged_while_ray_does_not_list_who_lives(tower):
    await tower.up()
    tower.own()
    tower.gateway.blind = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            await tower.look()
    assert tower.ledger.passivated == []
    assert tower.gateway.made == [member.name for member in MEMBERS]


async def test_a_settled_session_of_a_dead_owner_becomes_passive(tower):
    await tower.up()
    tower.own()
    await tower.look()
    assert tower.ledger.passivated == []
    await tower.look()
    assert tower.ledger.passivated == ["s1"]


async def test_a_session_of_a_dead_owner_in_a_passing_phase_is_opened_by_its_nodes_pool(tower):
    await tower.up()
    tower.own(phase=SessionPhase.RECOVERING)
    tower.gateway.refusal = Busy("session starts", 1.0)
    for _ in range(5):
        await tower.look()
    assert tower.gateway.opened == [("pool-node-1", "a1")]
    await tower.look(10.0)
    assert len(tower.gateway.opened) == 2


async def test_a_session_of_another_node_becomes_passive_when_its_owners_lease_has_run_out(tower):
    await tower.up()
    tower.own(node="node-2")
    for renewal in range(30):  # gone for Ray, and goes on renewing
        tower.ledger.leases["s1"] = renewal
        await tower.look()
    assert tower.ledger.passivated == []
    for _ in range(10):
        await tower.look()
    assert tower.ledger.passivated == []
    await tower.look()
    assert tower.ledger.passivated == ["s1"]


async def test_a_session_whose_owner_renews_after_all_is_not_released(tower):
    await tower.up()
    tower.own(node="node-2")
    tower.ledger.leases["s1"] = 1
    for _ in range(3):
        await tower.look()
    asked = tower.ledger.lease

    async def renewed_behind_the_answer(session_id):
        answer = await asked(session_id)
        tower.ledger.leases[session_id] += 1
        return answer

    tower.clock.advance(20.0)
    tower.ledger.lease = renewed_behind_the_answer
    await tower.look()
    assert tower.ledger.passivated == []


async def test_a_session_of_a_live_owner_is_left_alone(tower):
    await tower.up()
    tower.gateway.living.append("session-a1")
    tower.own()
    for _ in range(3):
        await tower.look()
    assert tower.ledger.passivated == []


async def test_the_snapshot_shows_what_is_wrong_and_how_fresh_it_is(tower):
    await tower.up()
    tower.own(phase=SessionPhase.STARTING)
    tower.gateway.living.append("session-a1")
    tower.gateway.silent = {"health-node-1"}
    await tower.look(100.0)
    await tower.runner.refresh_stats()
    snapshot = tower.runner.snapshot(tower.clock.time + 2.0)
    assert snapshot["age_seconds"] == 2.0
    assert snapshot["stuck"] == ["s1"]
    assert snapshot["orphans"] == 2
    assert snapshot["sessions"]["starting"] == 1
    statuses = {actor["name"]: actor["status"] for actor in snapshot["actors"]}
    assert statuses == {
        "store-node-1": "ready",
        "pool-node-1": "ready",
        "health-node-1": "silent",
    }


async def test_metrics_of_everybody_are_collected_and_stale_ones_expire(tower):
    await tower.up()
    tower.gateway.living += ["session-a1", "session-a2"]
    tower.runner.push_metrics("ingress-1", ["x"], now=0.0)
    tower.runner.push_metrics("ingress-2", ["y"], now=100.0)
    collected = await tower.runner.collect_metrics(now=150.0)
    assert collected["pushed"] == {"ingress-2": {"at": 100.0, "families": ["y"]}}
    assert collected["sessions"] == {"saves_total": 6}
    assert collected["actors"]["pool-node-1"] == {"kind": "pool", "stats": {"orphans": 2}}


async def test_sources_of_metrics_are_bounded(tower):
    for number in range(300):
        tower.runner.push_metrics(f"ingress-{number}", [], now=0.0)
    collected = await tower.runner.collect_metrics(now=0.0)
    assert len(collected["pushed"]) == 256
    assert "ingress-299" in collected["pushed"]


async def test_shutdown_ends_makers_first_and_the_store_last(tower):
    await tower.up()
    tower.gateway.living.append("session-a1")
    await tower.runner.shutdown(["session-a1"])
    names = [name for name, _ in tower.gateway.killed]
    assert names == ["health-node-1", "pool-node-1", "session-a1", "store-node-1"]
