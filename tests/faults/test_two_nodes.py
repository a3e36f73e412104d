"""Sessions on a second node, and packets that are lost between it and the head: README.md's last table.

The nodes are two network namespaces of one machine. People reach the head's ingress; their sessions'
owners and containers are on the other node. After a loss that lasts longer than the owners' lease, the
sessions go on at the head with what was kept of them, and the former owners write nothing any more.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from coditect import NotFound, Session
from tests.faults.crowd import Crowd
from tests.faults.people import Worker, patiently
from tests.support import network
from tests.support.network import Way, Wire
from tests.support.second_node import SecondNode, serve_store
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.soak,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
]

PEOPLE = 3
LEASE_SECONDS = 6.0
SHORTER, LONGER = 2.0, 15.0
OWNED_SECONDS = 120
_seeds = itertools.count(500)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    reason = network.missing()
    if reason is not None:
        pytest.skip(reason)
    with Wire() as wire:
        yield wire


@pytest.fixture(scope="module", params=[OWNED_SECONDS, 0.5], ids=["owned", "at rest"])
def head(request, wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(
        pool_size=2,
        passivate_after=request.param,
        owner_lease=LEASE_SECONDS,
        orphan_lease=5,
        dashboard=False,
        node_address=wire.here,
        chunk_store=tmp_path_factory.mktemp("chunks"),
    ) as server:
        yield server


@pytest.fixture
def owned(request) -> bool:
    """Whether sessions have owners all the time; else they rest although people are attached."""
    return request.node.callspec.params["head"] == OWNED_SECONDS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store_port(head: ServerProcess, wire: Wire) -> AsyncIterator[int]:
    async with serve_store(head, wire.here) as port:
        yield port


@pytest_asyncio.fixture(loop_scope="module")
async def node(
    head: ServerProcess, wire: Wire, store_port: int, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SecondNode]:
    node = SecondNode(head, wire, tmp_path_factory.mktemp("node"), store_port)
    try:
        await node.start()
        yield node
    finally:
        await node.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def crowd(head: ServerProcess, node: SecondNode) -> AsyncIterator[Crowd]:
    crowd = Crowd(head, seed=next(_seeds))
    try:
        await crowd.begin(PEOPLE, node.open_session)
        yield crowd
    finally:
        await crowd.close()


async def details(crowd: Crowd) -> list[Session]:
    return [await patiently(lambda w=w: w.client.session(w.session_id)) for w in crowd.workers]


async def epochs(crowd: Crowd) -> list[int]:
    return [session.epoch for session in await details(crowd)]


async def kept(worker: Worker) -> bool:
    """Return whether the chunk store has what the worker's programs wrote: at most a second behind."""
    client, session_id = worker.client, worker.session_id
    try:
        [newest, *_] = await client.history(session_id, "typed")
    except NotFound:
        return False
    return newest.size == len(await client.read_file(session_id, "typed"))


async def work_and_rest(crowd: Crowd) -> None:
    """Let people work, and return when what their programs wrote is kept.

    What was written within the second before its node went is no promise.
    """
    async with crowd.at_work():
        await crowd.progress(2)
    for worker in crowd.workers:
        await wait_until(lambda worker=worker: kept(worker))


async def lose_packets(crowd: Crowd, wire: Wire, way: Way, seconds: float) -> None:
    """Let people work, lose packets, see everybody go on, and compare all they were promised."""
    await work_and_rest(crowd)
    async with AsyncExitStack() as loss:
        await loss.enter_async_context(wire.dropping(way))
        async with crowd.at_work():
            await asyncio.sleep(seconds)
            await loss.aclose()
            await crowd.progress(2)
    await crowd.check()
    await crowd.somebody_new()


@pytest.mark.parametrize("way", Way)
async def test_a_loss_shorter_than_the_lease_changes_nothing(crowd, wire, way, owned):
    before = await details(crowd)
    await lose_packets(crowd, wire, way, SHORTER)
    after = await details(crowd)
    assert [new.container_id for new in after] == [old.container_id for old in before]
    # Who finds the container of a session at rest out of reach gets it an owner, who finds it well.
    assert not owned or [new.epoch for new in after] == [old.epoch for old in before]
    assert crowd.take_restarts() == 0


@pytest.mark.parametrize("way", Way)
async def test_after_a_loss_longer_than_the_lease_sessions_go_on_elsewhere(crowd, wire, node, way):
    before = await details(crowd)
    theirs = {session.container_id for session in before}
    assert theirs <= node.containers()
    await lose_packets(crowd, wire, way, LONGER)
    after = await details(crowd)
    assert all(new.epoch > old.epoch for old, new in zip(before, after, strict=True))
    assert crowd.take_restarts() >= PEOPLE

    # Ray has given the node up, and its raylet and actors end when they hear of it. The node joins
    # anew, and stops what is left of the sessions it had.
    await node.ended()
    await node.start()
    await wait_until(
        lambda: asyncio.sleep(0, theirs & node.containers()), lambda left: not left, 60
    )
    assert [s.epoch for s in await details(crowd)] == [s.epoch for s in after]


async def test_owners_that_reach_the_store_keep_their_sessions_until_they_end(
    crowd, wire, node, store_port, owned
):
    """Ray gives the node up, its owners go on renewing their leases: nobody takes over before they end."""
    if not owned:
        pytest.skip("sessions at rest have no owners")
    await work_and_rest(crowd)
    before = await epochs(crowd)
    async with wire.dropping(Way.BOTH, spared_port=store_port):
        await asyncio.sleep(LONGER)
        assert await stored_epochs(crowd) == before
    await node.ended()
    async with crowd.at_work():
        await crowd.progress(2)
    await crowd.check()
    after = await epochs(crowd)
    assert all(new > old for old, new in zip(before, after, strict=True))


async def stored_epochs(crowd: Crowd) -> list[int]:
    """Return the epochs that the list of sessions has, which asks no owner."""
    listed = await asyncio.gather(*(patiently(worker.client.sessions) for worker in crowd.workers))
    return [session.epoch for [session] in listed]
