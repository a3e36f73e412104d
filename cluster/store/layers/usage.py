"""Counts what users have, and compares it with what they may have. Every function takes a transaction.

Bytes and paths of files and bytes of journals are counters: the transaction that changes what there is
adds the difference, which conflicts with nobody. They are compared with limits by snapshot reads, so of
two that grow at once both may be let in: a user can be above a limit by what is committed in one moment.
Containers and sessions are few and are counted where they are listed, exactly.

A counter can be compared with what there is at any time (``reconcile``): at one read version, a counter
and the sum that it stands for differ by its error alone, and taking off an error conflicts with nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from actors.core.errors.limits import ContainersExceeded, QuotaExceeded
from actors.core.errors.requests import NotFound
from actors.core.quotas import Amount, Quotas, Resource, Room, Usage
from actors.core.records.archive import Unarchived, Unrestored
from actors.core.records.base import Record
from actors.core.records.containers import ContainerRecord, ContainerStatus
from actors.core.records.sessions import SessionRecord
from actors.core.records.terminals import TerminalRecord
from cluster.store.engines.interface import KeyRange, MutationKind, key_after
from cluster.store.layers.codec import decode, decode_optional, encode
from cluster.store.layers.entries import ManifestHead
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction

COUNTED = (Resource.FILE_BYTES, Resource.FILES, Resource.JOURNAL_BYTES)
_EXACT = (Resource.VARIABLES, Resource.VARIABLE_BYTES)
"""Counted by the one transaction that changes them: there is nothing to compare them with."""

_COUNTER_BYTES = 8
_GONE = frozenset({ContainerStatus.STOPPED, ContainerStatus.LOST, ContainerStatus.FAILED})


# ---- limits -----------------------------------------------------------------------------------------


async def overrides(tr: Transaction, keys: Keyspace, user_id: str) -> dict[str, int]:
    """Return the limits that a user has in place of the settings'. Does not conflict."""
    return (await overrides_of(tr, keys, [user_id]))[0]


async def overrides_of(
    tr: Transaction, keys: Keyspace, user_ids: Sequence[str]
) -> list[dict[str, int]]:
    """Return the limits that each user has in place of the settings'. Does not conflict."""
    found = await tr.get_many([keys.quotas.key(user_id) for user_id in user_ids], snapshot=True)
    return [_parse(data) for data in found]


async def override(
    tr: Transaction, keys: Keyspace, user_id: str, changes: Mapping[Resource, int | None]
) -> dict[str, int]:
    """Set limits of a user (0: unlimited) and take back those that are None. Raises NotFound."""
    if await tr.get(keys.users.key(user_id)) is None:
        raise NotFound("user", user_id)
    key = keys.quotas.key(user_id)
    known = _parse(await tr.get(key))
    for resource, limit in changes.items():
        known.pop(resource.value, None)
        if limit is not None:
            known[resource.value] = limit
    if known:
        tr.set(key, json.dumps(known).encode())
    else:
        tr.clear(key)
    return known


def _parse(data: bytes | None) -> dict[str, int]:
    known: dict[str, int] = json.loads(data) if data else {}
    return known


# ---- counters ---------------------------------------------------------------------------------------


def add(tr: Transaction, keys: Keyspace, resource: Resource, user_id: str, amount: int) -> None:
    """Note that a user has more of something, or less. Does not conflict."""
    if amount and user_id:
        operand = amount.to_bytes(_COUNTER_BYTES, "little", signed=True)
        tr.atomic(MutationKind.ADD, keys.usage.key(resource.value, user_id), operand)


def add_files(tr: Transaction, keys: Keyspace, user_id: str, amount: Amount) -> None:
    """Note that a user's workspaces have more in them, or less."""
    add(tr, keys, Resource.FILE_BYTES, user_id, amount.size)
    add(tr, keys, Resource.FILES, user_id, amount.files)


async def room(tr: Transaction, keys: Keyspace, user_id: str, defaults: Quotas) -> Room:
    """Return what a user has and may have of files. Does not conflict."""
    data, *counters = await tr.get_many(room_keys(keys, user_id), snapshot=True)
    limits = defaults.overridden(_parse(data))
    size, files = map(_number, counters)
    return Room(
        Usage(size, limits.limit(Resource.FILE_BYTES)), Usage(files, limits.limit(Resource.FILES))
    )


def room_keys(keys: Keyspace, user_id: str) -> list[bytes]:
    """Return what ``room`` reads, for those who read it together with something else."""
    counted = (Resource.FILE_BYTES, Resource.FILES)
    return [keys.quotas.key(user_id), *(keys.usage.key(r.value, user_id) for r in counted)]


async def room_of_session(
    tr: Transaction, keys: Keyspace, session_id: str, defaults: Quotas
) -> Room:
    """Return what the user of a session has and may have of files. Raises NotFound."""
    data = await tr.get(keys.sessions.key(session_id), snapshot=True)
    if data is None:
        raise NotFound("session", session_id)
    return await room(tr, keys, decode(SessionRecord, data).user_id, defaults)


async def of_user(
    tr: Transaction, keys: Keyspace, user_id: str, defaults: Quotas
) -> dict[Resource, Usage]:
    """Return what a user has and may have of everything. Does not conflict.

    All is asked for at once, and may be of versions that differ by a moment.
    """
    counted = (*COUNTED, *_EXACT)
    wanted = [keys.quotas.key(user_id), *(keys.usage.key(r.value, user_id) for r in counted)]
    (data, *counters), names, there = await asyncio.gather(
        tr.get_many(wanted, snapshot=True),
        tr.get_range(keys.session_names.range(user_id), snapshot=True),
        _containers(tr, keys, user_id, snapshot=True),
    )
    limits = defaults.overridden(_parse(data))
    used = dict(zip(counted, map(_number, counters), strict=True))
    used |= {Resource.SESSIONS: len(names), Resource.CONTAINERS: len(there)}
    # Right after an upgrade a counter may be behind what is taken off it.
    return {r: Usage(max(0, used[r]), limits.limit(r)) for r in Resource}


async def over(
    tr: Transaction, keys: Keyspace, resource: Resource, defaults: Quotas
) -> dict[str, Usage]:
    """Return the users who have more of a counted resource than they may, with how much."""
    changed = {
        str(keys.quotas.unpack(key)[0]): _parse(data)
        for key, data in await _pages(tr, keys.quotas.range())
    }
    found: dict[str, Usage] = {}
    for key, data in await _pages(tr, keys.usage.range(resource.value)):
        user_id, used = str(keys.usage.unpack(key)[1]), _number(data)
        limit = defaults.overridden(changed.get(user_id, {})).limit(resource)
        if limit is not None and used > limit:
            found[user_id] = Usage(used, limit)
    return found


async def _pages(tr: Transaction, span: KeyRange) -> list[tuple[bytes, bytes]]:
    """Return all pairs of a range of small values. Does not conflict."""
    found: list[tuple[bytes, bytes]] = []
    begin = span.begin
    while True:
        page = await tr.get_range(KeyRange(begin, span.end), limit=_PAGE, snapshot=True)
        found += page
        if len(page) < _PAGE:
            return found
        begin = key_after(page[-1][0])


_PAGE = 5000


async def take(
    tr: Transaction, keys: Keyspace, user_id: str, growth: Mapping[Resource, int], defaults: Quotas
) -> None:
    """Count what is added, or taken off, exactly. Raises QuotaExceeded for what does not fit."""
    counters = await tr.get_many([keys.usage.key(each.value, user_id) for each in growth])
    limits = defaults.overridden(await overrides(tr, keys, user_id))
    for (resource, amount), data in zip(growth.items(), counters, strict=True):
        used, limit = _number(data), limits.limit(resource)
        if amount > 0 and limit is not None and used + amount > limit:
            raise QuotaExceeded(resource.value, used, limit, amount)
        add(tr, keys, resource, user_id, amount)


# ---- containers -------------------------------------------------------------------------------------


async def require_container(
    tr: Transaction, keys: Keyspace, user_id: str, session_id: str, defaults: Quotas
) -> None:
    """Raise ContainersExceeded if a session of the user may not have a container besides the others'.

    What is read conflicts: of two that ask for the last one, one gets it. The session's own do not
    count: one that is being replaced may still be there.
    """
    limits = defaults.overridden(await overrides(tr, keys, user_id))
    limit = limits.limit(Resource.CONTAINERS)
    if limit is None:
        return
    others = [
        record
        for record in await _containers(tr, keys, user_id, snapshot=False)
        if record.session_id != session_id
    ]
    if len(others) < limit:
        return
    named = {
        value.decode(): str(keys.session_names.unpack(key)[1])
        for key, value in await tr.get_range(keys.session_names.range(user_id), snapshot=True)
    }
    holders = {named.get(record.session_id or "", record.session_id or "-") for record in others}
    raise ContainersExceeded(len(others), limit, tuple(sorted(holders)))


async def _containers(
    tr: Transaction, keys: Keyspace, user_id: str, *, snapshot: bool
) -> list[ContainerRecord]:
    pairs = await tr.get_range(keys.user_containers.range(user_id), snapshot=snapshot)
    ids = [keys.user_containers.unpack(key)[1] for key, _ in pairs]
    # Their records do not conflict: a health check writes them, and the list is what matters.
    found = await tr.get_many([keys.containers.key(each) for each in ids], snapshot=True)
    records = [decode(ContainerRecord, data) for data in found if data is not None]
    return [record for record in records if record.status not in _GONE]


# ---- what is not archived, or not put back ----------------------------------------------------------


async def unarchived(tr: Transaction, keys: Keyspace, session_id: str) -> Unarchived | None:
    """Return what is not archived of a session's workspace. Does not conflict."""
    data = await tr.get(keys.unarchived.key(session_id), snapshot=True)
    return decode_optional(Unarchived, data)


async def unrestored(tr: Transaction, keys: Keyspace, session_id: str) -> Unrestored | None:
    """Return what is yet to be put back of a session's workspace; None: nothing. Does not conflict."""
    data = await tr.get(keys.unrestored.key(session_id), snapshot=True)
    return decode_optional(Unrestored, data)


async def record_unarchived(
    tr: Transaction, keys: Keyspace, session_id: str, unarchived: Unarchived | None
) -> None:
    """Note what is not archived; None: all is. Nothing is noted of a session that is gone."""
    await _record(tr, keys, session_id, keys.unarchived.key(session_id), unarchived)


async def record_unrestored(
    tr: Transaction, keys: Keyspace, session_id: str, unrestored: Unrestored | None
) -> None:
    """Note what is not put back; None: all is. Nothing is noted of a session that is gone."""
    await _record(tr, keys, session_id, keys.unrestored.key(session_id), unrestored)


async def _record(
    tr: Transaction, keys: Keyspace, session_id: str, key: bytes, record: Record | None
) -> None:
    if await tr.get(keys.sessions.key(session_id)) is None:
        return
    if record is None:
        tr.clear(key)
    else:
        tr.set(key, encode(record))


# ---- comparing counters with what there is ----------------------------------------------------------


async def reconcile(
    tr: Transaction, keys: Keyspace, user_id: str, now: float
) -> dict[Resource, int]:
    """Make a user's counters what their workspaces and terminals say; return the errors they had.

    All is read at one version, none of it conflicts but with another comparison of the same user.
    """
    check = keys.usage_checks.key(user_id)
    await tr.get(check)
    names = await tr.get_range(keys.session_names.range(user_id), snapshot=True)
    ids = [value.decode() for _, value in names]
    there = dict.fromkeys(COUNTED, 0)
    workspaces = [
        str(json.loads(data)["workspace_id"])
        for data in await tr.get_many([keys.sessions.key(i) for i in ids], snapshot=True)
        if data is not None
    ]
    manifests = await tr.get_many([keys.manifests.key(w) for w in workspaces], snapshot=True)
    for head in (decode(ManifestHead, data) for data in manifests if data is not None):
        there[Resource.FILE_BYTES] += head.size
        there[Resource.FILES] += head.files
    for session_id in ids:
        for _, data in await tr.get_range(keys.terminals.range(session_id), snapshot=True):
            record = decode(TerminalRecord, data)
            if record.user_id:  # others are counted when their journal hears of them next
                there[Resource.JOURNAL_BYTES] += record.end - record.start
    counters = await tr.get_many([keys.usage.key(r.value, user_id) for r in COUNTED], snapshot=True)
    errors = {
        resource: _number(data) - there[resource]
        for resource, data in zip(COUNTED, counters, strict=True)
    }
    if any(errors.values()):
        tr.set(check, json.dumps({"at": now}).encode())
        for resource, error in errors.items():
            add(tr, keys, resource, user_id, -error)
    return {resource: error for resource, error in errors.items() if error}


async def counted_users(tr: Transaction, keys: Keyspace) -> set[str]:
    """Return the users who have counters or sessions."""
    found = {
        str(keys.usage.unpack(key)[1])
        for resource in COUNTED
        for key, _ in await _pages(tr, keys.usage.range(resource.value))
    }
    sessions = await _pages(tr, keys.session_names.range())
    return found | {str(keys.session_names.unpack(key)[0]) for key, _ in sessions}


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "little", signed=True)
