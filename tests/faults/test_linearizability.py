"""Concurrent histories of the store, recorded while it fails, have an order that explains them."""

from __future__ import annotations

import asyncio
import itertools
import random
from pathlib import Path

import pytest

from actors.core.errors.sessions import Fenced
from actors.core.ports.ledger import ClaimRequest
from actors.core.records.sessions import SessionRecord
from cluster.store.engines.interface import Engine, KeyRange, key_after
from cluster.store.ledger import StoreLedger
from cluster.store.transactions import transaction
from cluster.store.transactions.transaction import Transaction, transact
from tests.fakes.engines import CALLERS_ENGINES, opened_engine
from tests.fakes.pool_fakes import ManualClock
from tests.support.linearizability import (
    NotLinearizable,
    Recorder,
    fenced_register,
    linearize,
    transactions,
)

SEEDS = range(4)
MAX_TURNS = 200
"""Of a rival: who is quicker is not in the test's hand, and without a save nothing is shown."""
NOW = 1000.0
KEYS = (b"a", b"b", b"c", b"d")
Span = tuple[bytes, bytes, int, bool]
"""Of a read range: begin, end, limit, and whether from its end."""
Writes = dict[bytes, bytes | None]


async def run_clients(engine: Engine, seed: int, *, clients: int = 5, turns: int = 12) -> Recorder:
    """Have clients read keys and ranges, and write or clear keys; each value is written once."""
    recorder = Recorder()
    values = itertools.count(1)

    async def work(tr: Transaction, reads: list[bytes], span: Span | None, writes: Writes) -> dict:
        found = dict(zip(reads, await tr.get_many(reads), strict=True)) if reads else {}
        if span is not None:
            begin, end, limit, reverse = span
            pairs = await tr.get_range(KeyRange(begin, end), limit=limit, reverse=reverse)
            found[span] = tuple(pairs)
        await asyncio.sleep(0)
        for key, value in writes.items():
            if value is None:
                tr.clear(key)
            else:
                tr.set(key, value)
        return found

    async def client(me: int) -> None:
        choose = random.Random(f"{seed}/{me}")
        for _ in range(turns):
            reads = choose.sample(KEYS, choose.randint(0, 2))
            begin, end = sorted(choose.sample(range(len(KEYS) + 1), 2))
            ends = [*KEYS, b"z"]
            span = (ends[begin], ends[end], choose.randint(1, 3), choose.random() < 0.5)
            ranged = span if choose.random() < 0.7 else None
            written = choose.sample(KEYS, choose.randint(0, 2) if reads or ranged else 1)
            writes = {k: b"%d" % next(values) if choose.random() < 0.8 else None for k in written}
            async with recorder.call(writes) as call:
                call.answered = await transact(engine, work, reads, ranged, writes)
            await asyncio.sleep(0)

    await asyncio.gather(*(client(me) for me in range(clients)))
    return recorder


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CALLERS_ENGINES)
async def test_transactions_happen_at_one_instant_between_call_and_answer(name, seed, tmp_path):
    async with opened_engine(name, tmp_path, seed=seed) as engine:
        recorder = await run_clients(engine, seed)
    assert len(recorder.calls) == 60
    assert len(linearize(transactions(), recorder.calls)) == 60


async def test_a_store_that_answers_from_the_past_is_found_out(tmp_path):
    """The check is worth something: reads that do not conflict lose updates."""

    class Snapshots(Transaction):
        async def get_many(self, keys, *, snapshot=False):
            values = await super().get_many(keys, snapshot=True)
            await asyncio.sleep(0.001)
            return values

    await found_out(Snapshots, tmp_path)


async def found_out(faulty: type[Transaction], directory: Path) -> None:
    """See that histories of such transactions have no order; in which of them it shows is chance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "Transaction", faulty)
        for seed in range(40):
            async with opened_engine("lmdb", directory / str(seed)) as engine:
                recorder = await run_clients(engine, seed)
            try:
                linearize(transactions(), recorder.calls)
            except NotLinearizable:
                return
    raise AssertionError("each has an order")


@pytest.mark.parametrize("missed", ["last key", "all of it"])
async def test_a_range_that_conflicts_too_little_is_found_out(missed, tmp_path):
    class Careless(Transaction):
        async def get_range(self, span, *, limit, reverse=False, snapshot=False):
            pairs = await super().get_range(span, limit=limit, reverse=reverse, snapshot=True)
            if missed == "last key" and len(pairs) < limit:
                self.add_read_conflict(span)
            elif missed == "last key":
                last = pairs[-1][0]
                begin, end = (key_after(last), span.end) if reverse else (span.begin, last)
                self.add_read_conflict(KeyRange(begin, end))
            await asyncio.sleep(0.001)
            return pairs

    await found_out(Careless, tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CALLERS_ENGINES)
async def test_a_sessions_record_obeys_whoever_activated_it_last(name, seed, tmp_path: Path):
    """Rivals activate, save until they are refused, and read, all at will."""
    recorder = Recorder()
    async with opened_engine(name, tmp_path, seed=seed) as engine:
        ledger = StoreLedger(engine, "t", ManualClock(NOW))
        async with recorder.call(("activate",)) as call:
            call.answered = (await first_claim(ledger)).epoch

        def saved() -> bool:
            return any(call.asked[0] == "save" and call.answered is True for call in recorder.calls)

        async def rival(me: int) -> None:
            choose = random.Random(f"{seed}/{me}")
            owned: SessionRecord | None = None
            for turn in range(MAX_TURNS):
                if turn >= 12 and saved():
                    return
                await asyncio.sleep(0)
                if choose.random() < 0.2:
                    await read(ledger, recorder)
                elif owned is None or choose.random() < 0.2:
                    owned = await activate(ledger, recorder, me)
                else:
                    owned = await save(ledger, recorder, owned, f"{me}/{turn}")

        await asyncio.gather(*(rival(me) for me in range(3)))
    assert saved()
    linearize(fenced_register(), recorder.calls)


async def first_claim(ledger: StoreLedger) -> SessionRecord:
    claim = await ledger.claim(
        ClaimRequest(
            user_id="u",
            name="main",
            new_session_id="s",
            new_workspace_id="w",
            actor_id="first",
            node_id="n",
            container_id=None,
            now=NOW,
        )
    )
    return claim.session


async def activate(ledger: StoreLedger, recorder: Recorder, me: int) -> SessionRecord | None:
    """Take the session from whoever has it."""
    record = await ledger.session("s")
    assert record is not None
    if record.owner_actor_id == f"a{me}":
        return record
    try:
        async with recorder.call(("activate",)) as call:
            taken = await ledger.activate(
                "s", actor_id=f"a{me}", node_id="n", now=NOW, dead_actor_id=record.owner_actor_id
            )
            call.answered = taken.epoch
    except Fenced:
        # Somebody else was quicker, and nothing happened.
        recorder.calls.remove(call)
        return None
    return taken


async def save(
    ledger: StoreLedger, recorder: Recorder, record: SessionRecord, mark: str
) -> SessionRecord | None:
    changed = record.model_copy(
        update={"workspace_state": {"mark": mark}, "restarts": record.restarts + 1}
    )
    async with recorder.call(("save", record.epoch, mark)) as call:
        try:
            saved = await ledger.save_session(changed, key=mark)
        except Fenced:
            call.answered = False
            return None
        call.answered = True
    return saved


async def read(ledger: StoreLedger, recorder: Recorder) -> None:
    async with recorder.call(("read",)) as call:
        record = await ledger.session("s")
        assert record is not None
        call.answered = (record.epoch, record.workspace_state.get("mark"))
