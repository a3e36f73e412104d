"""Transactions over each engine against a dict: serial results, conflicts, own writes.

A transaction that was let through is done again on what the others had committed meanwhile, with
writes that depend on what is there, and each of its reads must find what it had found. It must
conflict exactly when something that it had read was written since.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.core.errors.store import CommitConflict
from cluster.store.engines import atomic
from cluster.store.engines.interface import Engine, KeyRange, MutationKind, key_after
from cluster.store.transactions.transaction import Transaction
from tests.fakes.engines import opened_engine

keys = st.sampled_from([b"a", b"b", b"ba", b"c", b"d\xff", b"e"])
values = st.binary(min_size=1, max_size=4)
spans = st.tuples(keys, keys).map(lambda pair: KeyRange(min(pair), max(pair) + b"\x01"))
slots = st.integers(0, 2)
MINE, RIVAL = 3, 4
atomics = st.sampled_from(
    [MutationKind.ADD, MutationKind.MAX, MutationKind.BYTE_MIN, MutationKind.COMPARE_AND_CLEAR]
)


Op = Callable[[dict[bytes, bytes]], object]
"""One step of a transaction, done to a dict: a write returns None, a read what it finds there."""


class Model:
    """One open transaction as it must behave: its data, its steps, and what it conflicts with."""

    def __init__(self, data: dict[bytes, bytes], history_length: int) -> None:
        self.data = dict(data)
        self.began = history_length
        self.steps: list[tuple[Op, object]] = []
        self.read: list[KeyRange] = []
        self.written: list[KeyRange] = []
        self.decided: list[KeyRange] = []
        """Keys that own sets and clears have fixed: reading them shows nothing of the store."""

    def do(self, step: Op) -> object:
        """Take a step on the transaction's own data; return what it found."""
        found = step(self.data)
        self.steps.append((step, found))
        return found

    def note_read(self, span: KeyRange) -> None:
        """Note a read: it conflicts where own writes had not decided what it would find."""
        parts = [span]
        for hole in self.decided:
            cut = [KeyRange(part.begin, min(part.end, hole.begin)) for part in parts]
            cut += [KeyRange(max(part.begin, hole.end), part.end) for part in parts]
            parts = [part for part in cut if part.begin < part.end]
        self.read += parts

    def replay(self, data: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Return what the steps make of committed data. Each read must find again what it found."""
        after = dict(data)
        for step, found in self.steps:
            assert step(after) == found, "it read what was no longer so, and was let through"
        return after


def one(key: bytes) -> KeyRange:
    return KeyRange(key, key_after(key))


def pairs_of(
    data: dict[bytes, bytes], span: KeyRange, limit: int, reverse: bool
) -> list[tuple[bytes, bytes]]:
    inside = [(k, v) for k, v in data.items() if span.begin <= k < span.end]
    return sorted(inside, reverse=reverse)[:limit]


class StoreMachine(RuleBasedStateMachine):
    """Three transactions at once, interleaved at will."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.opened = AsyncExitStack()
        self.data: dict[bytes, bytes] = {}
        self.history: list[list[KeyRange]] = []
        self.open: dict[int, tuple[Transaction, Model]] = {}
        self.commit_keys = itertools.count()

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    @initialize()
    def begin(self) -> None:
        self.engine = self.run(self.opened.enter_async_context(self.make()))

    def make(self) -> AbstractAsyncContextManager[Engine]:
        return opened_engine("lmdb", Path(self.directory.name), clock=lambda: 0.0)

    def transaction(self, slot: int) -> tuple[Transaction, Model]:
        if slot not in self.open:
            transaction = Transaction(self.engine)
            self.run(transaction.read_version())
            self.open[slot] = transaction, Model(self.data, len(self.history))
        return self.open[slot]

    @rule(slot=slots, key=keys)
    def get(self, slot: int, key: bytes) -> None:
        transaction, model = self.transaction(slot)
        assert self.run(transaction.get(key)) == model.do(lambda data: data.get(key))
        model.note_read(one(key))

    @rule(slot=slots, span=spans, limit=st.integers(1, 4), reverse=st.booleans())
    def get_range(self, slot: int, span: KeyRange, limit: int, reverse: bool) -> None:
        transaction, model = self.transaction(slot)
        found = self.run(transaction.get_range(span, limit=limit, reverse=reverse))
        assert found == model.do(lambda data: pairs_of(data, span, limit, reverse))
        if len(found) == limit:
            last = found[-1][0]
            span = KeyRange(last, span.end) if reverse else KeyRange(span.begin, key_after(last))
        model.note_read(span)

    @rule(
        span=spans,
        limit=st.integers(1, 3),
        reverse=st.booleans(),
        theirs=spans,
        single=st.booleans(),
    )
    def race(
        self, span: KeyRange, limit: int, reverse: bool, theirs: KeyRange, single: bool
    ) -> None:
        """Keep what a range holds, as all work on the store does, and have others write meanwhile."""
        self.open.pop(MINE, None)
        self.get_range(MINE, span, limit, reverse)
        seen = self.open[MINE][1].steps[-1][1]
        if single:
            self.set(RIVAL, theirs.begin, b"r")
        else:
            self.clear_range(RIVAL, theirs)
        self.commit(RIVAL)
        self.set(MINE, b"kept", repr(seen).encode())
        self.commit(MINE)

    @rule(slot=slots, key=keys, value=values)
    def set(self, slot: int, key: bytes, value: bytes) -> None:
        transaction, model = self.transaction(slot)
        transaction.set(key, value)
        model.do(lambda data: data.update({key: value}))
        model.written.append(one(key))
        model.decided.append(one(key))

    @rule(slot=slots, span=spans)
    def clear_range(self, slot: int, span: KeyRange) -> None:
        def step(data: dict[bytes, bytes]) -> None:
            for key in [k for k in data if span.begin <= k < span.end]:
                del data[key]

        transaction, model = self.transaction(slot)
        transaction.clear_range(span)
        model.do(step)
        model.written.append(span)
        model.decided.append(span)

    @rule(slot=slots, kind=atomics, key=keys, operand=values)
    def mutate(self, slot: int, kind: MutationKind, key: bytes, operand: bytes) -> None:
        def step(data: dict[bytes, bytes]) -> None:
            result = atomic.apply(kind, data.pop(key, None), operand)
            if result is not None:
                data[key] = result

        transaction, model = self.transaction(slot)
        transaction.atomic(kind, key, operand)
        model.do(step)
        model.written.append(one(key))

    @rule(slot=slots)
    def commit(self, slot: int) -> None:
        transaction, model = self.transaction(slot)
        del self.open[slot]
        later = [span for written in self.history[model.began :] for span in written]
        conflicts = any(
            max(r.begin, w.begin) < min(r.end, w.end) for r in model.read for w in later
        )
        try:
            self.run(transaction.commit(b"%d" % next(self.commit_keys)))
        except CommitConflict:
            assert conflicts, "nothing that it had read was written since"
            return
        if not model.written:
            return
        assert not conflicts
        self.data = model.replay(self.data)
        self.history.append(model.written)

    @rule(slot=slots)
    def forget(self, slot: int) -> None:
        self.open.pop(slot, None)

    @invariant()
    def store_equals_model(self) -> None:
        if not hasattr(self, "engine"):
            return
        whole = KeyRange(b"", b"\xff")
        answer = self.run(self.engine.get_range(whole, None, limit=100, reverse=False))
        assert dict(answer.pairs) == self.data

    def teardown(self) -> None:
        self.run(self.opened.aclose())
        self.loop.close()
        self.directory.cleanup()


class DoubleMachine(StoreMachine):
    """The same over the FoundationDB engine and the double of its client."""

    def make(self) -> AbstractAsyncContextManager[Engine]:
        return opened_engine("fdb_double", Path(self.directory.name), clock=lambda: 0.0)


class ClusterMachine(StoreMachine):
    """The same over a real cluster, when there is one."""

    def make(self) -> AbstractAsyncContextManager[Engine]:
        return opened_engine("fdb_cluster", Path(self.directory.name))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=40)
TestDouble = DoubleMachine.TestCase
TestDouble.settings = settings(max_examples=30, stateful_step_count=40)
TestCluster = pytest.mark.fdb(ClusterMachine.TestCase)
TestCluster.settings = settings(max_examples=20, stateful_step_count=40)
