"""Nodes that join, are lost, come back and are emptied, over fakes."""

from __future__ import annotations

import asyncio

import pytest

from actors.core import placement
from actors.core.errors.base import Busy
from actors.core.errors.requests import NotFound
from actors.core.records.nodes import NodeRecord, NodeState, NodeView
from actors.core.records.sessions import Opened, SessionPhase
from actors.supervisor.drain import MAX_MOVING, left_on
from actors.supervisor.nodes import KEEP_EMPTIED_SECONDS, KEEP_SECONDS, NodeKeeper
from actors.supervisor.plan import Component
from actors.supervisor.reconciler import SETTLED_LOOKS
from tests.fakes.pool_fakes import session_record, settle
from tests.unit.supervisor.test_reconciler import FakeActorGateway, Tower

HEAD = NodeView(
    node_id="node-1", address="10.0.0.1", is_head=True, state=NodeState.JOINED, alive=False
)


class Book:
    """A ``NodeBook`` of this process."""

    def __init__(self) -> None:
        self.records: dict[str, NodeRecord] = {}

    async def listed(self):
        return list(self.records.values())

    async def node(self, node_id):
        return self.records.get(node_id)

    async def note_ready(self, record, now):
        self.records[record.node_id] = record.model_copy(update={"ready_at": now})

    async def set_moving(self, node_id, session_id, *, moving):
        known = self.records[node_id]
        others = tuple(each for each in known.moving if each != session_id)
        changed = known.model_copy(update={"moving": (*others, session_id) if moving else others})
        self.records[node_id] = changed
        return changed

    async def forget(self, node_id, ray_node_id):
        if node_id in self.records and self.records[node_id].ray_node_id == ray_node_id:
            del self.records[node_id]

    async def set_state(self, node_id, state):
        if node_id not in self.records:
            raise NotFound("node", node_id)
        changed = self.records[node_id].model_copy(update={"state": state})
        self.records[node_id] = changed
        return changed


class Gateway(FakeActorGateway):
    """Answers as pools and owners of other nodes do, and says what it was asked in order."""

    def __init__(self, ledger):
        super().__init__()
        self.ledger = ledger
        self.asked: list[tuple[str, str]] = []
        self.failing: set[tuple[str, str]] = set()

    async def call(self, name, called, timeout_seconds, /, *args, **named):
        if called.__name__ == "ping":
            answer = await super().call(name, called, timeout_seconds)
            return answer | {"warm": 1, "containers": 1, "cpus": 2, "memory_free": 0.5}
        self.asked.append((str(name), called.__name__))
        session = self.ledger.sessions_by_id.get(
            named.get("session_id") or (args[0] if args else "")
        )
        if (str(name), called.__name__) in self.failing:
            raise Busy("this", 1.0)
        match called.__name__:
            case "open_session":
                owner = session.owner_actor_id or f"of-{name}"
                node_id = session.owner_node_id or str(name).removeprefix("pool-")
                self.put(session, owner_actor_id=owner, owner_node_id=node_id)
                return Opened(
                    session_id=session.session_id, actor_id=owner, created=False,
                    warm_actor=True, warm_container=False,
                )  # fmt: skip
            case "hibernate":
                return self.put(session, phase=SessionPhase.HIBERNATED)
            case "resume":
                here = {"workspace_node_id": session.owner_node_id}
                return self.put(session, phase=SessionPhase.READY, **here)
        return None

    def put(self, session, **changes):
        changed = session.model_copy(update=changes)
        self.ledger.sessions_by_id[session.session_id] = changed
        return changed


class RayNodes:
    def __init__(self) -> None:
        self.living: set[str] = set()

    async def alive(self):
        return set(self.living)

    def components(self, record):
        return [
            Component(f"{kind}-{record.node_id}", kind, True, record.node_id)
            for kind in ("store", "pool")
        ]


class Cluster(Tower):
    def __init__(self):
        super().__init__()
        self.book, self.ray = Book(), RayNodes()
        self.runner.attach_nodes(NodeKeeper(self.book, self.ray, self.clock, HEAD))

    def join(self, ray_node_id="r1", node_id="n-2"):
        self.ray.living.add(ray_node_id)
        self.book.records[node_id] = NodeRecord(
            node_id=node_id, ray_node_id=ray_node_id, address="10.0.0.2", version="1", joined_at=1.0
        )


@pytest.fixture
async def cluster():
    cluster = Cluster()
    await cluster.up()
    yield cluster
    await cluster.runner.close()


async def test_the_actors_of_a_node_that_joins_are_made_and_it_learns_when_they_answer(cluster):
    cluster.join()
    await cluster.look()
    assert cluster.book.records["n-2"].ready_at is None
    await cluster.look()
    assert {"store-n-2", "pool-n-2"} <= set(cluster.gateway.living)
    await cluster.look()
    assert cluster.book.records["n-2"].ready_at is not None


async def test_a_node_that_does_not_come_up_holds_up_no_other(cluster):
    cluster.gateway.broken.add("store-n-2")
    cluster.join()
    cluster.join("r3", "n-3")
    for _ in range(4):
        await cluster.look()
    cluster.gateway.living.remove("pool-node-1")
    await cluster.look()
    assert {"pool-node-1", "pool-n-3"} <= set(cluster.gateway.living)


async def test_a_node_that_ray_gave_up_is_gone_and_its_actors_are_not_made_again(cluster):
    cluster.join()
    for _ in range(3):
        await cluster.look()
    cluster.ray.living.clear()
    cluster.gateway.living = [n for n in cluster.gateway.living if not n.endswith("n-2")]
    await cluster.look()
    made = list(cluster.gateway.made)
    await cluster.look()
    assert cluster.gateway.made == made
    assert [view.gone for view in cluster.runner.nodes()] == [False, True]
    cluster.join("r2")  # it comes back under another id of Ray's
    for _ in range(3):
        await cluster.look()
    assert "pool-n-2" in cluster.gateway.living
    assert [view.gone for view in cluster.runner.nodes()] == [False, False]


async def test_a_node_that_nobody_knows_cannot_be_emptied_and_the_head_neither(cluster):
    for node_id in ("n-9", "node-1"):
        with pytest.raises(NotFound):
            await cluster.runner.drain(node_id)


@pytest.mark.parametrize(
    ("emptied", "seconds"), [(True, KEEP_EMPTIED_SECONDS), (False, KEEP_SECONDS)]
)
async def test_a_node_that_is_away_is_forgotten_after_long(cluster, emptied, seconds):
    cluster.join()
    for _ in range(3):
        await cluster.look()
    if emptied:
        await cluster.runner.drain("n-2")
    cluster.ray.living.clear()
    await cluster.look()
    await cluster.look(seconds - 1)
    assert [view.gone for view in cluster.runner.nodes()] == [False, True]
    await cluster.look(2)
    assert [view.node_id for view in cluster.runner.nodes()] == ["node-1"]


async def test_the_nodes_are_told_once_they_have_been_looked_at(cluster):
    asked = asyncio.create_task(cluster.runner.known_nodes())
    await settle()
    assert not asked.done()
    cluster.join()
    await cluster.look()
    assert [view.node_id for view in await asked] == ["node-1", "n-2"]


async def test_a_node_that_falls_silent_gets_no_session(cluster):
    cluster.gateway = gateway = Gateway(cluster.ledger)
    gateway.living = []
    cluster.runner._gateway = gateway
    cluster.join()
    for _ in range(4):
        await cluster.look()
    assert placement.choose(cluster.runner.nodes(), refused=("node-1",)) == "n-2"
    gateway.silent.add("pool-n-2")
    await cluster.look()
    assert placement.choose(cluster.runner.nodes(), refused=("node-1",)) is None


async def test_an_empty_node_leaves_when_everybody_knows_that_it_is_to_be_emptied(cluster):
    cluster.join()
    for _ in range(3):
        await cluster.look()
    await cluster.runner.drain("n-2")
    for _ in range(SETTLED_LOOKS):
        await cluster.look()
        assert cluster.book.records["n-2"].state is NodeState.DRAINING
    await cluster.look()
    assert cluster.book.records["n-2"].state is NodeState.DRAINED


async def with_a_session(cluster: Cluster) -> Gateway:
    """Let a session run on n-2."""
    gateway = Gateway(cluster.ledger)
    gateway.living = list(cluster.gateway.living)
    cluster.gateway = cluster.runner._gateway = cluster.runner._drainer._actors = gateway
    cluster.ledger.sessions_by_id["s1"] = session_record(
        "s1", phase=SessionPhase.READY, workspace_node_id="n-2"
    )
    cluster.join()
    for _ in range(4):
        await cluster.look()
    gateway.asked.clear()
    return gateway


@pytest.mark.parametrize(
    "failing",
    [("pool-node-1", "open_session"), ("session-of-pool-node-1", "resume"), ("", "passivate")],
)
@pytest.mark.parametrize("lost", [False, True])
async def test_a_session_that_sleeps_for_its_move_is_resumed_whatever_fails(cluster, failing, lost):
    gateway = await with_a_session(cluster)
    gateway.failing.add(failing)
    cluster.ledger.is_stale = failing[1] == "passivate"
    await cluster.runner.drain("n-2")
    for _ in range(SETTLED_LOOKS + 2):
        await cluster.look()
    assert cluster.ledger.sessions_by_id["s1"].phase is SessionPhase.HIBERNATED
    assert cluster.book.records["n-2"].state is NodeState.DRAINING
    assert cluster.book.records["n-2"].moving == ("s1",)
    if lost:
        cluster.ray.living.clear()
        await cluster.look()
    gateway.failing.clear()
    cluster.ledger.is_stale = False
    await cluster.look()
    assert cluster.ledger.sessions_by_id["s1"].phase is SessionPhase.READY
    assert cluster.ledger.sessions_by_id["s1"].home == "node-1"
    assert cluster.book.records["n-2"].moving == ()


async def test_the_next_best_node_gets_what_the_best_one_refuses(cluster):
    gateway = await with_a_session(cluster)
    cluster.join("r3", "n-3")
    for _ in range(4):
        await cluster.look()
    first = placement.choose(cluster.runner.nodes(), refused=("n-2",))
    gateway.failing.add((f"pool-{first}", "open_session"))
    await cluster.runner.drain("n-2")
    await cluster.look()
    [other] = {"node-1", "n-3"} - {first}
    assert cluster.ledger.sessions_by_id["s1"].home == other


async def test_few_sleep_where_nothing_can_be_resumed(cluster):
    gateway = await with_a_session(cluster)
    for number in range(20):
        cluster.ledger.sessions_by_id[f"t{number}"] = session_record(
            f"t{number}", name=f"t{number}", phase=SessionPhase.READY, workspace_node_id="n-2"
        )
    gateway.failing.add(("pool-node-1", "open_session"))
    await cluster.runner.drain("n-2")
    for _ in range(3):
        await cluster.look()
    sessions = cluster.ledger.sessions_by_id.values()
    assert sum(each.phase is SessionPhase.HIBERNATED for each in sessions) == MAX_MOVING


async def test_a_sessions_last_owner_gives_it_up_before_another_node_gets_it(cluster):
    gateway = await with_a_session(cluster)
    await cluster.runner.drain("n-2")
    await cluster.look()
    assert [name for name in gateway.asked if name[1] != "stats"] == [
        ("pool-n-2", "open_session"),
        ("session-of-pool-n-2", "hibernate"),
        ("pool-node-1", "open_session"),
        ("session-of-pool-node-1", "resume"),
        ("health-n-2", "publish"),
    ]
    assert cluster.ledger.passivated == ["s1"]
    assert cluster.book.records["n-2"].moving == ()
    for _ in range(SETTLED_LOOKS + 1):
        await cluster.look()
    assert cluster.book.records["n-2"].state is NodeState.DRAINED


def test_what_sleeps_has_nothing_on_a_node():
    here = {"workspace_node_id": "n-2"}
    sessions = [
        session_record("s1", phase=SessionPhase.READY, **here),
        session_record("s2", phase=SessionPhase.HIBERNATED, **here),
        session_record("s3", phase=SessionPhase.READY, workspace_node_id="n-3"),
    ]
    assert [s.session_id for s in left_on("n-2", sessions)] == ["s1"]
