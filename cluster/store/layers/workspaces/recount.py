"""Counts anew what a workspace has, and takes the error off its head; ``usage.reconcile`` then off counters.

What a version has never changes, so it is counted page by page in as many transactions as that takes,
while later versions are made. The head at that version and the sum differ by an error that every later
version carries on unchanged: it is taken off whatever the head is by then.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.core.quotas import Amount, totals
from cluster.store.engines.interface import Engine, KeyRange
from cluster.store.layers.codec import encode
from cluster.store.layers.entries import ManifestHead
from cluster.store.layers.entries import decode as decode_entry
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.workspaces import manifests
from cluster.store.transactions.transaction import Transaction, transact

PAGE = 2000


class _Part(NamedTuple):
    """The count of a page, and where the next one begins; None: that was all."""

    amount: Amount
    begin: bytes | None


async def recount(engine: Engine, keys: Keyspace, workspace_id: str) -> Amount:
    """Correct a workspace's count; return its error. Nothing happens when two do so at once.

    Raises NotFound when the version is removed meanwhile: later, then.
    """
    head = await transact(engine, manifests.head, keys, workspace_id)
    if head.version == 0:
        return Amount()
    found, begin = Amount(), keys.entries.range(workspace_id).begin
    while True:
        part = await transact(engine, _count, keys, workspace_id, head.version, begin)
        found = found.plus(part.amount)
        if part.begin is None:
            break
        begin = part.begin
    error = Amount(head.size - found.size, head.files - found.files)
    await transact(engine, _correct, keys, workspace_id, head, error)
    return error


async def _count(
    tr: Transaction, keys: Keyspace, workspace_id: str, at: int, begin: bytes
) -> _Part:
    """Count paths as of a version, from a key on."""
    await manifests.readable(tr, keys, workspace_id, at)
    end = keys.entries.range(workspace_id).end
    pairs = await tr.get_range(KeyRange(begin, end), limit=PAGE, snapshot=True)
    newest: dict[tuple[bytes, bytes], bytes] = {}
    for key, value in pairs:
        _, directory, name, version = keys.entries.unpack(key)
        if version <= at:
            newest[directory, name] = value
    following = None
    if len(pairs) == PAGE:
        # The last path may go on: it is counted whole, and the next page begins behind it.
        _, directory, name, _ = keys.entries.unpack(pairs[-1][0])
        span = keys.entries.range(workspace_id, directory, name)
        last = KeyRange(span.begin, keys.entries.key(workspace_id, directory, name, at + 1))
        states = await tr.get_range(last, limit=1, reverse=True, snapshot=True)
        for _, value in states:
            newest[directory, name] = value
        following = span.end
    entries = [decode_entry(value) for value in newest.values()]
    return _Part(totals(entry.amount for entry in entries), following)


async def _correct(
    tr: Transaction, keys: Keyspace, workspace_id: str, counted: ManifestHead, error: Amount
) -> None:
    """Take an error off that ``counted`` had, unless somebody else has corrected it since."""
    head = await manifests.head(tr, keys, workspace_id)
    if head.version == 0 or head.counts != counted.counts:
        return
    corrected = {
        "size": head.size - error.size,
        "files": head.files - error.files,
        "counts": head.counts + 1,
    }
    tr.set(keys.manifests.key(workspace_id), encode(head.model_copy(update=corrected)))
