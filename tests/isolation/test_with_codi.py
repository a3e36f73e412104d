"""The runtime with the real CODI: the two sides of ``docs/design/codi.md`` meet."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
import pytest_asyncio

from actors.core.records.containers import Health
from cluster.clock import SystemClock
from cluster.codi.bundle import bundle
from cluster.runtime.registry import Processes
from cluster.runtime.sandbox import SandboxRuntime
from tests.isolation.inside import spec

pytestmark = pytest.mark.sandbox


@pytest_asyncio.fixture
async def runtime(tmp_path):
    runtime = SandboxRuntime(tmp_path, "n", agent=bundle(tmp_path / "runtime"), clock=SystemClock())
    yield runtime
    for handle in await runtime.list():
        await runtime.stop(handle, 0)


async def test_codi_answers_and_ends_when_it_is_asked_to(runtime):
    handle = await runtime.launch(spec())
    assert await runtime.probe(handle) is Health.HEALTHY
    assert await runtime.probe(handle.model_copy(update={"secret": "wrong"})) is Health.UNHEALTHY
    waiting = asyncio.create_task(runtime.wait_exit(handle))
    os.kill(Processes.of(handle).agent.pid, signal.SIGTERM)
    assert await asyncio.wait_for(waiting, 60) == "ended by itself"
    await runtime.stop(handle, 0)


async def test_the_agent_in_the_handle_is_codi_itself(runtime):
    handle = await runtime.launch(spec())
    pid = Processes.of(handle).agent.pid
    assert Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0") == b"codi"
    assert re.search(r"NSpid:\t(?:\d+\t)*2\n", Path(f"/proc/{pid}/status").read_text())


async def test_codi_holds_no_descriptor_of_the_launch_but_its_socket_and_its_log(runtime):
    handle = await runtime.launch(spec())
    pid = Processes.of(handle).agent.pid
    links = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the connection that asked for its health
            links.append(os.readlink(path))
    assert links
    assert not [link for link in links if link.startswith(("pipe:", "/memfd:", "user:"))]
