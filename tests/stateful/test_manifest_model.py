"""Manifests against dicts: every kept version reads as it was, and no chunk in use is ever forgotten.

Savers are cut in two where a rival may come between: what they find stored, and what they commit.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.core.errors.requests import NotFound
from actors.core.errors.sessions import Fenced
from actors.core.errors.workspaces import ChunkMissing, ManifestMoved
from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.archive.packs.packs import Batch, name_of, pack, unpack
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.layers.entries import GONE, ChunkRef, Entry, Kind
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import chunks, manifests, retention
from cluster.store.layers.workspaces.chunks import Inline, Packed
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.transactions.transaction import transact

PATHS = [b"a", b"b", b"d/a", b"d/e/f"]
# Small contents go into the store itself, large ones into packs.
CONTENTS = [b"x", b"y", bytes(range(256)) * 1, b"z" * 10]
WORKSPACE = "w"


class Manifests(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp())
        self.engine = LmdbEngine(self.directory, map_size=16 << 20)
        self.run(self.engine.open())
        self.keys = Keyspace("t")
        self.packs: dict[str, bytes] = {}
        self.states: dict[int, dict[bytes, bytes]] = {0: {}}
        self.oldest = 0
        self.numbers = itertools.count(1)
        self.prepared: list[tuple[int, dict[bytes, bytes | None], dict]] = []
        self.moving: list[dict[bytes, tuple[Packed, Packed]]] = []

    def run(self, work):
        return self.loop.run_until_complete(work)

    def ask(self, work, *arguments, **named):
        return self.run(transact(self.engine, work, self.keys, *arguments, **named))

    @initialize()
    def begin(self) -> None:
        record = SessionRecord(
            session_id="s", tenant_id="t", user_id="u", name="n", phase=SessionPhase.READY, epoch=1,
            workspace_id=WORKSPACE, container_id="c", created_at=0, updated_at=0, last_activity=0,
        )  # fmt: skip

        async def put(tr):
            sessions.put(tr, self.keys, record)

        self.run(transact(self.engine, put))

    @property
    def newest(self) -> int:
        return max(self.states)

    changes = st.dictionaries(
        st.sampled_from(PATHS),
        st.one_of(st.none(), st.lists(st.sampled_from(CONTENTS), max_size=3).map(b"".join)),
        min_size=1,
    )

    @rule(changes=changes, packed=st.booleans())
    def prepare(self, changes, packed) -> None:
        """Look what is stored, and store the rest: what a saver does before its commit."""
        self.store(changes, packed=packed)

    def store(self, changes, *, packed) -> None:
        wanted = {name_of(c): c for content in changes.values() if content for c in cut(content)}
        known = self.ask(chunks.locations, WORKSPACE, list(wanted))
        new = {name: pack(data) for name, data in wanted.items() if name not in known}
        stored: dict = {name: Inline(data) for name, data in new.items()}
        if packed and new:
            batch = Batch(f"p{next(self.numbers)}")
            for name, data in new.items():
                batch.add(name, data)
            offset = 0
            for name, data in new.items():
                stored[name] = Packed(batch.pack_name, offset, len(data))
                offset += len(data)
            self.packs[batch.pack_name] = b"".join(new.values())
        self.prepared.append((self.newest, changes, stored))

    @precondition(lambda self: self.prepared)
    @rule(data=st.data(), rebase=st.booleans(), container=st.sampled_from(["c", "c", "c", "other"]))
    def commit(self, data, rebase, container) -> None:
        index = data.draw(st.integers(0, len(self.prepared) - 1))
        base, changes, stored = self.prepared.pop(index)
        self.try_to_commit(self.newest if rebase else base, changes, stored, container)

    def try_to_commit(self, base, changes, stored, container) -> None:
        entries = {path: entry_of(content) for path, content in changes.items()}
        fence = Fence("s", WORKSPACE, container)
        try:
            version = self.ask(
                manifests.commit, fence, base, entries, stored, now=float(self.newest + 1)
            )
        except Fenced:
            assert container == "other"
            return
        except ManifestMoved:
            assert base != self.newest
            return
        except ChunkMissing:
            return  # its chunk was collected between look and commit: it would be stored anew
        assert version == self.newest + 1
        state = {**self.states[self.newest], **{p: c for p, c in changes.items() if c is not None}}
        for path, content in changes.items():
            if content is None:
                state.pop(path, None)
        self.states[version] = state
        self.oldest = self.oldest or version

    @rule(changes=changes)
    def save(self, changes) -> None:
        """All that a saver does, so that there is something to collect in most runs."""
        self.store(changes, packed=True)
        self.try_to_commit(*self.prepared.pop(), "c")

    @precondition(lambda self: self.newest > 1)
    @rule(data=st.data(), limit=st.integers(1, 5))
    def forget_old_versions(self, data, limit) -> None:
        oldest = data.draw(st.integers(self.oldest, self.newest))
        if self.ask(retention.raise_oldest, WORKSPACE, oldest):
            self.oldest = oldest
        self.ask(retention.prune, WORKSPACE, limit)

    @rule(data=st.data(), nodes=st.integers(1, 2))
    def begin_to_compact(self, data, nodes) -> None:
        self.store_chunks_elsewhere(data, nodes)

    def store_chunks_elsewhere(self, data, nodes) -> None:
        """Write what lives in some packs into a new one: what compaction does before its commit."""
        found = self.ask(chunks.packed, WORKSPACE, None, 1000)
        live = sorted({at.pack for _, at in found if isinstance(at, Packed)})
        if not live:
            return
        chosen = data.draw(st.sets(st.sampled_from(live), min_size=1))
        for _ in range(nodes):
            name, parts, moves = f"p{next(self.numbers)}", b"", {}
            for chunk, old in found:
                if isinstance(old, Packed) and old.pack in chosen:
                    moves[chunk] = old, Packed(name, len(parts), old.size)
                    parts += self.packs[old.pack][old.offset :][: old.size]
            self.packs[name] = parts
            self.moving.append(moves)

    @rule(data=st.data())
    def compact_on_two_nodes(self, data) -> None:
        self.store_chunks_elsewhere(data, 2)
        for moves in self.moving:
            self.ask(chunks.relocate, WORKSPACE, moves)
        self.moving = []

    @precondition(lambda self: self.moving)
    @rule(data=st.data(), dies=st.booleans())
    def let_them_be_found_there(self, data, dies) -> None:
        moves = self.moving.pop(data.draw(st.integers(0, len(self.moving) - 1)))
        if not dies:
            self.ask(chunks.relocate, WORKSPACE, moves)

    @rule()
    def remove_dead_packs(self) -> None:
        dead = self.ask(chunks.dead_packs, WORKSPACE)
        for name in dead:
            del self.packs[name]
        self.ask(chunks.forget_packs, WORKSPACE, dead)

    @rule()
    def sweep(self) -> None:
        """Remove packs that no manifest has and that nobody is about to commit."""
        held = {
            at.pack
            for *_, stored in self.prepared
            for at in stored.values()
            if isinstance(at, Packed)
        } | {new.pack for moves in self.moving for _, new in moves.values()}
        live = self.ask(chunks.live_packs, WORKSPACE).keys()
        dead = set(self.ask(chunks.dead_packs, WORKSPACE))
        for name in self.packs.keys() - live - held - dead:
            del self.packs[name]

    @invariant()
    def every_kept_version_reads_as_it_was(self) -> None:
        for version, state in self.states.items():
            if not max(self.oldest, 1) <= version:
                continue
            assert self.ask(manifests.readable, WORKSPACE, version) == version
            for path in PATHS:
                found = self.ask(manifests.lookup, WORKSPACE, path, version)
                content = state.get(path)
                if content is None:
                    assert found is None or found[1].kind is Kind.GONE
                else:
                    assert found is not None
                    assert self.read(found[1]) == content
            names, _ = self.ask(manifests.children, WORKSPACE, b"", version)
            assert set(names) == {path for path in state if b"/" not in path}
        if self.oldest > 1:
            with pytest.raises(NotFound):
                self.ask(manifests.readable, WORKSPACE, self.oldest - 1)

    @invariant()
    def every_chunk_has_as_many_users_as_are_counted(self) -> None:
        async def counted(tr):
            entries = await tr.get_range(self.keys.entries.range(WORKSPACE))
            uses = await tr.get_range(self.keys.chunk_uses.range(WORKSPACE))
            stored = await tr.get_range(self.keys.chunks.range(WORKSPACE))
            return entries, uses, stored

        entries, uses, stored = self.run(transact(self.engine, counted))
        expected: dict[bytes, int] = {}
        for _, value in entries:
            for chunk in manifests.decode_entry(value).chunks:
                expected[chunk.name] = expected.get(chunk.name, 0) + 1
        found = {
            self.keys.chunk_uses.unpack(key)[1]: int.from_bytes(value, "little")
            for key, value in uses
        }
        assert found == expected
        assert {self.keys.chunks.unpack(key)[1] for key, _ in stored} == set(expected)

    @invariant()
    def every_pack_has_as_many_live_bytes_as_are_counted(self) -> None:
        expected: dict[str, int] = {}
        for _, at in self.ask(chunks.packed, WORKSPACE, None, 1000):
            if isinstance(at, Packed):
                expected[at.pack] = expected.get(at.pack, 0) + at.size
        assert self.ask(chunks.live_packs, WORKSPACE) == expected
        assert not expected.keys() & set(self.ask(chunks.dead_packs, WORKSPACE))

    def read(self, entry: Entry) -> bytes:
        names = [chunk.name for chunk in entry.chunks]
        places = self.ask(chunks.locations, WORKSPACE, names)
        parts = []
        for name in names:
            at = places[name]
            stored = (
                at.data if isinstance(at, Inline) else self.packs[at.pack][at.offset :][: at.size]
            )
            parts.append(unpack(stored, name))
        return b"".join(parts)

    def teardown(self) -> None:
        self.run(self.engine.close())
        self.loop.close()
        shutil.rmtree(self.directory)


def cut(content: bytes) -> list[bytes]:
    return [content[start : start + 7] for start in range(0, len(content), 7)]


def entry_of(content: bytes | None) -> Entry:
    if content is None:
        return GONE
    chunks = tuple(ChunkRef(name_of(part), len(part)) for part in cut(content))
    return Entry(Kind.FILE, size=len(content), chunks=chunks)


TestManifests = Manifests.TestCase
TestManifests.settings = settings(max_examples=60, stateful_step_count=40)
