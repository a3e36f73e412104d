"""A whole server whose FoundationDB is killed and restarted while people work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.crowd import Crowd
from tests.support.fdb_process import FdbProcess
from tests.support.server_process import ServerProcess

pytestmark = [
    pytest.mark.ray,
    pytest.mark.fdb,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
]
DOWN_SECONDS = 2.0
KILLS = 3


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FdbProcess]:
    process = FdbProcess(Path(tmp_path_factory.mktemp("fdb")))
    try:
        process.create()
        yield process
    finally:
        process.kill()


@pytest.fixture(scope="module")
def hurt(database: FdbProcess) -> Iterator[ServerProcess]:
    with ServerProcess(
        pool_size=2,
        passivate_after=30,
        dashboard=False,
        store="foundationdb",
        store_fdb_cluster_file=database.cluster_file,
    ) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(hurt: ServerProcess) -> AsyncIterator[Crowd]:
    crowd = Crowd(hurt)
    await crowd.begin()
    yield crowd
    await crowd.close()


async def test_nothing_is_lost_and_nothing_happens_twice_though_the_cluster_goes(crowd, database):
    async with crowd.at_work():
        for _ in range(KILLS):
            await crowd.progress()
            database.kill()
            # For as long as a machine that restarts might be away; people wait meanwhile.
            await asyncio.sleep(DOWN_SECONDS)
            database.start()
        await crowd.progress()
    await crowd.check()
