"""Transactions over each engine against a dict: serial results, conflicts, own writes."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.errors import CommitConflict
from cluster.store import atomic
from cluster.store.engine import Engine, KeyRange, MutationKind
from cluster.store.transaction import Transaction
from tests.fakes.engines import opened_engine

keys = st.sampled_from([b"a", b"b", b"ba", b"c", b"d\xff", b"e"])
values = st.binary(min_size=1, max_size=4)
spans = st.tuples(keys, keys).map(lambda pair: KeyRange(min(pair), max(pair) + b"\x01"))
slots = st.integers(0, 2)
atomics = st.sampled_from(
    [MutationKind.ADD, MutationKind.MAX, MutationKind.BYTE_MIN, MutationKind.COMPARE_AND_CLEAR]
)


class Model:
    """One open transaction as it must behave: a copy of the data, and what it has read."""

    def __init__(self, data: dict[bytes, bytes], history_length: int) -> None:
        self.data = dict(data)
        self.began = history_length
        self.read: list[KeyRange] = []
        self.written: list[KeyRange] = []

    def own(self, key: bytes) -> bool:
        return any(span.begin <= key < span.end for span in self.written)


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
        return opened_engine("lmdb", Path(self.directory.name))

    def transaction(self, slot: int) -> tuple[Transaction, Model]:
        if slot not in self.open:
            transaction = Transaction(self.engine)
            self.run(transaction.read_version())
            self.open[slot] = transaction, Model(self.data, len(self.history))
        return self.open[slot]

    @rule(slot=slots, key=keys)
    def get(self, slot: int, key: bytes) -> None:
        transaction, model = self.transaction(slot)
        assert self.run(transaction.get(key)) == model.data.get(key)
        model.read.append(KeyRange(key, key + b"\0"))

    @rule(slot=slots, span=spans, limit=st.integers(1, 4), reverse=st.booleans())
    def get_range(self, slot: int, span: KeyRange, limit: int, reverse: bool) -> None:
        transaction, model = self.transaction(slot)
        found = self.run(transaction.get_range(span, limit=limit, reverse=reverse))
        inside = sorted(
            ((k, v) for k, v in model.data.items() if span.begin <= k < span.end), reverse=reverse
        )
        assert found == inside[:limit]
        model.read.append(span)

    @rule(slot=slots, key=keys, value=values)
    def set(self, slot: int, key: bytes, value: bytes) -> None:
        transaction, model = self.transaction(slot)
        transaction.set(key, value)
        model.data[key] = value
        model.written.append(KeyRange(key, key + b"\0"))

    @rule(slot=slots, span=spans)
    def clear_range(self, slot: int, span: KeyRange) -> None:
        transaction, model = self.transaction(slot)
        transaction.clear_range(span)
        for key in [k for k in model.data if span.begin <= k < span.end]:
            del model.data[key]
        model.written.append(span)

    @rule(slot=slots, kind=atomics, key=keys, operand=values)
    def mutate(self, slot: int, kind: MutationKind, key: bytes, operand: bytes) -> None:
        transaction, model = self.transaction(slot)
        if not model.own(key):
            # Read first: the model then knows the value that the operation is applied to.
            self.run(transaction.get(key))
            model.read.append(KeyRange(key, key + b"\0"))
        transaction.atomic(kind, key, operand)
        result = atomic.apply(kind, model.data.get(key), operand)
        model.data.pop(key, None)
        if result is not None:
            model.data[key] = result
        model.written.append(KeyRange(key, key + b"\0"))

    @rule(slot=slots)
    def commit(self, slot: int) -> None:
        transaction, model = self.transaction(slot)
        del self.open[slot]
        later = [span for written in self.history[model.began :] for span in written]
        may_conflict = any(
            max(r.begin, w.begin) < min(r.end, w.end) for r in model.read for w in later
        )
        try:
            self.run(transaction.commit(b"%d" % next(self.commit_keys)))
        except CommitConflict:
            assert may_conflict
            return
        if not model.written:
            return
        # A commit that went through saw nothing that others have changed: replay it on what is there.
        for span in model.written:
            for key in [k for k in self.data if span.begin <= k < span.end]:
                del self.data[key]
        for key, value in model.data.items():
            if model.own(key):
                self.data[key] = value
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
        return opened_engine("fdb_double", Path(self.directory.name))


class ClusterMachine(StoreMachine):
    """The same over a real cluster, when there is one."""

    def make(self) -> AbstractAsyncContextManager[Engine]:
        return opened_engine("fdb_cluster", Path(self.directory.name))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDouble = DoubleMachine.TestCase
TestDouble.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestCluster = pytest.mark.fdb(ClusterMachine.TestCase)
TestCluster.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
