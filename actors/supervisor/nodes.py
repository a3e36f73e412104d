"""Keeps up with the nodes of a server: which are there, what they have room for, which are to be emptied.

A node says itself, in the store, that it has joined; Ray says whether it lives. Nothing of Ray here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from actors.core.names import pool_actor
from actors.core.ports.clock import Clock
from actors.core.ports.nodes import NodeBook
from actors.core.records.nodes import NodeRecord, NodeState, NodeView
from actors.supervisor.plan import Component

logger = logging.getLogger(__name__)

KEEP_SECONDS = 86_400.0
KEEP_EMPTIED_SECONDS = 3_600.0
"""For how long nodes are known that are away: who looks learns what became of them."""


class RayNodes(Protocol):
    """The nodes as Ray has them."""

    async def alive(self) -> Collection[str]:
        """Return Ray's ids of the nodes that live. Raises Unavailable."""
        ...

    def components(self, record: NodeRecord) -> Sequence[Component]:
        """Learn how to make the actors of a node; return what they are."""
        ...


class NodeKeeper:
    """The nodes that joined the head, which is ``head``. Belongs to one event loop."""

    def __init__(self, book: NodeBook, ray_nodes: RayNodes, clock: Clock, head: NodeView) -> None:
        self._book = book
        self._ray = ray_nodes
        self._clock = clock
        self._head = head
        self._records: dict[str, NodeRecord] = {}
        self._present: dict[str, NodeRecord] = {}
        self._away_since: dict[str, float] = {}
        self.known = asyncio.Event()
        """Set once the nodes have been looked at."""

    async def refresh(self) -> dict[str, Sequence[Component]]:
        """Look again; return the components of each node that has come, or none of each that has gone."""
        records = await self._book.listed()
        alive = await self._ray.alive() if records else ()
        self._records = {record.node_id: record for record in records}
        present = {
            record.node_id: record
            for record in records
            if record.ray_node_id in alive and record.state is not NodeState.DRAINED
        }
        changed: dict[str, Sequence[Component]] = dict.fromkeys(
            self._present.keys() - present.keys(), ()
        )
        for node_id, record in present.items():
            before = self._present.get(node_id)
            if before is None or before.ray_node_id != record.ray_node_id:
                changed[node_id] = self._ray.components(record)
        for node_id, components in changed.items():
            logger.warning("node %s has %s", node_id, "come" if components else "gone")
        self._present = present
        now = self._clock.monotonic()
        self._away_since = {
            node_id: self._away_since.get(node_id, now)
            for node_id in self._records.keys() - present.keys()
        }
        self.known.set()
        return changed

    async def note_ready(self, is_ready: Callable[[str], bool]) -> None:
        """Note for each node that has come that its actors answer, once they do."""
        for node_id, record in self._present.items():
            if record.ready_at is None and is_ready(node_id):
                await self._book.note_ready(record, self._clock.now())

    async def set_state(self, node_id: str, state: NodeState) -> None:
        """Change a node's state. Raises NotFound."""
        changed = await self._book.set_state(node_id, state)
        self._records[node_id] = changed

    async def forget_lost(self) -> None:
        """Forget the nodes that have been away for long, but not those whose sessions still sleep."""
        now = self._clock.monotonic()
        for node_id, since in list(self._away_since.items()):
            record = self._records[node_id]
            emptied = record.state is not NodeState.JOINED
            keep = KEEP_EMPTIED_SECONDS if emptied else KEEP_SECONDS
            if now - since >= keep and not record.moving:
                await self._book.forget(node_id, record.ray_node_id)
                del self._records[node_id], self._away_since[node_id]

    def to_empty(self) -> list[str]:
        """Return the nodes that are to be emptied; of those that are lost, whose sessions still sleep."""
        return [
            record.node_id
            for record in self._records.values()
            if record.state is NodeState.DRAINING
            and (record.moving or record.node_id in self._present)
        ]

    def is_present(self, node_id: str) -> bool:
        """Return whether a node lives, as far as Ray knows."""
        return node_id in self._present

    def moving(self, node_id: str) -> Collection[str]:
        """Return the sessions that are being moved away from a node."""
        return self._records[node_id].moving if node_id in self._records else ()

    async def set_moving(self, node_id: str, session_id: str, *, moving: bool) -> None:
        """Note that a session is being moved away from a node, or is no more. Raises NotFound."""
        changed = await self._book.set_moving(node_id, session_id, moving=moving)
        self._records[node_id] = changed

    def views(self, answers: Mapping[str, Mapping[str, Any]]) -> list[NodeView]:
        """Return all nodes, the head first; ``answers`` are the components' to their last ping, by name."""
        nodes = [
            NodeView(
                node_id=record.node_id,
                address=record.address,
                is_head=False,
                state=record.state,
                alive=False,
                gone=record.node_id not in self._present,
                labels=record.labels,
                version=record.version,
                joined_at=record.joined_at,
            )
            for record in self._records.values()
        ]
        return [_with_room(node, answers) for node in [self._head, *nodes]]


def _with_room(node: NodeView, answers: Mapping[str, Mapping[str, Any]]) -> NodeView:
    answer = answers.get(str(pool_actor(node.node_id)))
    if answer is None or node.gone:
        return node
    room = {
        name: answer[name]
        for name in ("warm", "containers", "cpus", "memory_free")
        if name in answer
    }
    return node.model_copy(update={"alive": bool(answer.get("ready")), **room})
