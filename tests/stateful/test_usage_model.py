"""Counters against what they count: whatever is done, they are its sum, and drift is taken off again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.core.errors.limits import QuotaExceeded
from actors.core.ports.codi import TerminalOpened, TerminalPrinted
from actors.core.quotas import Amount, Quotas, Resource
from actors.core.records.containers import ContainerStatus
from actors.core.records.sessions import SessionPhase, SessionRecord
from cluster.store.engines.lmdb.engine import LmdbEngine
from cluster.store.layers import usage
from cluster.store.layers.entries import GONE, Entry, Kind
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import containers, sessions, terminals
from cluster.store.layers.workspaces import manifests, retention
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.layers.workspaces.recount import recount
from cluster.store.ledger import StoreLedger
from cluster.store.transactions.transaction import transact
from tests.fakes.pool_fakes import ManualClock, container_record

PATHS = [b"a", b"d/b", b"d/e/c"]
USERS = {"s1": "u1", "s2": "u1", "s3": "u2"}
SIZES = st.sampled_from([0, 1, 10, 1000])
KINDS = st.one_of(
    st.just(GONE),
    st.just(Entry(Kind.DIRECTORY, mode=0o755)),
    st.builds(lambda size: Entry(Kind.LINK, size=size, target=b"x" * 3), SIZES),
    st.builds(lambda size: Entry(Kind.FILE, size=size), SIZES),
)
CAPACITY = 50_000
QUOTAS = Quotas(file_bytes=1500, files=4)


class UsageMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp())
        self.engine = LmdbEngine(self.directory, map_size=16 << 20)
        self.run(self.engine.open())
        self.keys = Keyspace("t")
        self.ledger = StoreLedger(self.engine, "t", ManualClock(0.0))
        self.files: dict[str, dict[bytes, Entry]] = {}
        self.kept: dict[tuple[str, str], tuple[int, int]] = {}
        self.versions: dict[str, int] = {}

    def run(self, work):
        return self.loop.run_until_complete(work)

    def ask(self, work, *arguments, **named):
        return self.run(transact(self.engine, work, self.keys, *arguments, **named))

    @initialize()
    def begin(self) -> None:
        for session_id in USERS:
            self.open_session(session_id)

    @rule(session_id=st.sampled_from(sorted(USERS)))
    def open_session(self, session_id) -> None:
        if session_id in self.files:
            return
        user_id, container_id = USERS[session_id], f"c-{session_id}"
        record = SessionRecord(
            session_id=session_id, tenant_id="t", user_id=user_id, name=session_id, epoch=1,
            phase=SessionPhase.READY, workspace_id=f"w-{session_id}", container_id=container_id,
            created_at=0, updated_at=0, last_activity=0,
        )  # fmt: skip

        async def work(tr):
            sessions.put(tr, self.keys, record)
            tr.set(self.keys.session_names.key(user_id, session_id), session_id.encode())
            container = container_record(
                container_id, ContainerStatus.READY, session_id=session_id, user_id=user_id
            )
            containers.put(tr, self.keys, container)

        self.run(transact(self.engine, work))
        self.files[session_id], self.versions[session_id] = {}, 0

    @rule(
        session_id=st.sampled_from(sorted(USERS)),
        changes=st.dictionaries(st.sampled_from(PATHS), KINDS, min_size=1),
        limited=st.booleans(),
    )
    def commit(self, session_id, changes, limited) -> None:
        if session_id not in self.files:
            return
        fence = Fence(session_id, f"w-{session_id}", f"c-{session_id}")
        state = {p: e for p, e in {**self.files[session_id], **changes}.items() if e is not GONE}
        user_id = USERS[session_id]
        before, others = self.used(user_id), self.amount(session_id)
        after = total(state)
        grown = Amount(after.size - others.size, after.files - others.files)
        too_much = limited and (
            (grown.size > 0 and before.size + grown.size > QUOTAS.file_bytes)
            or (grown.files > 0 and before.files + grown.files > QUOTAS.files)
        )
        quotas = QUOTAS if limited else None
        arguments = (fence, self.versions[session_id], changes, {})
        if too_much:
            with pytest.raises(QuotaExceeded):
                self.ask(manifests.commit, *arguments, now=1.0, quotas=quotas)
            return
        version = self.ask(manifests.commit, *arguments, now=1.0, quotas=quotas)
        self.versions[session_id], self.files[session_id] = version, state

    @rule(session_id=st.sampled_from(sorted(USERS)), data=st.data())
    def forget_old_versions(self, session_id, data) -> None:
        if self.versions.get(session_id, 0) > 1:
            oldest = data.draw(st.integers(1, self.versions[session_id]))
            self.ask(retention.raise_oldest, f"w-{session_id}", oldest)
            self.ask(retention.prune, f"w-{session_id}", 3)

    @rule(
        session_id=st.sampled_from(sorted(USERS)),
        name=st.sampled_from(["main", "two"]),
        sizes=st.lists(st.sampled_from([0, 1, 5000, 40_000]), min_size=1, max_size=4),
        skipped=st.sampled_from([0, 0, 0, 7]),
    )
    def print(self, session_id, name, sizes, skipped) -> None:
        if session_id not in self.files:
            return
        opened = TerminalOpened(1, name, cols=80, rows=24, cwd=None, kept=None)
        record = self.ask(terminals.open_terminal, f"c-{session_id}", opened, 1.0)
        start, end = self.kept.get((session_id, name), (0, 0))
        for size in sizes:
            output = (record, TerminalPrinted(1, end + skipped, b"x" * size, {}))
            (kept,) = self.ask(terminals.append, [output], {}, CAPACITY, 1.0)
            record = kept.record
            start = end + skipped if skipped else start
            end += skipped + size
            start, skipped = max(start, end - CAPACITY), 0
        self.kept[session_id, name] = (start, end)

    @rule(session_id=st.sampled_from(sorted(USERS)), name=st.sampled_from(["main", "two"]))
    def delete_terminal(self, session_id, name) -> None:
        self.ask(terminals.delete, session_id, name, 2.0)
        if (session_id, name) in self.kept:
            end = self.kept[session_id, name][1]
            self.kept[session_id, name] = (end, end)

    @rule(user_id=st.sampled_from(["u1", "u2"]), total=st.sampled_from([0, 100, 60_000, 1 << 20]))
    def cut_journals(self, user_id, total) -> None:
        before = self.journal(user_id)
        bound, losers = self.ask(terminals.surplus, user_id, total)
        gone = sum(self.ask(terminals.cut, r.session_id, r.name, bound) for r in losers)
        assert before - gone <= total
        assert gone <= max(0, before - total) + 4
        for key in self.kept:
            found = self.ask(terminals.get, *key)
            assert found.end == self.kept[key][1]
            assert found.start >= self.kept[key][0]
            self.kept[key] = (found.start, found.end)

    @rule(session_id=st.sampled_from(sorted(USERS)))
    def end_session(self, session_id) -> None:
        record = self.run(self.ledger.session(session_id))
        if record is None:
            return
        self.run(self.ledger.end_session(record))
        self.run(self.ledger.remove_container(f"c-{session_id}"))
        del self.files[session_id], self.versions[session_id]
        self.kept = {key: value for key, value in self.kept.items() if key[0] != session_id}

    @rule(
        user_id=st.sampled_from(["u1", "u2"]),
        resource=st.sampled_from(usage.COUNTED),
        amount=st.sampled_from([-700, 3, 10**12]),
    )
    def drift_and_reconcile(self, user_id, resource, amount) -> None:
        async def drift(tr):
            usage.add(tr, self.keys, resource, user_id, amount)

        self.run(transact(self.engine, drift))
        assert self.ask(usage.reconcile, user_id, 5.0) == {resource: amount}
        assert self.ask(usage.reconcile, user_id, 6.0) == {}

    @rule(session_id=st.sampled_from(sorted(USERS)), wrong=st.sampled_from([0, 55, -4]))
    def count_a_workspace_anew(self, session_id, wrong) -> None:
        if not self.versions.get(session_id):
            return

        async def miscount(tr):
            head = await manifests.head(tr, self.keys, f"w-{session_id}")
            wrong_head = head.model_copy(update={"size": head.size + wrong, "counts": 0})
            key = self.keys.manifests.key(f"w-{session_id}")
            tr.set(key, wrong_head.model_dump_json().encode())

        self.run(transact(self.engine, miscount))
        error = self.run(recount(self.engine, self.keys, f"w-{session_id}"))
        assert error == Amount(wrong, 0)

    # ---- what must hold -------------------------------------------------------------------------

    def amount(self, session_id: str) -> Amount:
        return total(self.files[session_id])

    def used(self, user_id: str) -> Amount:
        mine = [self.amount(s) for s in self.files if USERS[s] == user_id]
        return Amount(sum(a.size for a in mine), sum(a.files for a in mine))

    def journal(self, user_id: str) -> int:
        return sum(end - start for (s, _), (start, end) in self.kept.items() if USERS[s] == user_id)

    @invariant()
    def counters_are_sums(self) -> None:
        for user_id in ("u1", "u2"):
            found = self.ask(usage.of_user, user_id, Quotas())
            files = self.used(user_id)
            assert found[Resource.FILE_BYTES].used == files.size
            assert found[Resource.FILES].used == files.files
            assert found[Resource.JOURNAL_BYTES].used == self.journal(user_id)
            assert found[Resource.SESSIONS].used == sum(USERS[s] == user_id for s in self.files)
            assert found[Resource.CONTAINERS].used == found[Resource.SESSIONS].used

    def teardown(self) -> None:
        self.run(self.engine.close())
        self.loop.close()
        shutil.rmtree(self.directory)


def total(state: dict[bytes, Entry]) -> Amount:
    size = sum(entry.size for entry in state.values() if entry.kind is Kind.FILE)
    return Amount(size, len(state))


TestUsage = UsageMachine.TestCase
TestUsage.settings = settings(max_examples=40, stateful_step_count=30)
