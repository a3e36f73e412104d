"""Sessions in the store: who owns which, under which epoch. Every function takes a transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence

from actors.core.errors.limits import TooManyRequests
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import Fenced, SlotGone
from actors.core.names import DEFAULT_SESSION
from actors.core.records.containers import ContainerRecord, ContainerStatus
from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.store.engines.interface import KeyRange, key_after
from cluster.store.layers import changes
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import containers, leases, terminals
from cluster.store.transactions.transaction import Transaction


async def get(tr: Transaction, keys: Keyspace, session_id: str) -> SessionRecord | None:
    """Return a session."""
    return decode_optional(SessionRecord, await tr.get(keys.sessions.key(session_id)))


async def by_id(
    tr: Transaction, keys: Keyspace, session_ids: Sequence[str]
) -> dict[str, SessionRecord]:
    """Return those of some sessions that have not ended. Snapshot reads, all of one moment."""
    found = await tr.get_many([keys.sessions.key(each) for each in session_ids], snapshot=True)
    records = (decode(SessionRecord, data) for data in found if data is not None)
    return {record.session_id: record for record in records}


async def of_user(tr: Transaction, keys: Keyspace, user_id: str, name: str) -> SessionRecord | None:
    """Return the user's live session of that name."""
    session_id = await tr.get(keys.session_names.key(user_id, name))
    return await get(tr, keys, session_id.decode()) if session_id is not None else None


async def all_of_user(tr: Transaction, keys: Keyspace, user_id: str) -> list[SessionRecord]:
    """Return the user's live sessions, by name."""
    names = await tr.get_range(keys.session_names.range(user_id))
    found = await tr.get_many([keys.sessions.key(value.decode()) for _, value in names])
    return [decode(SessionRecord, data) for data in found if data is not None]


async def page(
    tr: Transaction, keys: Keyspace, after: str | None, limit: int
) -> list[SessionRecord]:
    """Return sessions by id, after ``after``. Snapshot reads: a list does not conflict with work."""
    begin, end = keys.sessions.range()
    if after is not None:
        begin = key_after(keys.sessions.key(after))
    pairs = await tr.get_range(KeyRange(begin, end), limit=limit, snapshot=True)
    return [decode(SessionRecord, data) for _, data in pairs]


async def bound_to(tr: Transaction, keys: Keyspace, actor_id: str) -> SessionRecord | None:
    """Return the session that an actor owns."""
    session_id = await tr.get(keys.bindings.key(actor_id))
    if session_id is None:
        return None
    record = await get(tr, keys, session_id.decode())
    return record if record is not None and record.owner_actor_id == actor_id else None


async def require(tr: Transaction, keys: Keyspace, mine: SessionRecord) -> SessionRecord:
    """Return what is stored, if the epoch and owner of ``mine`` still rule. Raises Fenced."""
    stored = await get(tr, keys, mine.session_id)
    if stored is None:
        raise Fenced(mine.session_id, mine.epoch, mine.epoch + 1)
    if stored.epoch != mine.epoch or stored.owner_actor_id != mine.owner_actor_id:
        raise Fenced(mine.session_id, mine.epoch, stored.epoch)
    return stored


def put(tr: Transaction, keys: Keyspace, record: SessionRecord) -> None:
    """Write a record; the caller has checked that it may."""
    tr.set(keys.sessions.key(record.session_id), encode(record))
    changes.note(tr, keys, changes.SESSIONS, record.session_id)


def set_owner(
    tr: Transaction,
    keys: Keyspace,
    record: SessionRecord,
    actor_id: str | None,
    node_id: str | None,
    now: float,
) -> SessionRecord:
    """Give the session to an actor under a new epoch, or to nobody under the old one."""
    if record.owner_actor_id is not None:
        tr.clear(keys.bindings.key(record.owner_actor_id))
    changed = record.model_copy(
        update={
            "owner_actor_id": actor_id,
            "owner_node_id": node_id,
            "epoch": record.epoch + (actor_id is not None),
            "updated_at": now,
        }
    )
    tr.clear(keys.leases.key(record.session_id))
    if actor_id is not None:
        tr.set(keys.bindings.key(actor_id), record.session_id.encode())
    put(tr, keys, changed)
    return changed


async def activate(
    tr: Transaction,
    keys: Keyspace,
    session_id: str,
    *,
    actor_id: str,
    node_id: str,
    now: float,
    dead_actor_id: str | None,
    lapsed: str | None,
) -> SessionRecord:
    """Make the actor the owner. Raises NotFound, or Fenced when another actor than the dead one owns."""
    record = await get(tr, keys, session_id)
    if record is None:
        raise NotFound("session", session_id)
    if record.owner_actor_id not in {None, dead_actor_id, actor_id}:
        raise Fenced(session_id, record.epoch, record.epoch)
    if record.owner_actor_id is not None and not await leases.is_still(
        tr, keys, session_id, lapsed
    ):
        raise Fenced(session_id, record.epoch, record.epoch)
    return set_owner(tr, keys, record, actor_id, node_id, now)


async def end(
    tr: Transaction, keys: Keyspace, record: SessionRecord, *, left_on: str | None, now: float
) -> bool:
    """Remove a session with its name and binding. Raises Fenced; false, and nothing done, the second time.

    ``left_on``: the node on which its workspace is left to be removed.
    """
    if await get(tr, keys, record.session_id) is None:
        return False
    await require(tr, keys, record)
    tr.clear(keys.sessions.key(record.session_id))
    changes.note(tr, keys, changes.SESSIONS, record.session_id)
    tr.clear(keys.leases.key(record.session_id))
    tr.clear(keys.idleness.key(record.session_id))
    tr.clear(keys.activity.key(record.session_id))
    tr.clear(keys.port_shares.key(record.session_id))
    changes.note(tr, keys, changes.NETWORKS, record.session_id)
    tr.clear(keys.networks.key(record.session_id))
    tr.clear(keys.egress_use.key(record.session_id))
    tr.clear(keys.unarchived.key(record.session_id))
    tr.clear(keys.unrestored.key(record.session_id))
    tr.clear(keys.dotfiles.key(record.session_id))
    await terminals.forget_all(tr, keys, record.session_id)
    name = keys.session_names.key(record.user_id, record.name)
    if await tr.get(name) == record.session_id.encode():
        tr.clear(name)
    if record.owner_actor_id is not None:
        tr.clear(keys.bindings.key(record.owner_actor_id))
    if left_on is not None:
        key = keys.left_workspaces.key(left_on, record.workspace_id)
        tr.set(key, json.dumps({"ended_at": now}).encode())
    return True


async def left_workspaces(
    tr: Transaction, keys: Keyspace, node_id: str, limit: int
) -> dict[str, float]:
    """Return the workspaces that ended sessions left on a node, with when they ended."""
    left = keys.left_workspaces.range(node_id)
    pairs = await tr.get_range(left, limit=limit, snapshot=True)
    return {
        str(keys.left_workspaces.unpack(key)[-1]): float(json.loads(value)["ended_at"])
        for key, value in pairs
    }


async def require_place(
    tr: Transaction, keys: Keyspace, blank: SessionRecord, max_sessions: int
) -> None:
    """Raise TooManyRequests if the user may have no session more.

    One place is kept for the default session, so that signing in always leads to one. The names that
    are read conflict: of two sessions made at once, by whichever replicas, one is counted first.
    """
    if blank.name == DEFAULT_SESSION:
        return
    span = keys.session_names.range(blank.user_id)
    names = [keys.session_names.unpack(key)[-1] for key, _ in await tr.get_range(span)]
    others = sum(name != DEFAULT_SESSION for name in names)
    if others >= max_sessions - 1:
        raise TooManyRequests(f"live sessions: end one of {len(names)}", 60.0)


async def create(
    tr: Transaction,
    keys: Keyspace,
    blank: SessionRecord,
    container_id: str | None,
    now: float,
) -> SessionRecord:
    """Create a session, taking over a warm container and its workspace. Raises SlotGone."""
    record = blank
    if container_id is not None:
        warm = await containers.get(tr, keys, container_id)
        if warm is None or warm.status is not ContainerStatus.WARM:
            raise SlotGone(container_id, warm.status if warm else "gone")
        assigned = _assign(warm, blank, now)
        containers.put(tr, keys, assigned)
        record = blank.model_copy(
            update={
                "phase": SessionPhase.READY,
                "workspace_id": warm.workspace_id,
                "workspace_node_id": warm.node_id,
                "container_id": container_id,
                "container_url": warm.cloud_run_url
                or (warm.handle.address if warm.handle else None),
                "container_status": ContainerStatus.READY,
            }
        )
    put(tr, keys, record)
    tr.set(keys.session_names.key(record.user_id, record.name), record.session_id.encode())
    if record.owner_actor_id is not None:
        tr.set(keys.bindings.key(record.owner_actor_id), record.session_id.encode())
    return record


def _assign(warm: ContainerRecord, session: SessionRecord, now: float) -> ContainerRecord:
    return warm.model_copy(
        update={
            "status": ContainerStatus.READY,
            "session_id": session.session_id,
            "user_id": session.user_id,
            "assigned_at": now,
        }
    )
