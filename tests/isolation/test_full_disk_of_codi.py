"""A container's full disk, as CODI reports it: the quota, its size, and the room that deleting makes."""

from __future__ import annotations

import os

import pytest
import pytest_asyncio

from actors.core.errors.base import Busy, CoditectError
from actors.core.errors.limits import DiskQuotaExceeded
from actors.core.records.sessions import Route
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.codi.client import HttpCodiClient
from cluster.codi.control import CodiControl
from cluster.runtime.disks.images import DiskLimits
from cluster.runtime.sandbox import SandboxRuntime
from tests.isolation.inside import spec

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk"),
]
MIB = 1 << 20
SIZE = 64 * MIB


@pytest_asyncio.fixture
async def served(tmp_path):
    """Yield a client and the route to a container with a disk, and one to a container without."""
    agent, clock = bundle(tmp_path / "codi"), SystemClock()
    limited = SandboxRuntime(
        tmp_path, "n", agent=agent, clock=clock, disks=DiskLimits(SIZE, 500), ptys=4
    )
    plain = SandboxRuntime(tmp_path, "n", agent=agent, clock=clock)
    client, routes = HttpCodiClient(), []
    for name, runtime in (("one", limited), ("two", plain)):
        handle = await runtime.launch(spec(name))
        routes.append(Route.to(handle, f"s-{name}", 1))
        await CodiControl().raise_epoch(routes[-1])
    yield client, *routes
    await client.close()
    for handle in await plain.list():
        await plain.stop(handle, 0)


async def test_a_full_disk_is_reported_with_its_quota_and_room_can_be_made(served):
    client, route, other = served
    before = await client.disk(route)
    assert 0.9 * SIZE < before["limit_bytes"] < 1.2 * SIZE
    assert before["used_bytes"] < 2 * MIB
    assert before["used_files"] < 50 < before["limit_files"]
    assert set((await client.disk(other)).values()) == {None}

    with pytest.raises(DiskQuotaExceeded, match="bytes; deleting makes room") as refused:
        for number in range(10):
            await client.put_file(route, f"f{number}", os.urandom(10 * MIB))
    error = refused.value
    assert (error.code, error.resource) == ("disk_quota_exceeded", "container_disk")
    assert error.used <= error.limit == before["limit_bytes"]
    assert (await client.disk(route))["used_bytes"] > 40 * MIB
    await client.put_file(other, "theirs", b"x" * MIB)
    await client.delete(route, "f0")
    await client.put_file(route, "again", b"x" * MIB)


async def test_too_many_files_are_reported_as_such(served):
    client, route, _ = served
    with pytest.raises(DiskQuotaExceeded, match="files") as refused:
        for number in range(2000):
            await client.put_file(route, f"f{number}", b"")
    assert refused.value.resource == "container_inodes"


async def test_the_lack_of_a_terminal_is_not_blamed_on_the_disk(served):
    client, route, _ = served
    with pytest.raises(Busy, match="pseudo-terminals") as refused:
        for number in range(8):
            await client.open_terminal(route, f"t{number}")
    assert "disk" not in str(refused.value)
    assert isinstance(refused.value, CoditectError)
