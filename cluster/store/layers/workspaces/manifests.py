"""Manifests of workspaces: which path had which content as of which version. MVCC over the store.

A version is one transaction: it writes an entry for each path that changed, and raises the head. A path
as of version V is its newest entry at or before V, so a version costs what changed and not what there
is. The transaction is fenced: the session must still have the container that the change was seen in,
and the head must still be the one that the change was compared with.

Every chunk has its users counted in the same transactions that write and remove entries (``chunks``). A
chunk that nobody uses any more is forgotten in the very transaction that removed its last user, and
whoever is about to use it conflicts with that, or finds it missing and stores it anew in another pack. So
there is no time in which collecting garbage could take away what a manifest needs.

The head counts what the newest version has, and its user's counters go with it (``usage``): a version
that makes it more than their quota allows is refused.

Chunks, like versions, are a workspace's own: see docs/design/workspaces.md. Every function takes the
transaction first.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from actors.core.errors.limits import QuotaExceeded
from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import Fenced
from actors.core.errors.workspaces import ChunkMissing, ManifestMoved
from actors.core.quotas import Amount, Quotas, Resource, Room, totals
from actors.core.records.archive import SaveAnswer
from actors.core.records.sessions import SessionRecord
from cluster.store.engines.interface import KeyRange
from cluster.store.layers import usage
from cluster.store.layers.codec import decode_optional, encode
from cluster.store.layers.entries import Entry, Kind, ManifestHead, directory_digest, place
from cluster.store.layers.entries import decode as decode_entry
from cluster.store.layers.entries import encode as encode_entry
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import chunks, saves
from cluster.store.layers.workspaces.chunks import Location
from cluster.store.transactions.transaction import Transaction


class Version(NamedTuple):
    """One state of a path, with when its version was made (Unix time)."""

    version: int
    at: float
    entry: Entry


@dataclass(frozen=True, slots=True)
class Fence:
    """The writer of a version: the container that the changes were seen in, of this session."""

    session_id: str
    workspace_id: str
    container_id: str


# ---- reading ----------------------------------------------------------------------------------------


async def head(tr: Transaction, keys: Keyspace, workspace_id: str) -> ManifestHead:
    """Return the head; version 0 when nothing was ever kept."""
    stored = await tr.get(keys.manifests.key(workspace_id))
    return decode_optional(ManifestHead, stored) or ManifestHead()


async def readable(tr: Transaction, keys: Keyspace, workspace_id: str, at: int | None) -> int:
    """Return the version to read at; None: the newest. Raises NotFound for one that is not kept."""
    newest = await head(tr, keys, workspace_id)
    if at is None:
        return newest.version
    if not newest.oldest <= at <= newest.version or at < 1:
        raise NotFound("version", str(at))
    return at


async def lookup(
    tr: Transaction, keys: Keyspace, workspace_id: str, path: bytes, at: int
) -> tuple[int, Entry] | None:
    """Return a path's state as of a version, and since which version it is so; None if never there."""
    span = keys.entries.range(workspace_id, *place(path))
    end = keys.entries.key(workspace_id, *place(path), at + 1)
    pairs = await tr.get_range(KeyRange(span.begin, end), limit=1, reverse=True, snapshot=True)
    return _versioned(keys, pairs[0]) if pairs else None


async def current(
    tr: Transaction, keys: Keyspace, workspace_id: str, paths: Sequence[bytes], at: int
) -> dict[bytes, Entry]:
    """Return the states of paths as of a version; those that are not there are left out."""
    spans = [
        KeyRange(
            keys.entries.range(workspace_id, *place(path)).begin,
            keys.entries.key(workspace_id, *place(path), at + 1),
        )
        for path in paths
    ]
    pairs = await tr.last_of(spans) if spans else []
    states = {
        path: decode_entry(pair[1])
        for path, pair in zip(paths, pairs, strict=True)
        if pair is not None
    }
    return {path: entry for path, entry in states.items() if entry.kind is not Kind.GONE}


class Children(NamedTuple):
    """Some of what lies in a directory, by name; ``last`` is the name to go on behind, if there are more."""

    entries: dict[bytes, Entry]
    last: bytes | None


async def children(
    tr: Transaction,
    keys: Keyspace,
    workspace_id: str,
    directory: bytes,
    at: int,
    after: bytes | None = None,
    until: bytes | None = None,
) -> Children:
    """Return what lies in a directory as of a version, in the order of names; a page of it.

    ``directory`` empty: the workspace. Names lie behind ``after`` and up to ``until``, if these are given.
    """
    digest = directory_digest(directory)
    begin, end = keys.entries.range(workspace_id, digest)
    if after is not None:
        begin = keys.entries.range(workspace_id, digest, after).end
    if until is not None:
        end = keys.entries.range(workspace_id, digest, until).end
    found: dict[bytes, bytes] = {}
    page = await tr.get_range(KeyRange(begin, end), limit=_PAGE, snapshot=True)
    for key, value in page:
        name, version = keys.entries.unpack(key)[2:]
        if version <= at:  # versions of a name come in order: the last one counts
            found[name] = value
    last = None
    if len(page) == _PAGE:
        # Of the last name there may be more versions than are in the page.
        last = keys.entries.unpack(page[-1][0])[2]
        newest = KeyRange(
            keys.entries.range(workspace_id, digest, last).begin,
            keys.entries.key(workspace_id, digest, last, at + 1),
        )
        for _, value in await tr.get_range(newest, limit=1, reverse=True, snapshot=True):
            found[last] = value
    entries = {name: decode_entry(value) for name, value in found.items()}
    there = {name: entry for name, entry in entries.items() if entry.kind is not Kind.GONE}
    return Children(there, last)


_PAGE = 5000


async def history(
    tr: Transaction,
    keys: Keyspace,
    workspace_id: str,
    path: bytes,
    *,
    before: int | None,
    limit: int,
) -> list[Version]:
    """Return a path's states, newest first, of versions before ``before`` if given."""
    newest = await head(tr, keys, workspace_id)
    span = keys.entries.range(workspace_id, *place(path))
    last = newest.version + 1 if before is None else min(before, newest.version + 1)
    end = keys.entries.key(workspace_id, *place(path), last)
    pairs = await tr.get_range(KeyRange(span.begin, end), limit=limit, reverse=True, snapshot=True)
    states = [_versioned(keys, pair) for pair in pairs]
    records = await tr.get_many(
        [keys.versions.key(workspace_id, version) for version, _ in states], snapshot=True
    )
    return [
        Version(version, float(json.loads(record)["at"]) if record else 0.0, entry)
        for (version, entry), record in zip(states, records, strict=True)
    ]


def _versioned(keys: Keyspace, pair: tuple[bytes, bytes]) -> tuple[int, Entry]:
    return int(keys.entries.unpack(pair[0])[3]), decode_entry(pair[1])


# ---- writing ----------------------------------------------------------------------------------------


async def commit(
    tr: Transaction,
    keys: Keyspace,
    fence: Fence,
    base: int,
    changes: Mapping[bytes, Entry],
    stored: Mapping[bytes, Location],
    *,
    now: float,
    incarnation: str | None = None,
    answer: SaveAnswer | None = None,
    quotas: Quotas | None = None,
) -> int:
    """Write one version and return its number; it is the commit point of all it names.

    ``stored`` are chunks that were stored for it; those of them that meanwhile are known are ignored.
    ``incarnation``: the directory of that name has everything from this version on. ``answer`` is
    kept with the version; a save that was answered before is not made again. ``quotas`` are the limits
    of those who have no others. Raises Fenced when the session has another container, ManifestMoved
    when the head is not ``base`` any more, ChunkMissing when a chunk that was known is not, QuotaExceeded
    when it would be more than its user may have.
    """
    workspace_id = fence.workspace_id
    wanted = Counter(chunk.name for entry in changes.values() for chunk in entry.data)
    names = list(wanted)
    session_key = keys.sessions.key(fence.session_id)
    chunk_keys = [keys.chunks.key(workspace_id, name) for name in names]
    await tr.get_many([session_key, keys.manifests.key(workspace_id), *chunk_keys])
    session = await _require_container(tr, keys, fence)
    if answer is not None and (before := await saves.done(tr, keys, answer)) is not None:
        return before
    newest = await head(tr, keys, workspace_id)
    if newest.version != base:
        raise ManifestMoved(workspace_id, base, newest.version)
    known = await tr.get_many(chunk_keys)
    missing = [n for n, value in zip(names, known, strict=True) if value is None]
    unknown = tuple(name for name in missing if name not in stored)
    if unknown:
        raise ChunkMissing(unknown)
    growth = await _grow(tr, keys, session, base, changes, quotas or Quotas())
    version = base + 1
    for name in missing:
        chunks.put(tr, keys, workspace_id, name, stored[name])
    chunks.use(tr, keys, workspace_id, wanted)
    _put(tr, keys, workspace_id, version, changes, now)
    changed: dict[str, object] = {
        "version": version,
        "updated_at": now,
        "oldest": newest.oldest or version,
        "size": newest.size + growth.size,
        "files": newest.files + growth.files,
        "counts": newest.counts or int(base == 0),
    }
    if incarnation is not None:
        changed["incarnation"] = incarnation
    tr.set(keys.manifests.key(workspace_id), encode(newest.model_copy(update=changed)))
    if answer is not None:
        await saves.finish(tr, keys, answer, version, now)
    return version


def _put(
    tr: Transaction,
    keys: Keyspace,
    workspace_id: str,
    version: int,
    changes: Mapping[bytes, Entry],
    now: float,
) -> None:
    for path, entry in changes.items():
        tr.set(keys.entries.key(workspace_id, *place(path), version), encode_entry(entry))
        tr.set(keys.version_entries.key(workspace_id, version, *place(path)), b"")
    record = {"at": now, "changes": len(changes)}
    tr.set(keys.versions.key(workspace_id, version), json.dumps(record).encode())


async def answer_kept(
    tr: Transaction,
    keys: Keyspace,
    fence: Fence,
    entries: Mapping[bytes, Entry],
    answer: SaveAnswer | None,
    now: float,
) -> int:
    """SaveAnswer a save of what the newest version has already; return the version since when it does.

    Raises Fenced, and ManifestMoved when the newest version has something else.
    """
    workspace_id = fence.workspace_id
    await _require_container(tr, keys, fence)
    if answer is not None and (before := await saves.done(tr, keys, answer)) is not None:
        return before
    newest = await head(tr, keys, workspace_id)
    version = 0
    for path, entry in entries.items():
        state = await lookup(tr, keys, workspace_id, path, newest.version)
        if state is None or state[1] != entry:
            raise ManifestMoved(workspace_id, newest.version, newest.version)
        version = max(version, state[0], newest.oldest)  # one that can be read
    if answer is not None:
        await saves.finish(tr, keys, answer, version, now)
    return version


async def growths(
    tr: Transaction,
    keys: Keyspace,
    workspace_id: str,
    base: int,
    amounts: Mapping[bytes, Amount],
) -> dict[bytes, Amount]:
    """Return what each path adds to version ``base`` when it gets an amount. Does not conflict."""
    before: list[tuple[bytes, bytes] | None] = [None] * len(amounts)
    if base:
        spans = [
            KeyRange(
                keys.entries.range(workspace_id, *place(path)).begin,
                keys.entries.key(workspace_id, *place(path), base + 1),
            )
            for path in amounts
        ]
        before = await tr.last_of(spans)
    return {
        path: _difference(amount, pair)
        for (path, amount), pair in zip(amounts.items(), before, strict=True)
    }


def _difference(amount: Amount, before: tuple[bytes, bytes] | None) -> Amount:
    return amount.minus(decode_entry(before[1]).amount if before is not None else Amount())


async def place_for(
    tr: Transaction, keys: Keyspace, session_id: str, path: bytes, quotas: Quotas
) -> tuple[Amount, Room]:
    """Return what a path counts for now, and the room its user has. Raises NotFound."""
    session = await sessions.get(tr, keys, session_id)
    if session is None:
        raise NotFound("session", session_id)
    # One round trip for what is read below one by one: this is on the way of every save.
    wanted = [keys.manifests.key(session.workspace_id), *usage.room_keys(keys, session.user_id)]
    await tr.get_many(wanted, snapshot=True)
    newest = await head(tr, keys, session.workspace_id)
    state = await lookup(tr, keys, session.workspace_id, path, newest.version)
    room = await usage.room(tr, keys, session.user_id, quotas)
    return (state[1].amount if state is not None else Amount()), room


async def _grow(
    tr: Transaction,
    keys: Keyspace,
    session: SessionRecord,
    base: int,
    changes: Mapping[bytes, Entry],
    quotas: Quotas,
) -> Amount:
    """Count what a version adds, if its user may have it. Raises QuotaExceeded."""
    amounts = {path: entry.amount for path, entry in changes.items()}
    found, room = await asyncio.gather(
        growths(tr, keys, session.workspace_id, base, amounts),
        usage.room(tr, keys, session.user_id, quotas),
    )
    growth = totals(found.values())
    lacking = room.lacking(growth)
    if lacking is not None:
        over, needed = room.size, growth.size
        if lacking is Resource.FILES:
            over, needed = room.files, growth.files
        raise QuotaExceeded(lacking.value, over.used, over.limit or 0, needed)
    usage.add_files(tr, keys, session.user_id, growth)
    return growth


async def settle(tr: Transaction, keys: Keyspace, fence: Fence, incarnation: str) -> None:
    """Note that a directory has everything up to the newest version. Raises Fenced."""
    await _require_container(tr, keys, fence)
    newest = await head(tr, keys, fence.workspace_id)
    changed = newest.model_copy(update={"incarnation": incarnation})
    tr.set(keys.manifests.key(fence.workspace_id), encode(changed))


async def _require_container(tr: Transaction, keys: Keyspace, fence: Fence) -> SessionRecord:
    """Return the session. Raises Fenced when it is gone or has another container.

    The container alone is compared: an epoch that was raised over the same container (its actor was
    activated anew) does not make what was seen in it less true.
    """
    session = await sessions.get(tr, keys, fence.session_id)
    if session is None or session.workspace_id != fence.workspace_id:
        raise Fenced(fence.session_id, 0, 0)
    if session.container_id != fence.container_id:
        raise Fenced(fence.session_id, 0, session.epoch)
    return session
