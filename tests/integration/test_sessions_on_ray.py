"""Session actors on a real Ray, over the embedded store, with real sandboxes and their CODI."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import ray

from actors.core import names
from actors.core.calls import Component, PoolCalls, SessionCalls, SupervisorCalls
from actors.core.directory import ActorDirectory
from actors.core.errors.base import ActorGone, CoditectError, Unavailable
from actors.core.errors.requests import PreconditionFailed
from actors.core.errors.sessions import NotBound
from actors.core.records.sessions import Opened, Route, SessionPhase, SessionRecord
from cluster.settings import Settings
from cluster.wiring.blueprints import make_supervisor
from cluster.wiring.node import NodeWiring
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.sandbox,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
]

logger = logging.getLogger(__name__)

NODE = "node-s"
POOL = names.pool_actor(NODE)
ROOT = Path(__file__).parents[2]
SLOTS = 3


@pytest.fixture(scope="module")
def ray_head() -> Iterator[None]:
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
            yield
        finally:
            ray.shutdown()
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


class Node:
    """One node's actors, and a caller of them that asks again as the ingress does."""

    def __init__(self, data_dir: Path) -> None:
        self.wiring = NodeWiring(
            Settings(
                data_dir=data_dir,
                pool_size=SLOTS,
                store_map_size=64 << 20,
                passivate_after=2.0,
                attach_ttl=600.0,
            ),
            NODE,
        )
        self.directory = ActorDirectory()
        self.ledger: Any = None
        self.runtime: Any = None

    async def up(self) -> None:
        await self.directory.create(names.SUPERVISOR, lambda: make_supervisor(self.wiring))
        services = await self.wiring()
        self.ledger, self.runtime = services.ledger, services.runtime
        await self.filled()

    async def down(self) -> None:
        for handle in await self.runtime.list():
            await self.runtime.stop(handle, 0.0)
        await self.directory.call(names.SUPERVISOR, SupervisorCalls.shutdown, 30.0)
        for handle in await self.runtime.list():
            await self.runtime.stop(handle, 0.0)
        await self.directory.kill(names.SUPERVISOR)
        # Ray ends actors behind the call that asks for it, and they write to the data directory.
        await wait_until(self.directory.names, lambda left: left == [])
        self.directory.close()

    async def filled(self) -> None:
        async def full() -> bool:
            try:
                stats = await self.directory.call(POOL, PoolCalls.stats, 5.0)
            except CoditectError:
                return False
            return min(stats["warm_actors_ready"], stats["warm_containers_ready"]) >= SLOTS

        await wait_until(full, timeout_seconds=90.0)

    async def open(self, user: str) -> Opened:
        opened: Opened = await self.directory.call(
            POOL,
            PoolCalls.open_session,
            30.0,
            user_id=user,
            name="main",
            key=f"{user}-{time.time_ns()}",
        )
        return opened

    async def call(self, opened: Opened, method: Any, *args: Any, seconds: float = 30.0) -> Any:
        """Call the session's owner as the store names it, until it answers."""
        actor_id: str | None = opened.actor_id
        async with asyncio.timeout(seconds):
            while True:
                name = names.session_actor(str(actor_id))
                try:
                    return await self.directory.call(
                        name, method, seconds, opened.session_id, *args
                    )
                except (NotBound, ActorGone, Unavailable):
                    await asyncio.sleep(0.02)
                    record = await self.ledger.session(opened.session_id)
                    actor_id = record.owner_actor_id if record else None

    async def route(self, opened: Opened, newer_than: int = 0) -> Route:
        route: Route = await self.call(opened, SessionCalls.route, newer_than, 25.0)
        return route

    async def handle(self, container_id: str) -> Any:
        return {h.container_id: h for h in await self.runtime.list()}[container_id]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(ray_head: None) -> AsyncIterator[Node]:
    with tempfile.TemporaryDirectory(prefix="cs-", dir="/tmp") as directory:
        made = Node(Path(directory))
        await made.up()
        yield made
        await made.down()


@pytest_asyncio.fixture(loop_scope="module")
async def node(shared: Node) -> Node:
    """The one node of all tests, with full pools; each test has users of its own."""
    await shared.filled()
    return shared


def kill_container(handle: Any) -> None:
    os.kill(handle.data["init"]["pid"], signal.SIGKILL)


async def test_a_claimed_slot_serves_within_the_time_of_a_login(node):
    took = []
    for number in range(5):
        await node.filled()
        began = time.perf_counter()
        opened = await node.open(f"u{number}")
        route = await node.route(opened)
        took.append(time.perf_counter() - began)
        assert opened.warm_container
        assert route.address
    logger.info("open to route: p50 %.4f s, longest %.4f s", statistics.median(took), max(took))


async def test_a_killed_container_is_replaced_on_the_same_workspace(node):
    opened = await node.open("container")
    before = await node.route(opened)
    await node.call(opened, SessionCalls.patch_workspace_state, {"open": ["a"]}, "k1")
    took = []
    for _ in range(3):
        handle = await node.handle(before.container_id)
        began = time.perf_counter()
        kill_container(handle)
        after = await node.route(opened, before.epoch)
        took.append(time.perf_counter() - began)
        assert after.container_id != before.container_id
        replaced = await node.handle(after.container_id)
        assert replaced.workspace_id == handle.workspace_id
        before = after
        await asyncio.sleep(0.1)
    view: SessionRecord = await node.call(opened, SessionCalls.view)
    assert view.workspace_state["open"] == ["a"]
    assert view.restarts == 3
    logger.info("killed container to route: %s s", [round(seconds, 3) for seconds in took])


async def test_a_killed_actor_comes_back_with_the_same_container(node):
    opened = await node.open("actor")
    before = await node.route(opened)
    await node.call(opened, SessionCalls.patch_workspace_state, {"a": 1}, "k1")
    await node.call(opened, SessionCalls.patch_workspace_state, {"a": 2}, "k2")
    pid = (await node.directory.call(names.session_actor(opened.actor_id), Component.ping, 5.0))[
        "pid"
    ]
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    after = await node.route(opened, before.epoch)
    took = time.perf_counter() - began
    assert after.container_id == before.container_id
    again = await node.call(opened, SessionCalls.patch_workspace_state, {"a": 1}, "k1")
    assert again.workspace_state["a"] == 2
    logger.info("killed actor to route: %.3f s", took)


async def test_a_passive_session_costs_no_actor_and_is_activated_with_its_container(node):
    opened = await node.open("passive")
    before = await node.route(opened)

    async def passive() -> bool:
        record = await node.ledger.session(opened.session_id)
        return record.owner_actor_id is None

    await wait_until(passive)
    ping = await node.directory.call(names.session_actor(opened.actor_id), Component.ping, 5.0)
    assert ping["session_id"] is None
    began = time.perf_counter()
    again = await node.open("passive")
    after = await node.route(again)
    took = time.perf_counter() - began
    assert again.session_id == opened.session_id
    assert after.container_id == before.container_id
    logger.info("activation of a passive session: %.4f s", took)


async def test_a_passive_sessions_container_is_replaced_before_anybody_comes_back(node):
    opened = await node.open("away")
    before = await node.route(opened)

    async def record() -> SessionRecord:
        return await node.ledger.session(opened.session_id)

    await wait_until(record, lambda seen: seen.owner_actor_id is None)
    kill_container(await node.handle(before.container_id))
    after = await wait_until(
        record,
        lambda seen: seen.phase is SessionPhase.READY and seen.container_id != before.container_id,
        timeout_seconds=60.0,
    )
    assert (await node.handle(after.container_id)).workspace_id == after.workspace_id
    await wait_until(record, lambda seen: seen.owner_actor_id is None)


async def test_hibernating_resuming_and_ending(node):
    opened = await node.open("hibernating")
    before = await node.route(opened)
    view = await node.call(opened, SessionCalls.hibernate, "k1")
    assert view.phase is SessionPhase.HIBERNATED
    assert before.container_id not in {h.container_id for h in await node.runtime.list()}
    with pytest.raises(PreconditionFailed):
        await node.route(opened)
    await node.call(opened, SessionCalls.resume, "k2")
    assert (await node.route(opened)).epoch > before.epoch
    await node.call(opened, SessionCalls.end, "k3")
    assert await node.ledger.session(opened.session_id) is None
