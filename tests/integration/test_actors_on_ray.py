"""The actors on a real Ray, with stub containers: what their processes do when they are killed."""

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path
from unittest.mock import ANY

import pytest
import pytest_asyncio
import ray

from actors.core import informer, names
from actors.core.calls import Component, PoolCalls, SessionCalls, SupervisorCalls
from actors.core.directory import ActorDirectory
from actors.core.errors.base import ActorGone, CoditectError, Unavailable
from actors.core.records.containers import ContainerStatus
from cluster.settings import RuntimeName, Settings
from cluster.wiring.blueprints import make_supervisor
from tests.fakes.ray_wiring import StubWiring
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]

NODE = "node-t"
POOL = names.pool_actor(NODE)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ray_head():
    """A Ray of this test's own; the directory is short, as socket paths must be."""
    with tempfile.TemporaryDirectory(prefix="cr-", dir="/tmp") as directory:
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(ROOT)
        ray.init(
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            namespace=names.NAMESPACE,
            object_store_memory=80 << 20,
            _temp_dir=directory,
        )
        try:
            yield directory
        finally:
            ray.shutdown()
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(ray_head, tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("data"))
    await made.up()
    yield made
    await made.down()


@pytest_asyncio.fixture(loop_scope="module")
async def server(shared):
    """The one server of all tests, with full pools; each test has users of its own."""
    await shared.filled()
    return shared


class Server:
    """A supervisor and what it makes, with two warm slots of each kind."""

    def __init__(self, data_dir):
        settings = Settings(
            data_dir=data_dir,
            runtime=RuntimeName.STUB,
            pool_size=2,
            store_map_size=64 << 20,
            orphan_lease=5.0,
            passivate_after=600.0,
        )
        self.wiring = StubWiring(settings, NODE)
        self.directory = ActorDirectory()
        self.services = None

    async def up(self):
        supervisor = await self.directory.create(
            names.SUPERVISOR, lambda: make_supervisor(self.wiring)
        )
        assert supervisor is not None
        self.services = await self.wiring()
        await self.filled()

    async def down(self):
        await self.call(names.SUPERVISOR, SupervisorCalls.shutdown)
        await self.directory.kill(names.SUPERVISOR)
        # Ray ends actors behind the call that asks for it
        await wait_until(self.directory.names, lambda left: left == [])
        self.directory.close()

    async def call(self, name, method, /, *args, seconds=30.0, **kwargs):
        return await self.directory.call(name, method, seconds, *args, **kwargs)

    async def open(self, user, **kwargs):
        return await self.call(
            POOL,
            PoolCalls.open_session,
            user_id=user,
            name="main",
            key=f"{user}-{time.time_ns()}",
            **kwargs,
        )

    async def stats(self):
        return await self.call(POOL, Component.stats)

    async def filled(self):
        """Wait until both pools are full, through restarts of whatever answers."""
        await wait_until(self._filled)

    async def _filled(self):
        try:
            stats = await self.stats()
        except CoditectError:
            return False
        return stats["warm_actors_ready"] >= 2 and stats["warm_containers_ready"] >= 2

    async def recovered(self):
        """Return the supervisor's snapshot once every component is ready, or None."""
        try:
            snapshot = await self.call(names.SUPERVISOR, SupervisorCalls.snapshot)
        except CoditectError:
            return None
        ready = all(actor["status"] == "ready" for actor in snapshot["actors"])
        return snapshot if ready and snapshot["checked_at"] else None

    async def kill_process(self, name):
        pid = (await self.call(name, Component.ping))["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid


async def test_opening_takes_warm_slots_and_the_pools_refill(server):
    for number in range(4):
        await server.filled()
        opened = await server.open(f"u{number}")
        assert (opened.created, opened.warm_actor, opened.warm_container) == (True, True, True)
        record = await server.call(
            names.session_actor(opened.actor_id), SessionCalls.view, opened.session_id
        )
        assert record.owner_actor_id == opened.actor_id


async def test_more_users_at_once_than_slots_all_get_a_session_of_their_own(server):
    opened = await asyncio.gather(*(server.open(f"crowd{n}") for n in range(6)))
    assert len({o.session_id for o in opened}) == 6
    assert len({o.actor_id for o in opened}) == 6
    containers = await server.services.ledger.containers()
    used = [c.session_id for c in containers if c.status is ContainerStatus.READY]
    assert len(used) == len(set(used))


async def test_a_session_actor_killed_comes_back_with_its_session(server):
    opened = await server.open("killed")
    name = names.session_actor(opened.actor_id)
    before = await server.call(name, SessionCalls.view, opened.session_id)
    pid = await server.kill_process(name)
    again = await server.open("killed", dead_actor_id=opened.actor_id)
    assert again.session_id == opened.session_id
    after = await server.call(
        names.session_actor(again.actor_id), SessionCalls.view, opened.session_id
    )
    assert after.epoch > before.epoch
    assert after.container_id == before.container_id
    assert (await server.call(names.session_actor(again.actor_id), Component.ping))["pid"] != pid


async def test_a_session_actor_gone_for_good_is_replaced(server):
    opened = await server.open("gone")
    name = names.session_actor(opened.actor_id)
    await server.directory.kill(name)

    async def gone() -> bool:
        try:
            await server.call(name, Component.ping)
        except ActorGone:
            return True
        except Unavailable:
            return False
        return False

    await wait_until(gone)  # Ray ends it behind the call that asks for it
    again = await server.open("gone", dead_actor_id=opened.actor_id)
    assert again.session_id == opened.session_id
    assert again.actor_id != opened.actor_id


async def test_the_pool_killed_finds_its_actors_and_containers_again(server):
    opened = await server.open("pool")
    await server.filled()
    before = {name for name in await server.directory.names() if name.startswith("session-")}
    await server.kill_process(POOL)
    await server.filled()
    after = {name for name in await server.directory.names() if name.startswith("session-")}
    assert before == after
    assert (await server.stats())["adoptions_total"] == 4
    again = await server.open("pool")
    assert again.actor_id == opened.actor_id


async def test_a_warm_container_that_ends_is_replaced(server):
    (first, *_) = [
        c for c in await server.services.ledger.containers() if c.status is ContainerStatus.WARM
    ]
    await server.services.runtime.stop(first.handle, 0.0)
    await wait_until(
        lambda: server.services.ledger.container(first.container_id), lambda record: record is None
    )
    await server.filled()


async def test_a_view_of_the_containers_lives_through_the_end_of_the_store(server):
    ledger, view = server.services.ledger, informer.of_containers(server.services)
    await view.refresh()
    waiting = asyncio.create_task(view.wait(120.0))
    await server.kill_process(names.store_actor(NODE))
    await asyncio.wait_for(waiting, 60)
    stored = {record.container_id: record for record in await ledger.containers()}
    known = await view.refresh()
    assert stored.keys() & known.keys()
    waiting = asyncio.create_task(view.wait(120.0))
    [some, *_] = known.values()
    await ledger.put_container(some)
    await asyncio.wait_for(waiting, 60)
    assert view.stats("x") == {"x_known": ANY, "x_gaps_total": 0, "x_repairs_total": 0}


async def test_every_component_killed_comes_back(server):
    opened = await server.open("every")
    for name in (names.store_actor(NODE), names.health_checker_actor(NODE), names.SUPERVISOR):
        await server.kill_process(name)
    snapshot = await wait_until(server.recovered)
    assert snapshot["stuck"] == []
    again = await server.open("every")
    assert (again.session_id, again.actor_id) == (opened.session_id, opened.actor_id)


async def test_metrics_come_from_every_component(server):
    before = (await server.stats())["claims_total"]
    await server.open("metrics")
    collected = await server.call(names.SUPERVISOR, SupervisorCalls.collect_metrics)
    assert {entry["kind"] for entry in collected["actors"].values()} == {
        "store",
        "pool",
        "health",
        "journal",
        "archive",
    }
    assert collected["actors"][POOL]["stats"]["claims_total"] == before + 1
