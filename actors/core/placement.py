"""Chooses the node on which a session is opened. No I/O, no clock.

Views are a moment old, and several replicas choose by the same ones: so each counts what it has just placed
itself (``after``), and a node without a warm container left comes after those that have one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from actors.core.records.nodes import NodeState, NodeView

LEAST_MEMORY = 0.08
"""A node with a smaller share of its memory free comes last."""


def takes_sessions(node: NodeView) -> bool:
    """Return whether sessions may be opened on a node."""
    return node.alive and node.state is NodeState.JOINED


def choose(nodes: Sequence[NodeView], *, refused: Collection[str] = ()) -> str | None:
    """Return the node with the most room, None when there is none but those that ``refused``."""
    able = [node for node in nodes if takes_sessions(node) and node.node_id not in refused]
    return min(able, key=_rank).node_id if able else None


def after(nodes: Sequence[NodeView], node_id: str) -> list[NodeView]:
    """Return the views as they are with one more session on a node."""
    return [
        node.model_copy(
            update={"warm": max(0, node.warm - 1), "containers": node.containers + (node.warm == 0)}
        )
        if node.node_id == node_id
        else node
        for node in nodes
    ]


def is_gone(nodes: Sequence[NodeView], node_id: str) -> bool:
    """Return whether a node is known to serve no session any more, or soon; none does that is not there."""
    serving = {n.node_id for n in nodes if not n.gone and n.state is NodeState.JOINED}
    return bool(nodes) and node_id not in serving


def _rank(node: NodeView) -> tuple[bool, bool, float, str]:
    in_use = node.containers - node.warm
    return (
        node.memory_free < LEAST_MEMORY,
        node.warm == 0,
        in_use / max(1, node.cpus),
        node.node_id,
    )
