"""Where sessions are opened."""

from __future__ import annotations

from collections import Counter

from actors.core.placement import LEAST_MEMORY, after, choose, is_gone
from actors.core.records.nodes import NodeState, NodeView


def node(node_id: str, **fields) -> NodeView:
    known = {"address": "10.0.0.1", "is_head": False, "state": NodeState.JOINED, "alive": True}
    return NodeView(node_id=node_id, **(known | fields))


def test_the_node_with_the_fewest_sessions_a_processor_is_chosen():
    nodes = [node("a", warm=2, containers=8, cpus=2), node("b", warm=2, containers=10, cpus=8)]
    assert choose(nodes) == "b"


def test_a_warm_container_counts_for_more_than_room():
    nodes = [node("a", warm=1, containers=9, cpus=2), node("b", warm=0, containers=0, cpus=8)]
    assert choose(nodes) == "a"


def test_a_node_that_is_short_of_memory_comes_last():
    nodes = [node("a", warm=5, memory_free=LEAST_MEMORY / 2), node("b", warm=0, containers=9)]
    assert choose(nodes) == "b"
    assert choose(nodes, refused={"b"}) == "a"


def test_nobody_is_sent_where_sessions_are_moved_away_or_nobody_answers():
    nodes = [
        node("a", alive=False),
        node("b", state=NodeState.DRAINING),
        node("c", gone=True, alive=False),
    ]
    assert choose(nodes) is None


def test_a_burst_seen_by_one_replica_is_spread_by_warm_containers_then_by_processors():
    nodes = [node("a", warm=4, containers=4, cpus=2), node("b", warm=4, containers=4, cpus=2)]
    placed: Counter[str] = Counter()
    for _ in range(20):
        chosen = choose(nodes)
        assert chosen is not None
        placed[chosen] += 1
        nodes = after(nodes, chosen)
    assert placed == {"a": 10, "b": 10}


def test_nodes_are_gone_that_have_left_or_are_not_there_and_none_where_nothing_is_known():
    nodes = [
        node("a", gone=True, alive=False),
        node("b", alive=False),
        node("c", state=NodeState.DRAINED),
    ]
    assert [is_gone(nodes, each) for each in "abcd"] == [True, False, True, True]
    assert not is_gone([], "a")
