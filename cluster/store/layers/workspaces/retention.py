"""Forgets old versions of workspaces, and whole workspaces.

What versions needed is released in the transaction that removes them (``chunks``). Every function takes
the transaction first.
"""

from __future__ import annotations

import json
from collections import Counter

from actors.core.quotas import Amount
from cluster.store.engines.interface import KeyRange, key_after
from cluster.store.layers import usage
from cluster.store.layers.codec import encode
from cluster.store.layers.entries import Kind
from cluster.store.layers.entries import decode as decode_entry
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.workspaces import chunks
from cluster.store.layers.workspaces.manifests import head
from cluster.store.transactions.transaction import Transaction

_PAGE = 5000


async def expired(
    tr: Transaction, keys: Keyspace, workspace_id: str, before: float, keep: int
) -> int:
    """Return the oldest version to keep: made at or after ``before``, or among the newest ``keep``.

    What was the newest at ``before`` is kept, so that every moment since then can be asked for.
    """
    newest = await head(tr, keys, workspace_id)
    horizon = newest.oldest
    span = keys.versions.range(workspace_id)
    pairs = await tr.get_range(span, limit=_PAGE, snapshot=True)
    for key, value in pairs:
        if json.loads(value)["at"] >= before:
            break
        horizon = int(keys.versions.unpack(key)[1])
    return max(newest.oldest, min(horizon, newest.version - keep + 1))


async def raise_oldest(tr: Transaction, keys: Keyspace, workspace_id: str, oldest: int) -> bool:
    """Let versions before ``oldest`` be read no more; false when that is so already."""
    newest = await head(tr, keys, workspace_id)
    if not newest.oldest < oldest <= newest.version:
        return False
    changed = newest.model_copy(update={"oldest": oldest})
    tr.set(keys.manifests.key(workspace_id), encode(changed))
    return True


async def prune(tr: Transaction, keys: Keyspace, workspace_id: str, limit: int) -> int:
    """Remove entries that no version from the oldest on can see; return how many were looked at.

    An entry of a version up to the oldest hides all older ones of its path; when it says GONE it is
    not needed either.
    """
    newest = await head(tr, keys, workspace_id)
    span = KeyRange(
        keys.version_entries.range(workspace_id).begin,
        keys.version_entries.key(workspace_id, newest.oldest + 1),
    )
    rows = await tr.get_range(span, limit=limit)
    released: Counter[bytes] = Counter()
    for row, _ in rows:
        _, version, directory, name = keys.version_entries.unpack(row)
        begin = keys.entries.range(workspace_id, directory, name).begin
        end = keys.entries.key(workspace_id, directory, name, version + 1)
        states = await tr.get_range(KeyRange(begin, end))
        for key, value in states:
            entry = decode_entry(value)
            is_newest = int(keys.entries.unpack(key)[3]) == version
            if is_newest and entry.kind is not Kind.GONE:
                continue
            tr.clear(key)
            released.update(chunk.name for chunk in entry.data)
        tr.clear(row)
    await chunks.release(tr, keys, workspace_id, released)
    if len(rows) < limit:
        begin = keys.versions.range(workspace_id).begin
        tr.clear_range(KeyRange(begin, keys.versions.key(workspace_id, newest.oldest)))
    return len(rows)


async def workspaces(tr: Transaction, keys: Keyspace, after: str | None, limit: int) -> list[str]:
    """Return workspaces that have a manifest, by id, after ``after``."""
    begin, end = keys.manifests.range()
    if after is not None:
        begin = key_after(keys.manifests.key(after))
    pairs = await tr.get_range(KeyRange(begin, end), limit=limit, snapshot=True)
    return [str(keys.manifests.unpack(key)[0]) for key, _ in pairs]


async def remove(tr: Transaction, keys: Keyspace, workspace_id: str, user_id: str) -> None:
    """Forget a user's workspace, its versions and chunks; its packs are left to be removed."""
    had = await head(tr, keys, workspace_id)
    usage.add_files(tr, keys, user_id, Amount(-had.size, -had.files))
    for branch in (
        keys.versions, keys.entries, keys.version_entries, keys.chunks, keys.chunk_uses,
        keys.packs, keys.dead_packs,
    ):  # fmt: skip
        tr.clear_range(branch.range(workspace_id))
    tr.clear(keys.manifests.key(workspace_id))
    tr.set(keys.dead_workspaces.key(workspace_id), b"")


async def dead_workspaces(tr: Transaction, keys: Keyspace, limit: int = 100) -> list[str]:
    """Return workspaces whose packs are to be removed."""
    pairs = await tr.get_range(keys.dead_workspaces.range(), limit=limit, snapshot=True)
    return [str(keys.dead_workspaces.unpack(key)[0]) for key, _ in pairs]


async def forget_workspace(tr: Transaction, keys: Keyspace, workspace_id: str) -> None:
    """Take note that a dead workspace's packs are removed."""
    tr.clear(keys.dead_workspaces.key(workspace_id))
