"""What the store keeps of nodes."""

from __future__ import annotations

import pytest

from actors.core.errors.requests import NotFound
from actors.core.records.nodes import NodeRecord, NodeState
from cluster.store.layers.nodes import NodeStore
from tests.fakes.engines import opened_engine


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


async def test_a_node_that_nobody_knows_has_no_state(nodes):
    with pytest.raises(NotFound):
        await nodes.set_state("n-1", NodeState.DRAINING)
