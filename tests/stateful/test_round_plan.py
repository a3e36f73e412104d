"""The syncer's decisions against a workspace that changes under it: nothing is lost, whatever comes between.

The machine drives a whole syncer over a workspace and a store in memory, a few turns of the event loop at a
time, so that changes, saves and failures come between any two of its steps. Every content is unique: after
each step every version must have each path as it was at some time, and never as it was before the last
version, or before a save that was answered. At the end the faults stop, and within a few rounds the manifest
has all there is, or the session says what it has not and why.
"""

from __future__ import annotations

import asyncio
import itertools
import os

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.core.errors.base import CoditectError
from actors.core.quotas import Amount, Quotas, Resource, totals
from actors.core.records.archive import Reason
from actors.core.records.sessions import Route, SessionPhase, SessionRecord
from cluster.archive.packs.packs import unpack
from cluster.archive.saving import ingest, large_files, round_plan, versions
from cluster.archive.syncer import WorkspaceSyncer
from cluster.archive.tools import Counters, Tools
from cluster.store.layers import usage
from cluster.store.layers.entries import Entry, Kind
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import chunks, manifests
from cluster.store.layers.workspaces.chunks import Inline
from cluster.store.layers.workspaces.manifests import Fence
from cluster.store.transactions.transaction import transact
from tests.fakes.events import EventLog
from tests.fakes.memory_engine import CommitFault, MemoryEngine
from tests.fakes.pool_fakes import ManualClock
from tests.fakes.workspace import Workspace, outer_of

PATHS = [b"a", b"b", b"d", b"d/a", b"d/e", b"d/e/a", b"g", b"g/a", b"g/e", b"g/e/a"]
SMALL = 24
ROUNDS = 15
USER = "u"

paths = st.sampled_from(PATHS)
leaves = st.sampled_from([path for path in PATHS if path.endswith((b"a", b"b"))])
moments = st.integers(0, 15)
"""For how many turns of the event loop the syncer works on after something has happened."""


@pytest.fixture(autouse=True, scope="module")
def small_bounds():
    """Have everything be large and many at a few bytes and paths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(round_plan, "SMALL_BYTES", SMALL)
        patch.setattr(round_plan.Reads.__init__, "__defaults__", (3,))
        patch.setattr(versions, "READ_AT_ONCE", 3)
        patch.setattr(versions, "COMMIT_CHANGES", 2)
        patch.setattr(ingest, "SLICE_BYTES", SMALL)
        patch.setattr(large_files, "SLICE_BYTES", 2 * SMALL)
        patch.setattr(large_files, "MAX_WAITING", 1)
        yield


class NoBlobs:
    """Has nothing: all chunks are small enough for the store."""

    async def listing(self, _group: str) -> dict:
        return {}


class Syncing(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop, self.aside = asyncio.new_event_loop(), asyncio.new_event_loop()
        self.workspace = Workspace(PATHS, SMALL)
        self.engine, self.keys, self.clock = MemoryEngine(), Keyspace("t"), ManualClock()
        self.numbers = itertools.count(1)
        self.seen = 0
        self.used = Amount()
        self.limits = Quotas()
        self.at_least = dict.fromkeys(PATHS, 0)
        self.saving: dict[asyncio.Task, tuple[bytes, int]] = {}
        self.following: asyncio.Task | None = None

    def run(self, work):
        async def bounded():
            async with asyncio.timeout(60):
                return await work

        return self.loop.run_until_complete(bounded())

    def ask(self, work, *arguments, **named):
        """Run a transaction while the syncer stands still, and succeed."""
        faults, self.engine.faults = self.engine.faults, []
        asked = transact(self.engine, work, self.keys, *arguments, **named)
        result = self.aside.run_until_complete(asked)
        self.engine.faults = faults
        return result

    @initialize()
    def begin(self) -> None:
        record = SessionRecord(
            session_id="s", tenant_id="t", user_id=USER, name="n", phase=SessionPhase.READY, epoch=1,
            workspace_id="w", container_id="c", created_at=0, updated_at=0, last_activity=0,
        )  # fmt: skip

        async def put(tr, keys):
            sessions.put(tr, keys, record)
            tr.set(keys.users.key(USER), b"{}")

        self.ask(put)
        self.restart()

    # ---- the syncer -----------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        """Have the process end and another one take over."""
        self.run(self.stop())
        tools = Tools(
            engine=self.engine, keys=self.keys, blobs=NoBlobs(), client=self.workspace,
            events=EventLog(), clock=self.clock,
            new_id=lambda kind: f"{kind}-{next(self.numbers)}", max_file=90,
        )  # fmt: skip
        route = Route(session_id="s", container_id="c", epoch=1, address="", secret="")
        self.syncer = WorkspaceSyncer(tools, Fence("s", "w", "c"), route, Counters(), USER)
        self.follow()

    @rule()
    def follow(self) -> None:
        """Have it followed anew when that has failed, as the archiver does."""
        if self.following is None or self.following.done():
            self.following = self.loop.create_task(self.syncer.follow())

    async def stop(self) -> None:
        tasks = [*self.saving, *([self.following] if self.following else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.saving.clear()
        self.following = None

    @rule()
    def lose_the_directory(self) -> None:
        """Have the node end for good, and the workspace go on elsewhere."""
        self.observe()
        self.run(self.stop())
        head = self.ask(manifests.head, "w").version
        self.workspace.lose(self.states(head) if head else dict.fromkeys(PATHS))
        self.restart()

    @rule(path=paths, turns=moments)
    def save(self, path, turns) -> None:
        self.begin_to_save(path)
        self.go_on(turns)

    def begin_to_save(self, path) -> None:
        # To save what is awaited is to delete it.
        if len(self.saving) < 3 and path not in self.workspace.awaited:
            task = self.loop.create_task(self.syncer.save([path]))
            self.saving[task] = path, len(self.workspace.history[path]) - 1

    @rule(turns=st.integers(20, 80))
    def go_on(self, turns) -> None:
        self.run(self.turns(turns))
        self.observe()

    async def turns(self, number) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    @rule(seconds=st.sampled_from([0.5, 3.0, 60.0]))
    def time_passes(self, seconds) -> None:
        self.clock.advance(seconds)
        self.workspace.changed.set()  # nobody waits for changes longer than that

    # ---- what happens in the workspace ----------------------------------------------------------

    @rule(path=leaves, size=st.sampled_from([1, 8, 20, 30, 60]), saved=st.booleans(), turns=moments)
    def write(self, path, size, saved, turns) -> None:
        self.workspace.put(path, "f", b"%d:" % next(self.numbers) + b"x" * size)
        if saved:
            self.begin_to_save(path)
        self.go_on(turns)

    @rule(path=leaves, turns=st.integers(5, 40))
    def overtake_a_round(self, path, turns) -> None:
        """Have a save come and go while a round's answer is on its way."""
        self.workspace.delays = [90, 0]
        self.write(path, 1, saved=False, turns=turns)
        self.write(path, 8, saved=True, turns=150)

    @rule(path=leaves, turns=moments)
    def append(self, path, turns) -> None:
        self.workspace.append(path, b"+%d" % next(self.numbers))
        self.go_on(turns)

    @rule(path=paths, turns=moments)
    def remove(self, path, turns) -> None:
        self.workspace.remove(path)
        self.go_on(turns)

    @rule(path=paths, kind=st.sampled_from(["d", "o", "f"]), turns=moments)
    def become(self, path, kind, turns) -> None:
        self.workspace.put(path, kind, b"%d" % next(self.numbers) if kind == "f" else b"")
        self.go_on(turns)

    @rule(old=paths, new=paths, turns=moments)
    def rename(self, old, new, turns) -> None:
        self.workspace.rename(old, new)
        self.go_on(turns)

    @rule(path=paths, closed=st.booleans(), turns=moments)
    def close(self, path, closed, turns) -> None:
        self.workspace.close(path, closed=closed)
        self.go_on(turns)

    @rule(path=leaves)
    def write_to_it_all_the_time(self, path) -> None:
        self.workspace.restless ^= {path}

    # ---- what fails -----------------------------------------------------------------------------

    @rule(times=st.integers(1, 2))
    def the_container_does_not_answer(self, times) -> None:
        self.workspace.faults = times

    @rule(delays=st.lists(st.sampled_from([0, 0, 10, 60]), min_size=1, max_size=8))
    def answers_come_late(self, delays) -> None:
        self.workspace.delays = delays

    @rule(faults=st.lists(st.sampled_from(CommitFault), min_size=1, max_size=3))
    def commits_fail(self, faults) -> None:
        self.engine.faults = faults

    @rule(size=st.sampled_from([0, 10, 40, 100]), files=st.sampled_from([0, 2, 5]))
    def set_quota(self, size, files) -> None:
        if self.syncer._known._committing.locked():
            return  # a commit that is under way may go by the limit that was
        self.limits = Quotas(file_bytes=size, files=files)
        changes = {Resource.FILE_BYTES: size, Resource.FILES: files}
        self.ask(usage.override, USER, changes)

    # ---- what has to be so ----------------------------------------------------------------------

    def observe(self) -> None:
        """Look at each version that is new, and at what saves have answered."""
        head = self.ask(manifests.head, "w").version
        for version in range(self.seen + 1, head + 1):
            for path, state in self.states(version).items():
                self.expect(path, state, self.at_least[path])
        self.seen = head
        for task in [task for task in self.saving if task.done()]:
            path, since = self.saving.pop(task)
            if isinstance(task.exception(), CoditectError):
                continue
            version, left_out = task.result()
            if path not in left_out:
                self.expect(path, self.states(version)[path] if version else None, since)
                # From now on nothing older may be kept.
                self.expect(path, self.states(head)[path] if head else None, since)

    def expect(self, path, state, since) -> None:
        """Expect a path to be kept as it was, at the earliest at a point of its history."""
        history = self.workspace.history[path]
        later = [at for at in range(since, len(history)) if history[at] == state]
        assert later, f"{path!r} is kept as {state!r}, and was {history[since:]}"
        self.at_least[path] = max(self.at_least[path], later[0])

    def states(self, version) -> dict[bytes, bytes | None]:
        """Return what can be reached of a version, path by path."""
        entries = self.ask(manifests.current, "w", PATHS, version)
        return {
            path: self.content(entries[path])
            if path in entries
            and all(o in entries and entries[o].kind is Kind.DIRECTORY for o in outer_of(path))
            else None
            for path in PATHS
        }

    def content(self, entry: Entry) -> bytes:
        if entry.kind is Kind.DIRECTORY:
            return b"d"
        places = self.ask(chunks.locations, "w", [chunk.name for chunk in entry.chunks])
        data = b""
        for name, _ in entry.chunks:
            assert isinstance(places[name], Inline)
            data += unpack(places[name].data, name)
        assert len(data) == entry.size
        return b"f" + data

    @invariant()
    def no_quota_is_passed(self) -> None:
        room = self.ask(usage.room, USER, Quotas())
        now = Amount(room.size.used, room.files.used)
        for used, limit, before in (
            (*room.size, self.used.size),
            (*room.files, self.used.files),
        ):
            assert limit is None or used <= max(limit, before)
        self.used = now
        version = self.ask(manifests.head, "w").version
        entries = self.ask(manifests.current, "w", PATHS, version) if version else {}
        assert now == totals(entry.amount for entry in entries.values())

    @rule()
    def faults_stop(self) -> None:
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """Expect a few rounds to get everything that can be kept, also while a program goes on writing."""
        self.engine.faults, self.workspace.faults, self.workspace.delays = [], 0, []
        failed = None
        for number in range(ROUNDS):
            if self.following is not None and self.following.done():
                failed = self.following.exception()
            self.follow()
            self.run(self.turns(400))
            self.observe()
            # At last enough for a walk to come again that took a minute.
            self.time_passes(3.0 * 2**number)
            if not (wrong := self.not_as_it_should_be()):
                return
        raise AssertionError(wrong) from failed

    def not_as_it_should_be(self) -> list[str]:
        version = self.ask(manifests.head, "w").version
        kept = self.states(version) if version else dict.fromkeys(PATHS)
        said = self.ask(usage.unarchived, "s")
        told = {each.path.encode(): each.reason for each in said.left_out} if said else {}
        if said is not None and len(told) < len(said.left_out):
            return [f"said twice: {said.left_out}"]
        return [
            f"{path!r} is {kept[path]!r}, was {self.workspace.history[path][-1]!r}: {told}"
            for path in PATHS
            if path not in self.workspace.restless and not self.is_right(path, kept, told)
        ]

    def is_right(self, path, kept, told) -> bool:
        if path in self.workspace.awaited:
            return kept[path] == self.workspace.history[path][-1]
        node, why = self.workspace.nodes.get(path), told.get(path)
        if any(outer in told for outer in outer_of(path)):
            return True  # what is above is not kept, or out of reach, and is said to be
        if self.workspace.is_hidden(path):
            return kept[path] == self.workspace.history[path][-1] or why is not None
        if node is None:
            return kept[path] is None and why is None
        is_kept = kept[path] == node.state
        match why:
            case None:
                return is_kept and node.kind != "o"
            case Reason.SPECIAL:
                return is_kept and node.kind == "o"
            case Reason.UNREADABLE:
                return node.closed
            case Reason.TOO_LARGE:
                return len(node.data) > 90
            case Reason.QUOTA:
                return not is_kept and not self.fits(path, node)
        return False

    def fits(self, path, node) -> bool:
        """Return whether what is held could be kept."""
        version = self.ask(manifests.head, "w").version
        entries = self.ask(manifests.current, "w", [path], version) if version else {}
        before = entries[path].amount if path in entries else Amount()
        room = self.ask(usage.room, USER, Quotas())
        return room.lacking(Amount(len(node.data), 1).minus(before)) is None

    def teardown(self) -> None:
        try:
            if self.following is not None:
                self.observe()
                self.come_to_rest()
                self.workspace.restless.clear()
                self.come_to_rest()
        finally:
            self.run(self.stop())
            self.loop.close()
            self.aside.close()


TestSyncing = Syncing.TestCase
# The same each time, or with CODITECT_TEST_RUNS so many others, to search. One that fails is printed as it
# was drawn, with what replays it: shrinking takes minutes.
RUNS = int(os.environ.get("CODITECT_TEST_RUNS", "0"))
TestSyncing.settings = settings(
    max_examples=RUNS or 40,
    stateful_step_count=40,
    derandomize=not RUNS,
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
