"""Keeps the nodes that joined a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.core.errors.base import Busy
from actors.core.errors.requests import NotFound
from actors.core.records.nodes import NodeRecord, NodeState
from cluster.store.engines.interface import Engine
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction, transact

MAX_NODES = 1000


class NodeStore:
    """Implements ``actors.core.ports.nodes.NodeBook``; each method is one transaction."""

    def __init__(self, engine: Engine, tenant_id: str) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)

    async def listed(self) -> Sequence[NodeRecord]:
        """Return all nodes, by id."""
        return await transact(self._engine, self._all)

    async def node(self, node_id: str) -> NodeRecord | None:
        """Return one."""

        async def work(tr: Transaction) -> NodeRecord | None:
            return decode_optional(NodeRecord, await tr.get(self._keys.nodes.key(node_id)))

        return await transact(self._engine, work)

    async def join(self, record: NodeRecord, *, again: bool = False) -> None:
        """Note that a node has joined; ``again``, after it was lost, it is emptied on if it was to be.

        Raises Busy when there are as many nodes as there may be.
        """

        async def work(tr: Transaction) -> None:
            key = self._keys.nodes.key(record.node_id)
            known = decode_optional(NodeRecord, await tr.get(key))
            if known is None and len(await self._all(tr)) >= MAX_NODES:
                raise Busy("nodes", 60.0)
            kept: dict[str, object] = {}
            if known is not None:
                kept = {"moving": known.moving} | ({"state": known.state} if again else {})
            tr.set(key, encode(record.model_copy(update=kept)))

        await transact(self._engine, work)

    async def leave(self, node_id: str, ray_node_id: str) -> None:
        """Forget a node that ends, as ``forget`` does; that one has been emptied is known for a while.

        So is one whose sessions sleep until they are resumed elsewhere.
        """
        await self._forget(
            node_id, ray_node_id, lambda r: r.state is not NodeState.DRAINED and not r.moving
        )

    async def forget(self, node_id: str, ray_node_id: str) -> None:
        """Forget a node, unless it has joined anew. Idempotent."""
        await self._forget(node_id, ray_node_id, lambda _: True)

    async def _forget(
        self, node_id: str, ray_node_id: str, may: Callable[[NodeRecord], bool]
    ) -> None:
        async def work(tr: Transaction) -> None:
            key = self._keys.nodes.key(node_id)
            known = decode_optional(NodeRecord, await tr.get(key))
            if known is not None and known.ray_node_id == ray_node_id and may(known):
                tr.clear(key)

        await transact(self._engine, work)

    async def note_ready(self, record: NodeRecord, now: float) -> None:
        """Note that the actors of a node answer, unless it has joined anew since."""

        def change(known: NodeRecord) -> NodeRecord:
            if known.ray_node_id != record.ray_node_id:
                return known
            return known.model_copy(update={"ready_at": now})

        await self._change(record.node_id, change)

    async def set_moving(self, node_id: str, session_id: str, *, moving: bool) -> NodeRecord:
        """Note that a session is being moved away, or is no more. Idempotent. Raises NotFound."""

        def change(known: NodeRecord) -> NodeRecord:
            others = tuple(each for each in known.moving if each != session_id)
            return known.model_copy(update={"moving": (*others, session_id) if moving else others})

        return await self._change(node_id, change)

    async def set_state(self, node_id: str, state: NodeState) -> NodeRecord:
        """Change a node's state. Raises NotFound."""
        return await self._change(node_id, lambda known: known.model_copy(update={"state": state}))

    async def _all(self, tr: Transaction) -> list[NodeRecord]:
        found = await tr.get_range(self._keys.nodes.range(), limit=MAX_NODES)
        return [decode(NodeRecord, value) for _, value in found]

    async def _change(self, node_id: str, change: Callable[[NodeRecord], NodeRecord]) -> NodeRecord:
        async def work(tr: Transaction) -> NodeRecord:
            key = self._keys.nodes.key(node_id)
            known = decode_optional(NodeRecord, await tr.get(key))
            if known is None:
                raise NotFound("node", node_id)
            changed = change(known)
            if changed != known:
                tr.set(key, encode(changed))
            return changed

        return await transact(self._engine, work)
