"""What the store keeps of nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors.core.errors.base import Busy
from actors.core.errors.requests import NotFound
from actors.core.ports.ledger import ClaimRequest
from actors.core.records.nodes import LEAVING, NodeRecord, NodeState
from cluster.store.layers.nodes import NodeStore
from cluster.store.ledger import StoreLedger
from tests.fakes.engines import opened_engine
from tests.fakes.pool_fakes import ManualClock


@pytest.fixture
async def nodes(tmp_path):
    async with opened_engine("lmdb_faulty", tmp_path) as engine:
        yield NodeStore(engine, "default")


def record(ray_node_id: str = "r1", node_id: str = "n-1") -> NodeRecord:
    return NodeRecord(
        node_id=node_id,
        ray_node_id=ray_node_id,
        address="10.0.0.2",
        version="1",
        settings={"pool_size": 2},
        joined_at=1.0,
    )


async def test_a_node_that_comes_back_is_emptied_on_and_one_that_is_started_anew_is_not(nodes):
    await nodes.join(record())
    await nodes.set_state("n-1", NodeState.DRAINING)
    await nodes.join(record("r2"), again=True)
    assert [known.state for known in await nodes.listed()] == [NodeState.DRAINING]
    await nodes.join(record("r3"))
    assert (await nodes.node("n-1")) == record("r3")


async def test_what_an_earlier_life_of_a_node_does_late_changes_nothing(nodes):
    await nodes.join(record("r2"))
    await nodes.note_ready(record("r1"), 5.0)
    await nodes.leave("n-1", "r1")
    assert await nodes.node("n-1") == record("r2")
    await nodes.note_ready(record("r2"), 5.0)
    known = await nodes.node("n-1")
    assert known is not None
    assert known.ready_at == 5.0
    await nodes.leave("n-1", "r2")
    assert await nodes.listed() == []


async def test_what_was_emptied_is_known_after_it_has_left(nodes):
    await nodes.join(record())
    await nodes.set_moving("n-1", "s1", moving=True)
    await nodes.leave("n-1", "r1")
    await nodes.join(record("r2"), again=True)
    assert (await nodes.node("n-1")).moving == ("s1",)
    await nodes.set_moving("n-1", "s1", moving=False)
    await nodes.set_state("n-1", NodeState.DRAINED)
    await nodes.leave("n-1", "r2")
    assert [known.state for known in await nodes.listed()] == [NodeState.DRAINED]
    await nodes.forget("n-1", "r2")
    assert await nodes.listed() == []


async def test_a_node_that_is_to_be_emptied_opens_only_what_leaves_it(tmp_path):
    async with opened_engine("lmdb_faulty", tmp_path) as engine:
        nodes = NodeStore(engine, "default")
        ledger = StoreLedger(engine, "default", ManualClock(1.0))
        await nodes.join(record())
        there = ClaimRequest(
            user_id="u1", name="main", new_session_id="s1", new_workspace_id="w1",
            actor_id="a1", node_id="n-1", container_id=None, now=1.0,
        )  # fmt: skip
        made = await ledger.claim(there)
        await nodes.set_state("n-1", NodeState.DRAINING)
        assert (await ledger.claim(replace(there, actor_id="a2"))).session == made.session
        await ledger.passivate(made.session)
        for request in (there, replace(there, name="other", new_session_id="s2", actor_id="a2")):
            with pytest.raises(Busy, match=LEAVING):
                await ledger.claim(request)
        assert (await ledger.claim(replace(there, may_leave=True))).won


async def test_a_node_that_nobody_knows_has_no_state(nodes):
    with pytest.raises(NotFound):
        await nodes.set_state("n-1", NodeState.DRAINING)
