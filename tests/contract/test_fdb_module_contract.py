"""The double does what the native client does, call by call: traps, limits, error codes.

Each body gets a fresh transaction and a key prefix of its own; what it answers, and where it is
refused, must be the same for the double and, when there is one, a real cluster.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.store.engines.fdb import client as fdb_client
from cluster.store.engines.fdb.client import ClientOptions, Connection, settled
from tests.fakes.engines import API_VARIABLE, CLUSTER_VARIABLE
from tests.fakes.fdb_cluster import Cluster
from tests.fakes.fdb_double import FdbDouble
from tests.support.waiting import wait_until

TOO_OLD, FUTURE, CONFLICT, CANCELLED = 1007, 1009, 1020, 1025


@pytest.fixture(params=["double", pytest.param("native", marks=pytest.mark.fdb)])
async def connection(request) -> Connection:
    if request.param == "double":
        double = FdbDouble(Cluster(time.monotonic), asyncio.get_running_loop().call_soon)
        made = fdb_client.connect(ClientOptions(), load=lambda: double)
    else:
        named = os.environ.get(CLUSTER_VARIABLE)
        if not named:
            pytest.skip(f"{CLUSTER_VARIABLE} does not name a FoundationDB cluster file")
        version = int(os.environ.get(API_VARIABLE, str(fdb_client.MIN_API_VERSION)))
        made = fdb_client.connect(ClientOptions(Path(named), version))
    # A client's first answer must not be that of a commit.
    first = made.database.create_transaction()
    await settled(first.get_read_version())
    return made


@pytest.fixture
def prefix() -> bytes:
    return b"contract/" + secrets.token_hex(8).encode() + b"/"


def begun(connection: Connection) -> Any:
    tr = connection.database.create_transaction()
    tr.options.set_timeout(10_000)
    return tr


async def code_of(connection: Connection, future: Any) -> int:
    """Return the code that a future ends with, 0 for none."""
    try:
        await settled(future)
    except connection.fdb.FDBError as error:
        return int(error.code)
    return 0


async def get(tr: Any, key: bytes) -> bytes | None:
    return (await settled(tr.snapshot.get(key))).value


async def put(connection: Connection, key: bytes, value: bytes) -> int:
    tr = begun(connection)
    tr.set(key, value)
    await settled(tr.commit())
    return tr.get_committed_version()


async def test_versions_grow_and_a_committed_version_can_be_read_at(connection, prefix):
    first = await put(connection, prefix, b"1")
    second = await put(connection, prefix, b"2")
    assert 0 < first < second
    tr = begun(connection)
    tr.set_read_version(first)
    assert await get(tr, prefix) == b"1"
    assert await settled(tr.get_read_version()) == first


async def test_a_future_version_is_refused_at_the_read(connection, prefix):
    tr = begun(connection)
    tr.set_read_version(await put(connection, prefix, b"") + (1 << 45))
    assert await code_of(connection, tr.snapshot.get(prefix)) == FUTURE


async def test_an_ancient_version_is_too_old_for_reads_and_commits(connection, prefix):
    await put(connection, prefix, b"")
    tr = begun(connection)
    tr.set_read_version(1)
    assert await code_of(connection, tr.snapshot.get(prefix)) == TOO_OLD
    tr = begun(connection)
    tr.set_read_version(1)
    tr.add_read_conflict_range(prefix, prefix + b"\x00")
    tr.set(prefix, b"")
    assert await code_of(connection, tr.commit()) == TOO_OLD


async def test_misuse_is_reported_with_the_next_answer_and_not_by_the_call(connection, prefix):
    version = await put(connection, prefix, b"")
    tr = begun(connection)
    tr.set_read_version(version)
    tr.set_read_version(version)
    assert await code_of(connection, tr.snapshot.get(prefix)) == 2010
    tr = begun(connection)
    tr.set_read_version(0)
    assert await code_of(connection, tr.snapshot.get(prefix)) == 2011
    tr = begun(connection)
    tr.clear_range(prefix + b"b", prefix + b"a")
    assert await code_of(connection, tr.commit()) == 2005


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_an_inverted_conflict_range_is_refused_by_the_call(connection, prefix, kind):
    tr = begun(connection)
    with pytest.raises(connection.fdb.FDBError) as refused:
        getattr(tr, f"add_{kind}_conflict_range")(prefix + b"b", prefix + b"a")
    assert refused.value.code == 2005


async def test_sizes(connection, prefix):
    for key, value, code in (
        (b"k" * 10_000, b"", 0),
        (b"k" * 10_001, b"", 2102),
        (prefix, b"v" * 100_000, 0),
        (prefix, b"v" * 100_001, 2103),
    ):
        tr = begun(connection)
        tr.set(key, value)
        tr.clear(key)
        assert await code_of(connection, tr.commit()) == code, (len(key), len(value))
    tr = begun(connection)
    for n in range(101):
        tr.set(prefix + b"%d" % n, b"v" * 100_000)
    assert await code_of(connection, tr.commit()) == 2101
    tr = begun(connection)
    for n in range(1400):
        tr.set(prefix + b"%d" % n + b"k" * 2400, b"")
    assert await code_of(connection, tr.commit()) == 2101


async def test_a_conflict_on_what_is_written_is_dropped_unless_own_writes_are_not_read(
    connection, prefix
):
    for disabled, code in ((False, 0), (True, CONFLICT)):
        tr = begun(connection)
        if disabled:
            tr.options.set_read_your_writes_disable()
        await settled(tr.get_read_version())
        tr.set(prefix, b"mine")
        tr.add_read_conflict_range(prefix, prefix + b"\x00")
        await put(connection, prefix, b"theirs")
        assert await code_of(connection, tr.commit()) == code


async def test_a_transaction_without_writes_commits_unchecked(connection, prefix):
    tr = begun(connection)
    await settled(tr.get_read_version())
    tr.add_read_conflict_range(prefix, prefix + b"\x00")
    await put(connection, prefix, b"theirs")
    assert await code_of(connection, tr.commit()) == 0
    assert tr.get_committed_version() == -1


async def test_write_conflicts_alone_make_others_conflict(connection, prefix):
    reader = begun(connection)
    await settled(reader.get_read_version())
    reader.add_read_conflict_range(prefix, prefix + b"\x00")
    reader.set(prefix + b"other", b"")
    writer = begun(connection)
    writer.add_write_conflict_range(prefix, prefix + b"\x00")
    await settled(writer.commit())
    assert await code_of(connection, reader.commit()) == CONFLICT


async def test_a_transaction_that_nobody_holds_is_cancelled(connection, prefix):
    tr = begun(connection)
    future = tr.snapshot.get(prefix)
    del tr
    # A real answer may be quicker.
    assert await code_of(connection, future) in {0, CANCELLED}


async def test_versionstamps_are_the_commits_version(connection, prefix):
    tr = begun(connection)
    hole = bytes(10)
    tr.set_versionstamped_value(prefix + b"v", b"a" + hole + b"b" + (1).to_bytes(4, "little"))
    offset = len(prefix) + 1
    tr.set_versionstamped_key(prefix + b"k" + hole + offset.to_bytes(4, "little"), b"")
    await settled(tr.commit())
    version = tr.get_committed_version().to_bytes(8, "big")
    reader = begun(connection)
    value = await get(reader, prefix + b"v")
    assert value is not None
    assert (value[:1], value[1:9], value[11:]) == (b"a", version, b"b")
    selector = connection.fdb.KeySelector.first_greater_or_equal
    rows, count, more = await settled(
        reader.snapshot._get_range(selector(prefix + b"k"), selector(prefix + b"l"), 9, 0, 1, False)
    )
    assert (count, bool(more)) == (1, False)
    assert rows[0].key == prefix + b"k" + value[1:11]


async def test_on_error_makes_a_transaction_new_or_raises_the_error_again(connection, prefix):
    fdb = connection.fdb
    tr = begun(connection)
    tr.set(prefix, b"gone")
    assert await code_of(connection, tr.on_error(fdb.FDBError(CONFLICT))) == 0
    assert await code_of(connection, tr.commit()) == 0
    reader = begun(connection)
    assert await get(reader, prefix) is None
    for code in (2000, 1031, 1025):
        tr = begun(connection)
        assert await code_of(connection, tr.on_error(fdb.FDBError(code))) == code


async def test_a_committed_transaction_is_used_up(connection, prefix):
    tr = begun(connection)
    tr.set(prefix, b"")
    await settled(tr.commit())
    assert await code_of(connection, tr.snapshot.get(prefix)) == 2017


async def test_what_takes_longer_than_its_time_has_timed_out(connection, prefix):
    tr = connection.database.create_transaction()
    tr.options.set_timeout(1)
    await wait_until(
        lambda: code_of(connection, tr.snapshot.get(prefix)), lambda code: code == 1031
    )
