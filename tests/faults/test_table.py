"""One test a row of the table in README.md: a fault under load, and then nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest
import pytest_asyncio

from tests.faults import faults
from tests.faults.crowd import Crowd
from tests.faults.faults import Fault, inject
from tests.support import processes
from tests.support.server_process import ServerProcess
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
]

SEED = int(os.environ.get("CODITECT_FAULTS_SEED", "1"))
MINUTES = float(os.environ.get("CODITECT_FAULTS_MINUTES", "10"))
OWNER_LEASE_SECONDS = 6.0
# Seed 2 takes a session's CODI and its owner at once, 8 a keeper and the GCS.
PAIRS = [2, 8, *(pytest.param(100 * SEED + n, marks=pytest.mark.soak) for n in range(6))]


def rows(table: list[Fault]) -> list:
    return [
        pytest.param(fault, id=str(fault), marks=[pytest.mark.soak] if fault.slow else [])
        for fault in table
    ]


@pytest.fixture(scope="module")
def hurt() -> Iterator[ServerProcess]:
    """A server to be hurt; others' tests have one of their own."""
    settings = {"passivate_after": 30, "owner_lease": OWNER_LEASE_SECONDS, "dashboard": False}
    with ServerProcess(pool_size=2, **settings) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(hurt) -> AsyncIterator[Crowd]:
    crowd = Crowd(hurt)
    await crowd.begin()
    yield crowd
    await crowd.close()


async def survive(crowd: Crowd, *happening: Fault, seed: int) -> None:
    """Let people work, let it happen, see everybody go on, and compare all they were promised."""
    for reason in filter(None, map(faults.missing_tool, happening)):
        pytest.skip(reason)
    chance = random.Random(seed)
    async with crowd.at_work():
        await crowd.progress()
        await asyncio.gather(*(inject(crowd.server, fault, chance) for fault in happening))
        await crowd.progress(2)
    shells_lost = any(fault.shells_lost for fault in happening)
    await crowd.check()
    assert (crowd.take_restarts() > 0) is shells_lost
    await crowd.somebody_new()
    await wait_until(lambda: asyncio.to_thread(crowd.server.is_healthy))


@pytest.mark.parametrize(
    "fault", rows([*faults.KILLS, *faults.FREEZES, *faults.NETWORK, *faults.WHOLE])
)
async def test_nothing_is_lost_and_nothing_comes_twice(crowd, fault):
    await survive(crowd, fault, seed=SEED)


@pytest.mark.soak
async def test_owners_stopped_past_their_lease_are_replaced_and_end_themselves(crowd):
    async def epochs() -> list[int]:
        return [(await w.client.session(w.session_id)).epoch for w in crowd.workers]

    before = await epochs()
    stopped = processes.send(processes.of(crowd.server, "SessionActor"), signal.SIGSTOP)
    try:
        async with crowd.at_work():
            await crowd.progress(2)
        after = await epochs()
        assert all(new > old for old, new in zip(before, after, strict=True))
    finally:
        processes.send(stopped, signal.SIGCONT)

    async def zombies() -> int:
        return sum(psutil.pid_exists(pid) for pid in stopped)

    # Those that were warm go on; each that owned a session has ended.
    await wait_until(zombies, lambda left: left <= len(stopped) - len(crowd.workers))
    assert await epochs() == after
    await survive(crowd, seed=SEED)


@pytest.mark.parametrize("seed", PAIRS)
async def test_nothing_is_lost_by_two_faults_at_once(crowd, seed):
    await survive(crowd, *faults.pair(seed), seed=seed)


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_nothing_is_lost_over_a_long_time(crowd):
    """`make soak SEED=1 MINUTES=10`: the same seed makes the same schedule."""
    loop = asyncio.get_running_loop()
    until = loop.time() + 60 * MINUTES
    for number, happening in enumerate(faults.schedule(SEED)):
        if loop.time() > until:
            break
        sys.stdout.write(f"{number}: {' and '.join(map(str, happening))}\n")
        await survive(crowd, *happening, seed=SEED * 1000 + number)
