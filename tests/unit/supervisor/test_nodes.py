"""Nodes that join, are lost, come back and are emptied, over fakes."""

from __future__ import annotations

import pytest

from actors.core.errors.requests import NotFound
from actors.core.records.nodes import NodeRecord, NodeState, NodeView
from actors.core.records.sessions import Opened, SessionPhase
from actors.supervisor.drain import left_on
from actors.supervisor.nodes import NodeKeeper
from actors.supervisor.plan import Component
from actors.supervisor.reconciler import SETTLED_LOOKS
from tests.fakes.pool_fakes import session_record
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

    async def leave(self, node_id, ray_node_id):
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

    async def call(self, name, called, timeout_seconds, /, *args, **named):
        if called.__name__ == "ping":
            answer = await super().call(name, called, timeout_seconds)
            return answer | {"warm": 1, "containers": 1, "cpus": 2, "memory_free": 0.5}
        self.asked.append((str(name), called.__name__))
        session = self.ledger.sessions_by_id.get(
            named.get("session_id") or (args[0] if args else "")
        )
        match called.__name__:
            case "open_session":
                return Opened(
                    session_id=session.session_id, actor_id=f"of-{name}", created=False,
                    warm_actor=True, warm_container=False,
                )  # fmt: skip
            case "hibernate":
                return session.model_copy(update={"phase": SessionPhase.HIBERNATED})
        return None


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


async def test_a_lost_node_that_is_to_be_emptied_is_forgotten(cluster):
    cluster.join()
    for _ in range(3):
        await cluster.look()
    cluster.ray.living.clear()
    await cluster.look()
    await cluster.runner.drain("n-2")
    await cluster.look()
    assert [view.node_id for view in cluster.runner.nodes()] == ["node-1"]


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


async def test_a_sessions_last_owner_gives_it_up_before_another_node_gets_it(cluster):
    gateway = Gateway(cluster.ledger)
    cluster.runner._gateway = cluster.runner._drainer._actors = gateway
    gateway.living = list(cluster.gateway.living)
    session = session_record("s1", phase=SessionPhase.READY, workspace_node_id="n-2")
    cluster.ledger.sessions_by_id["s1"] = session
    cluster.join()
    for _ in range(3):
        await cluster.look()
    gateway.asked.clear()
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
    cluster.ledger.sessions_by_id["s1"] = session.model_copy(update={"workspace_node_id": "node-1"})
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
