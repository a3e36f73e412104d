"""Keeps where a workspace's chunks are, how many entries use each, and how much lives in each pack.

Every chunk has its users counted in the same transactions that write and remove entries. The one that
removes its last user forgets the chunk, and notes its pack as dead when nothing else lives in it. The name
of a pack is never used twice and chunks are added to it by one transaction only, so a dead pack stays dead.
Every function takes the transaction first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from actors.core.errors.store import StoreFailed
from cluster.store.engines.interface import KeyRange, MutationKind, key_after
from cluster.store.layers.keyspace import Keyspace
from cluster.store.transactions.transaction import Transaction

_COUNTER_BYTES = 8
_INLINE, _PACKED = b"\x00", b"\x01"
_MAX_PACKS = 1_000_000


class Inline(NamedTuple):
    """A chunk's bytes, as they are stored, in the store itself."""

    data: bytes


class Packed(NamedTuple):
    """The place of a chunk's stored bytes in a pack."""

    pack: str
    offset: int
    size: int


Location = Inline | Packed


async def locations(
    tr: Transaction, keys: Keyspace, workspace_id: str, names: Sequence[bytes]
) -> dict[bytes, Location]:
    """Return where chunks are; those that are not stored are left out. Does not conflict."""
    found = await tr.get_many(
        [keys.chunks.key(workspace_id, name) for name in names], snapshot=True
    )
    return {
        name: _location(value)
        for name, value in zip(names, found, strict=True)
        if value is not None
    }


def use(tr: Transaction, keys: Keyspace, workspace_id: str, names: Mapping[bytes, int]) -> None:
    """Count new users of chunks, so many of each."""
    for name, count in names.items():
        _add(tr, keys.chunk_uses.key(workspace_id, name), count)


async def release(
    tr: Transaction, keys: Keyspace, workspace_id: str, released: Mapping[bytes, int]
) -> None:
    """Take users from chunks, so many of each; forget those that nobody uses any more."""
    names = list(released)
    uses = await tr.get_many([keys.chunk_uses.key(workspace_id, name) for name in names])
    dead = []
    for name, value in zip(names, uses, strict=True):
        left = _count(value) - released[name]
        if left < 0:
            raise StoreFailed(f"chunk {name.hex()} has fewer users than entries")
        if left > 0:
            _add(tr, keys.chunk_uses.key(workspace_id, name), -released[name])
        else:
            dead.append(name)
            tr.clear(keys.chunk_uses.key(workspace_id, name))
    places = await tr.get_many([keys.chunks.key(workspace_id, name) for name in dead])
    freed: Counter[str] = Counter()
    for name, value in zip(dead, places, strict=True):
        tr.clear(keys.chunks.key(workspace_id, name))
        if value is not None and isinstance(at := _location(value), Packed):
            freed[at.pack] += at.size
    await _free(tr, keys, workspace_id, freed)


async def _free(
    tr: Transaction, keys: Keyspace, workspace_id: str, freed: Mapping[str, int]
) -> None:
    """Take bytes from packs; note those in which nothing lives any more as dead."""
    for pack, size in freed.items():
        key = keys.packs.key(workspace_id, pack)
        left = _count(await tr.get(key)) - size
        if left > 0:
            _add(tr, key, -size)
        else:
            tr.clear(key)
            tr.set(keys.dead_packs.key(workspace_id, pack), b"")


async def dead_packs(
    tr: Transaction, keys: Keyspace, workspace_id: str, limit: int = 1000
) -> list[str]:
    """Return packs without a live chunk; nothing will ever be found in them again."""
    pairs = await tr.get_range(keys.dead_packs.range(workspace_id), limit=limit, snapshot=True)
    return [str(keys.dead_packs.unpack(key)[1]) for key, _ in pairs]


async def forget_packs(
    tr: Transaction, keys: Keyspace, workspace_id: str, packs: Iterable[str]
) -> None:
    """Take note that dead packs are removed."""
    for pack in packs:
        tr.clear(keys.dead_packs.key(workspace_id, pack))


async def live_packs(tr: Transaction, keys: Keyspace, workspace_id: str) -> dict[str, int]:
    """Return the packs that chunks are in, with the stored bytes of those chunks."""
    pairs = await tr.get_range(keys.packs.range(workspace_id), limit=_MAX_PACKS, snapshot=True)
    return {str(keys.packs.unpack(key)[1]): _count(value) for key, value in pairs}


async def packed(
    tr: Transaction, keys: Keyspace, workspace_id: str, after: bytes | None, limit: int
) -> list[tuple[bytes, Location]]:
    """Return chunks behind ``after`` in the order of their names, and where they are."""
    begin, end = keys.chunks.range(workspace_id)
    if after is not None:
        begin = key_after(keys.chunks.key(workspace_id, after))
    pairs = await tr.get_range(KeyRange(begin, end), limit=limit, snapshot=True)
    return [(keys.chunks.unpack(key)[1], _location(value)) for key, value in pairs]


async def relocate(
    tr: Transaction,
    keys: Keyspace,
    workspace_id: str,
    moves: Mapping[bytes, tuple[Packed, Packed]],
) -> int:
    """Let chunks be found in another pack than before; return how many are. The pack is durable.

    All that is in the new pack comes in one call. A chunk that is gone, or elsewhere by now, is left as
    it is. Whoever releases it at the same time conflicts.
    """
    names = list(moves)
    found = await tr.get_many([keys.chunks.key(workspace_id, name) for name in names])
    freed: Counter[str] = Counter()
    moved = 0
    for name, value in zip(names, found, strict=True):
        old, new = moves[name]
        if value is not None and _location(value) == old:
            put(tr, keys, workspace_id, name, new)
            freed[old.pack] += old.size
            moved += 1
    await _free(tr, keys, workspace_id, freed)
    return moved


def put(
    tr: Transaction, keys: Keyspace, workspace_id: str, name: bytes, location: Location
) -> None:
    """Note where a chunk is that was not known, or was elsewhere."""
    key = keys.chunks.key(workspace_id, name)
    if isinstance(location, Inline):
        tr.set(key, _INLINE + location.data)
        return
    tr.set(key, _PACKED + json.dumps(list(location)).encode())
    _add(tr, keys.packs.key(workspace_id, location.pack), location.size)


def _location(value: bytes) -> Location:
    if value[:1] == _INLINE:
        return Inline(value[1:])
    if value[:1] != _PACKED:
        raise StoreFailed("a stored chunk's place does not parse: a newer server wrote it")
    pack, offset, size = json.loads(value[1:])
    return Packed(pack, offset, size)


def _add(tr: Transaction, key: bytes, count: int) -> None:
    tr.atomic(MutationKind.ADD, key, count.to_bytes(_COUNTER_BYTES, "little", signed=True))


def _count(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "little", signed=True)
