"""Faults under sessions that have no actor, although people work in them: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import pytest_asyncio

from coditect import AsyncClient
from tests.faults.crowd import Crowd
from tests.faults.faults import Fault, How, inject
from tests.faults.people import PATIENCE_SECONDS, PEOPLE, Worker, patiently
from tests.support.people import PASSWORD
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(400 + 5 * PEOPLE),
    pytest.mark.asyncio(loop_scope="module"),
]

CALLS = 12


@pytest.fixture(scope="module")
def resting() -> Iterator[ServerProcess]:
    """A server whose sessions rest as soon as there is nothing to decide."""
    with ServerProcess(pool_size=2, passivate_after=0.2, dashboard=False) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(resting) -> AsyncIterator[Crowd]:
    crowd = Crowd(resting)
    await crowd.begin()
    yield crowd
    await crowd.close()


async def lives(crowd: Crowd) -> set[str]:
    """Return what the sessions of those who work are doing."""
    mine = {worker.session_id for worker in crowd.workers}
    found = [each async for each in crowd.admin.all_sessions() if each.session_id in mine]
    return {str(each.life) for each in found}


@pytest.mark.parametrize(
    "happening",
    [
        [Fault("container", How.KILL, share=0.5, shells_lost=True)],
        [Fault("container", How.KILL, shells_lost=True), Fault("HealthChecker", How.KILL)],
        [Fault("StoreActor", How.KILL), Fault("PoolActor", How.KILL)],
        [Fault("replica", How.KILL, share=0.5), Fault("WorkerParent", How.KILL)],
    ],
    ids=lambda happening: "-and-".join(map(str, happening)),
)
async def test_nothing_is_lost_and_nothing_comes_twice(crowd, happening):
    chance = random.Random(str(happening))
    async with crowd.at_work():
        await crowd.progress()
        await wait_until(lambda: lives(crowd), lambda seen: seen == {"attached"}, PATIENCE_SECONDS)
        await asyncio.gather(*(inject(crowd.server, fault, chance) for fault in happening))
        await crowd.progress(2)
    await crowd.check()
    assert (crowd.take_restarts() > 0) is any(fault.shells_lost for fault in happening)
    await crowd.somebody_new()


async def test_many_changes_at_once_to_a_session_at_rest_are_all_kept_and_wake_nobody(crowd):
    client, session_id = crowd.workers[0].client, crowd.workers[0].session_id
    await wait_until(lambda: lives(crowd), lambda seen: seen == {"attached"}, PATIENCE_SECONDS)
    before = await client.session(session_id)
    changes = {f"key{number}": number for number in range(CALLS)}
    await asyncio.gather(
        *(client.patch_workspace_state(session_id, {name: n}) for name, n in changes.items())
    )
    after = await client.session(session_id)
    assert changes.items() <= after.workspace_state.items()
    assert (after.epoch, after.actor) == (before.epoch, None)


@asynccontextmanager
async def others(crowd: Crowd, worker: Worker) -> AsyncIterator[list[AsyncClient]]:
    """Sign a person in several times more; over which replica each goes is the edge's matter."""
    clients = [AsyncClient(crowd.url, timeout_seconds=60) for _ in range(CALLS)]
    try:
        await asyncio.gather(*(client.login(worker.email, PASSWORD) for client in clients))
        yield clients
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def test_of_many_calls_to_a_session_at_rest_one_gets_it_an_owner(crowd):
    worker = crowd.workers[0]
    async with others(crowd, worker) as clients:
        await wait_until(lambda: lives(crowd), lambda seen: seen == {"attached"}, PATIENCE_SECONDS)
        before = await worker.client.session(worker.session_id)
        await asyncio.gather(*(client.resume(worker.session_id) for client in clients))
    after = await worker.client.session(worker.session_id)
    assert after.epoch == before.epoch + 1
    assert (after.status, after.container_id) == ("ready", before.container_id)
    await wait_until(lambda: lives(crowd), lambda seen: seen == {"attached"}, PATIENCE_SECONDS)


async def test_a_replica_that_dies_while_both_activate_a_session_costs_nobody_anything(crowd):
    worker, chance = crowd.workers[0], random.Random(1)
    async with others(crowd, worker) as clients, crowd.at_work():
        await crowd.progress()
        await wait_until(lambda: lives(crowd), lambda seen: seen == {"attached"}, PATIENCE_SECONDS)
        before = await worker.client.session(worker.session_id)
        calls = [partial(client.resume, worker.session_id) for client in clients]
        await asyncio.gather(
            *map(patiently, calls),
            inject(crowd.server, Fault("replica", How.KILL, share=0.5), chance),
        )
        await crowd.progress()
    await crowd.check()
    assert crowd.take_restarts() == 0
    await wait_until(lambda: lives(crowd), lambda seen: seen == {"attached"}, PATIENCE_SECONDS)
    after = await worker.client.session(worker.session_id)
    assert after.epoch > before.epoch
    assert (after.status, after.container_id) == ("ready", before.container_id)
