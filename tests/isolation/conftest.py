"""Sandboxes of one data directory, all stopped at the end."""

from __future__ import annotations

import pytest_asyncio

from cluster.clock import SystemClock
from cluster.runtime.sandbox import SandboxRuntime
from tests.fakes.agent import FakeAgent
from tests.isolation.inside import spec


@pytest_asyncio.fixture
async def make_runtime(tmp_path):
    """Make runtimes on one data directory; whatever they started is stopped at the end."""
    made = []

    def make(data_dir=tmp_path / "data", env=None, **options):
        agent = FakeAgent(env or {})
        made.append(SandboxRuntime(data_dir, "node-1", agent=agent, clock=SystemClock(), **options))
        return made[-1]

    yield make
    for runtime in made:
        for handle in await runtime.list():
            await runtime.stop(handle, 0)


@pytest_asyncio.fixture
async def runtime(make_runtime):
    return make_runtime()


@pytest_asyncio.fixture
async def container(runtime):
    return await runtime.launch(spec())
