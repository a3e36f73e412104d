"""The FoundationDB engine's own duties: error codes, resends, limits, prefixes, its client."""

from __future__ import annotations

import asyncio
import pickle
import queue
import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from actors.core.errors.base import Unavailable
from actors.core.errors.store import (
    CommitConflict,
    CommitUnknown,
    KeyTooLarge,
    StoreFailed,
    TransactionTooLarge,
    TransactionTooOld,
    ValueTooLarge,
)
from cluster import settings
from cluster.store.engines.fdb import client as fdb_client
from cluster.store.engines.fdb import engine as fdb_engine
from cluster.store.engines.fdb import errors as fdb_errors
from cluster.store.engines.fdb.client import ClientOptions, TlsOptions
from cluster.store.engines.fdb.engine import FdbEngine
from cluster.store.engines.interface import Commit, KeyRange, Mutation, MutationKind, key_after
from cluster.store.factory import make_engine
from tests.fakes.engines import double_engine
from tests.fakes.fdb_cluster import Cluster, Fault
from tests.fakes.fdb_double import FdbDouble, FDBError
from tests.support.waiting import wait_until

SET, ADD, CLEAR = MutationKind.SET, MutationKind.ADD, MutationKind.CLEAR_RANGE
ONE = (1).to_bytes(8, "little")
WHOLE = KeyRange(b"", b"\xff")


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(clock: Clock) -> Cluster:
    return Cluster(clock)


@pytest.fixture
async def engine(cluster: Cluster) -> AsyncIterator[FdbEngine]:
    made = double_engine(cluster)
    await made.open()
    yield made
    await made.close()


async def counted(engine: FdbEngine, *, reading: bool, key: bytes = b"once") -> Commit:
    """Return a commit that adds one to ``n``: having read something else, or blindly."""
    if not reading:
        return Commit(0, (), (Mutation(ADD, b"n", ONE),), key)
    version = (await engine.get_many([b"other"], None)).version
    return Commit(version, (KeyRange(b"other", b"other\x00"),), (Mutation(ADD, b"n", ONE),), key)


async def count(engine: FdbEngine) -> int:
    [value] = (await engine.get_many([b"n"], None)).values
    return int.from_bytes(value or b"", "little")


async def write(engine: FdbEngine, key: bytes, value: bytes, commit_key: bytes) -> int:
    return await engine.commit(Commit(0, (), (Mutation(SET, key, value),), commit_key))


# ---- error codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "read", "commit"),
    [
        (1007, TransactionTooOld, TransactionTooOld),
        (1009, TransactionTooOld, CommitUnknown),
        (1020, Unavailable, CommitConflict),
        (1021, Unavailable, CommitUnknown),
        (1025, Unavailable, CommitUnknown),
        (1031, Unavailable, CommitUnknown),
        (1037, Unavailable, CommitUnknown),
        (1038, Unavailable, CommitUnknown),
        (1039, Unavailable, CommitUnknown),
        (1042, Unavailable, CommitUnknown),
        (1213, Unavailable, CommitUnknown),
        (2000, StoreFailed, StoreFailed),
        (2101, StoreFailed, TransactionTooLarge),
        (2102, StoreFailed, KeyTooLarge),
        (2103, StoreFailed, ValueTooLarge),
        (4100, Unavailable, CommitUnknown),
    ],
)
def test_each_code_becomes_the_error_that_fits(code, read, commit):
    for error, kind in (
        (fdb_errors.of_read(code, "why"), read),
        (fdb_errors.of_commit(code, "why"), commit),
    ):
        assert type(error) is kind
        assert str(code) in str(error)
        assert "why" in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


# ---- resends ------------------------------------------------------------------------------------

LOST = [
    Fault.UNKNOWN_COMMITTED,
    Fault.UNKNOWN_LOST,
    Fault.TIMED_OUT_COMMITTED,
    Fault.TIMED_OUT_LOST,
    Fault.TIMED_OUT_LATER,
]


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("fault", LOST)
async def test_a_commit_whose_answer_was_lost_is_applied_once(cluster, engine, fault, reading):
    commit = await counted(engine, reading=reading)
    cluster.faults.next_commits = [fault]
    with pytest.raises(CommitUnknown):
        await engine.commit(commit)
    version = await engine.commit(commit)
    cluster.settle()
    assert await count(engine) == 1
    assert await engine.commit(commit) == version


@pytest.mark.parametrize("reading", [True, False])
async def test_a_commit_that_arrives_between_its_resends_look_and_commit_is_found(
    cluster, engine, reading
):
    commit = await counted(engine, reading=reading)
    cluster.faults.next_commits = [Fault.TIMED_OUT_LATER]
    cluster.faults.delay = lambda: 2  # the resend looks first when it is blind, then commits
    with pytest.raises(CommitUnknown):
        await engine.commit(commit)
    await engine.commit(commit)
    cluster.settle()
    assert await count(engine) == 1


async def test_a_late_commit_does_not_arrive_after_its_resend_was_reported_of_a_conflict(
    cluster, engine
):
    commit = await counted(engine, reading=True)
    cluster.faults.next_commits = [Fault.TIMED_OUT_LATER]
    cluster.faults.delay = lambda: 10**6
    with pytest.raises(CommitUnknown):
        await engine.commit(commit)
    await write(engine, b"other", b"changed", b"rival")
    with pytest.raises(CommitConflict):
        await engine.commit(commit)
    cluster.settle()
    assert await count(engine) == 0


async def test_nor_after_its_resend_was_reported_that_it_is_too_old(cluster, engine):
    commit = await counted(engine, reading=True)
    cluster.faults.next_commits = [Fault.TIMED_OUT_LATER, Fault.TOO_OLD]
    cluster.faults.delay = lambda: 10**6
    with pytest.raises(CommitUnknown):
        await engine.commit(commit)
    with pytest.raises(TransactionTooOld):
        await engine.commit(commit)
    cluster.settle()
    assert await count(engine) == 0


@pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.TOO_OLD])
async def test_a_commit_that_has_read_nothing_never_conflicts(cluster, engine, fault):
    cluster.faults.next_commits = [fault]
    await engine.commit(await counted(engine, reading=False))
    assert await count(engine) == 1


async def test_the_resend_of_an_applied_commit_that_is_too_old_by_now_answers_its_version(
    cluster, engine, clock
):
    commit = await counted(engine, reading=True)
    version = await engine.commit(commit)
    clock.seconds += 6
    assert await engine.commit(commit) == version
    assert (await engine.statistics())["commits_recalled_total"] == 1


async def test_conflicts_on_keys_that_are_written_too_are_not_dropped(engine):
    version = (await engine.get_many([b"n"], None)).version
    mine = (Mutation(SET, b"n", b"mine"),)
    read = (KeyRange(b"n", key_after(b"n")),)
    await engine.commit(Commit(version, read, mine, b"one"))
    with pytest.raises(CommitConflict):
        await engine.commit(Commit(version, read, mine, b"two"))


# ---- versions and limits ------------------------------------------------------------------------


async def test_a_read_version_is_too_old_after_five_million_versions(engine, clock):
    await write(engine, b"a", b"1", b"k")
    version = (await engine.get_many([], None)).version
    clock.seconds += 4.9
    assert (await engine.get_many([b"a"], version)).values == [b"1"]
    clock.seconds += 0.2
    with pytest.raises(TransactionTooOld):
        await engine.get_many([b"a"], version)


@pytest.mark.parametrize("version", [0, -1])
async def test_no_version_is_too_old(engine, version):
    with pytest.raises(TransactionTooOld):
        await engine.get_many([b"a"], version)
    with pytest.raises(TransactionTooOld):
        await engine.commit(Commit(version, (WHOLE,), (Mutation(SET, b"a", b""),), b"k"))


async def test_a_transaction_that_only_its_prefix_makes_too_large_is_refused(cluster):
    engine = double_engine(cluster, prefix="p" * 64)
    await engine.open()
    mutations = tuple(Mutation(SET, b"k%04d" % n, b"x" * 98_000) for n in range(101))
    await engine.commit(Commit(0, (), mutations, b"one"))
    mutations = tuple(Mutation(SET, b"k%05d" % n, b"") for n in range(60_000))
    with pytest.raises(TransactionTooLarge):
        await engine.commit(Commit(0, (), mutations, b"two"))
    assert (await engine.get_range(WHOLE, None, limit=1, reverse=True)).pairs[0][0] == b"k0100"
    await engine.close()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 19, 20, 21, 100])
async def test_a_range_is_gathered_from_the_clients_batches(engine, limit, reverse):
    keys = [b"%02d" % n for n in range(20)]
    await engine.commit(Commit(0, (), tuple(Mutation(SET, key, b"v") for key in keys), b"k"))
    answer = await engine.get_range(WHOLE, None, limit=limit, reverse=reverse)
    expected = list(reversed(keys)) if reverse else keys
    assert [key for key, _ in answer.pairs] == expected[:limit]
    assert answer.more is (limit < 20)


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_range_of_large_values_is_answered_in_parts(engine, monkeypatch, reverse):
    monkeypatch.setattr(fdb_engine, "RANGE_BYTES", 1000)
    keys = [b"%02d" % n for n in range(20)]
    await engine.commit(Commit(0, (), tuple(Mutation(SET, k, b"v" * 200) for k in keys), b"k"))
    answer = await engine.get_range(WHOLE, None, limit=20, reverse=reverse)
    assert len(answer.pairs) == 7
    assert answer.more


async def test_empty_and_inverted_ranges_mean_nothing(engine):
    await write(engine, b"a", b"1", b"k")
    inverted = KeyRange(b"z", b"a")
    assert (await engine.get_range(inverted, None, limit=9, reverse=False)).pairs == []
    version = (await engine.get_many([], None)).version
    await engine.commit(
        Commit(version, (inverted,), (Mutation(CLEAR, b"z", b"a"),), b"c", (inverted,))
    )
    assert (await engine.get_many([b"a"], None)).values == [b"1"]


async def test_two_servers_share_a_cluster_without_seeing_each_other(cluster, engine):
    double = FdbDouble(cluster, asyncio.get_running_loop().call_soon)
    connect = partial(fdb_client.connect, load=lambda: double)
    other = FdbEngine(None, prefix="test2", connect=connect)
    await other.open()
    await write(engine, b"a", b"1", b"same key")
    await write(other, b"a", b"2", b"same key")
    await other.commit(Commit(0, (), (Mutation(CLEAR, b"", b"\xff\xff"),), b"clear"))
    assert (await other.get_range(WHOLE, None, limit=9, reverse=False)).pairs == []
    assert (await engine.get_many([b"a"], None)).values == [b"1"]
    await other.close()


# ---- markers ------------------------------------------------------------------------------------


async def test_markers_are_removed_when_their_time_is_over_and_not_before(
    cluster, engine, clock, monkeypatch
):
    monkeypatch.setattr(fdb_engine, "SWEEP_STEP", 5)
    for n in range(7):
        await write(engine, b"a", b"%d" % n, b"old%d" % n)
    clock.seconds += fdb_engine.KEY_LIFE_SECONDS - 1
    await write(engine, b"a", b"young", b"young")
    assert await engine.sweep() == 0
    clock.seconds += 2
    assert [await engine.sweep() for _ in range(3)] == [5, 2, 0]
    version = (await engine.get_many([], None)).version
    left, _ = cluster.get_range(*engine._layout.whole, version, 0, reverse=False)
    assert [key for key, _ in left].count(engine._layout.marker(b"young")) == 1
    assert len(left) == 3  # the value, and the young commit's marker and age
    assert (await engine.statistics())["commit_keys_removed_total"] == 7


async def test_markers_are_removed_without_being_asked_and_in_spite_of_errors(cluster, clock):
    engine = double_engine(cluster, sweep_seconds=0.001)
    await engine.open()
    await write(engine, b"a", b"1", b"old")
    cluster.faults.next_commits = [Fault.TIMED_OUT_LOST]
    clock.seconds += fdb_engine.KEY_LIFE_SECONDS + 1
    await wait_until(
        engine.statistics,
        lambda found: found["commit_keys_removed_total"] == 1,
        pause_seconds=0.001,
    )
    await engine.close()


# ---- the client ---------------------------------------------------------------------------------


async def test_a_cluster_that_does_not_answer_is_unavailable_and_can_be_opened_later(
    cluster, monkeypatch
):
    monkeypatch.setattr(fdb_engine, "_GRACE_SECONDS", 0.0)
    loop = asyncio.get_running_loop()
    dead = [True]
    engine = double_engine(
        cluster,
        schedule=lambda work: None if dead[0] else loop.call_soon(work),
        timeout_seconds=0.02,
    )
    with pytest.raises(Unavailable, match="does not answer"):
        await engine.open()
    with pytest.raises(Unavailable, match="closed"):
        await engine.get_many([], None)
    dead[0] = False
    await engine.open()
    commit = await counted(engine, reading=False)
    dead[0] = True
    with pytest.raises(CommitUnknown):
        await engine.commit(commit)
    with pytest.raises(Unavailable):
        await engine.get_many([b"n"], None)
    dead[0] = False
    await engine.commit(commit)
    assert await count(engine) == 1
    assert (await engine.statistics())["calls_in_flight"] == 0
    await engine.close()


async def test_answers_come_from_another_thread(cluster):
    work: queue.SimpleQueue = queue.SimpleQueue()
    network = threading.Thread(target=lambda: [job() for job in iter(work.get, None)])
    network.start()
    engine = double_engine(cluster, schedule=work.put)
    try:
        await engine.open()
        commits = [await counted(engine, reading=n % 2 == 0, key=b"%d" % n) for n in range(50)]
        await asyncio.gather(*(engine.commit(commit) for commit in commits))
        assert await count(engine) == 50
    finally:
        await engine.close()
        work.put(None)
        network.join(timeout=60)


async def test_a_cancelled_call_leaves_nothing_in_flight(cluster):
    held: list = []
    loop = asyncio.get_running_loop()
    hold = [False]
    engine = double_engine(
        cluster, schedule=lambda work: held.append(work) if hold[0] else loop.call_soon(work)
    )
    await engine.open()
    hold[0] = True
    call = asyncio.create_task(engine.get_many([b"a"], None))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    for work in held:
        work()  # answers that nobody waits for do no harm
    assert (await engine.statistics())["calls_in_flight"] == 0
    await engine.close()


async def test_more_calls_than_the_limit_are_refused(engine, monkeypatch):
    monkeypatch.setattr(fdb_engine, "MAX_IN_FLIGHT", 2)
    answers = await asyncio.gather(
        *(engine.get_many([b"a"], None) for _ in range(4)), return_exceptions=True
    )
    assert [type(answer).__name__ for answer in answers] == ["Values", "Values", "Busy", "Busy"]


def test_a_missing_native_client_is_reported(tmp_path):
    class Absent:
        __version__ = "7.1.67"

        def api_version(self, version: int) -> None:
            raise Exception("Unable to locate the FoundationDB API shared library!")

    with pytest.raises(Unavailable) as refused:
        fdb_client.connect(ClientOptions(), load=Absent)
    for part in ("libfdb_c", "7.1.67", "710", "Unable to locate"):
        assert part in str(refused.value)


def test_a_version_that_the_client_does_not_know_and_a_missing_file_are_reported(cluster, tmp_path):
    double = FdbDouble(cluster, lambda work: None)
    with pytest.raises(Unavailable, match="740"):
        fdb_client.connect(ClientOptions(api_version=800), load=lambda: double)
    with pytest.raises(Unavailable, match=r"absent\.cluster"):
        fdb_client.connect(ClientOptions(tmp_path / "absent.cluster"), load=lambda: double)


def test_an_error_of_opening_is_reported(cluster):
    class Broken(FdbDouble):
        def open(self, cluster_file: str | None = None):
            raise FDBError(2104)

    double = Broken(cluster, lambda work: None)
    with pytest.raises(Unavailable, match="2104"):
        fdb_client.connect(ClientOptions(), load=lambda: double)


def test_tls_is_set_once_before_the_database_is_opened(cluster, tmp_path):
    double = FdbDouble(cluster, lambda work: None)
    (tmp_path / "fdb.cluster").touch()
    tls = TlsOptions(
        certificate=tmp_path / "cert",
        key=tmp_path / "key",
        key_password="secret",
        ca=tmp_path / "ca",
        verify_peers="Check.Valid=1",
    )
    options = ClientOptions(tmp_path / "fdb.cluster", 720, tls)
    assert "secret" not in repr(options)
    for _ in range(2):
        fdb_client.connect(options, load=lambda: double)
    assert list(double.options.values) == [
        "tls_password",
        "tls_cert_path",
        "tls_disable_plaintext_connection",
        "tls_key_path",
        "tls_ca_path",
        "tls_verify_peers",
    ]
    assert double.options.values["tls_verify_peers"] == b"Check.Valid=1"
    assert double.opened == [str(tmp_path / "fdb.cluster")] * 2
    assert double.selected == 720
    with pytest.raises(Unavailable, match="TLS"):
        fdb_client.connect(ClientOptions(api_version=720), load=lambda: double)


def test_the_settings_choose_the_engine_and_travel_to_its_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = settings.load(
        {"store": "foundationdb", "store_fdb_cluster_file": "fdb.cluster"},
        environment={"CODITECT_STORE_FDB_TLS_KEY_PASSWORD": "secret"},
        directory=tmp_path,
    )
    engine = pickle.loads(pickle.dumps(partial(make_engine, chosen)))()
    assert isinstance(engine, FdbEngine)
    assert engine._options.cluster_file == tmp_path / "fdb.cluster"
    assert engine._options.tls.key_password == "secret"
