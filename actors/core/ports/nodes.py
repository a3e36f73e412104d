"""The nodes of a server as the Supervisor uses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.core.records.nodes import NodeRecord, NodeState


class NodeBook(Protocol):
    """The records of nodes that joined."""

    async def listed(self) -> Sequence[NodeRecord]:
        """Return all of them."""
        ...

    async def node(self, node_id: str) -> NodeRecord | None:
        """Return one."""
        ...

    async def note_ready(self, record: NodeRecord, now: float) -> None:
        """Note that the actors of a node answer, unless it has joined anew since."""

    async def forget(self, node_id: str, ray_node_id: str) -> None:
        """Forget a node, unless it has joined anew. Idempotent."""

    async def set_moving(self, node_id: str, session_id: str, *, moving: bool) -> NodeRecord:
        """Note that a session is being moved away, or is no more. Idempotent. Raises NotFound."""
        ...

    async def set_state(self, node_id: str, state: NodeState) -> NodeRecord:
        """Change a node's state. Raises NotFound."""
        ...
