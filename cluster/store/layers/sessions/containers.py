"""Containers in the store. Every function takes a transaction."""

from __future__ import annotations

import json

from actors.core.records.containers import ContainerRecord, ContainerStatus
from actors.core.records.sessions import SessionRecord
from cluster.store.layers import changes
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction


async def get(tr: Transaction, keys: Keyspace, container_id: str) -> ContainerRecord | None:
    """Return a container."""
    return decode_optional(ContainerRecord, await tr.get(keys.containers.key(container_id)))


async def of_session(
    tr: Transaction, keys: Keyspace, session: SessionRecord
) -> ContainerRecord | None:
    """Return the container that a session's record names."""
    return await get(tr, keys, session.container_id) if session.container_id is not None else None


async def all_live(tr: Transaction, keys: Keyspace) -> list[ContainerRecord]:
    """Return the containers that have not been stopped. Snapshot reads."""
    pairs = await tr.get_range(keys.containers.range(), snapshot=True)
    records = (decode(ContainerRecord, data) for _, data in pairs)
    return [record for record in records if record.status is not ContainerStatus.STOPPED]


async def of_user(tr: Transaction, keys: Keyspace, user_id: str) -> list[ContainerRecord]:
    """Return the containers that a user has."""
    pairs = await tr.get_range(keys.user_containers.range(user_id), snapshot=True)
    ids = [keys.user_containers.unpack(key)[1] for key, _ in pairs]
    found = await tr.get_many(
        [keys.containers.key(container_id) for container_id in ids], snapshot=True
    )
    return [decode(ContainerRecord, data) for data in found if data is not None]


def put(tr: Transaction, keys: Keyspace, record: ContainerRecord) -> None:
    """Write a container, and when it has a user the entry that says so."""
    tr.set(keys.containers.key(record.container_id), encode(record))
    changes.note(tr, keys, changes.containers_of(record.node_id), record.container_id)
    if record.user_id is not None:
        assigned = json.dumps({"assigned_at": record.assigned_at or record.created_at})
        tr.set(keys.user_containers.key(record.user_id, record.container_id), assigned.encode())


async def remove(tr: Transaction, keys: Keyspace, container_id: str) -> None:
    """Forget a container."""
    record = await get(tr, keys, container_id)
    if record is None:
        return
    tr.clear(keys.containers.key(container_id))
    changes.note(tr, keys, changes.containers_of(record.node_id), container_id)
    if record.user_id is not None:
        tr.clear(keys.user_containers.key(record.user_id, container_id))
