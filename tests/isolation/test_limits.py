"""Limits of a container, which the rest of the machine does not feel."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest

from actors.core.errors.sessions import LaunchFailed
from actors.core.records.containers import Health
from cluster.runtime.cgroups import Cgroups
from tests.isolation.inside import run, spec
from tests.support.waiting import wait_until

pytestmark = pytest.mark.sandbox

_AVAILABLE = Cgroups.detect(f"coditect-tests-{os.getpid()}").available


def needs(controller):
    return pytest.mark.skipif(
        controller not in _AVAILABLE, reason=f"control groups give no {controller} limit here"
    )


async def test_a_fork_bomb_hits_the_limit_and_the_agent_goes_on_serving(runtime):
    container = await runtime.launch(spec(pids=40))
    bomb = asyncio.create_task(run(container, "bomb() { bomb | bomb & }; bomb; sleep 1"))
    await wait_until(lambda: runtime.stats(container), lambda stats: stats["pids"] >= 35)
    assert await runtime.probe(container) is Health.HEALTHY
    assert (await runtime.stats(container))["pids"] <= 48
    await runtime.stop(container, 0)
    await asyncio.gather(bomb, return_exceptions=True)
    assert await runtime.list() == []


@needs("memory")
async def test_too_much_memory_costs_the_program_and_not_the_container(runtime):
    container = await runtime.launch(spec(memory_bytes=128 << 20))
    greedy = "echo 900 > /proc/self/oom_score_adj; head -c 300M /dev/zero | tail"
    result = await run(container, greedy)
    assert result.exit_code != 0
    assert await runtime.probe(container) is Health.HEALTHY


@needs("cpu")
async def test_processor_time_is_limited(runtime):
    container = await runtime.launch(spec(cpu=0.2))
    spin = "timeout 1 sh -c 'while :; do :; done'; true"
    before = (await runtime.stats(container))["cpu_seconds"]
    await run(container, spin)
    used = (await runtime.stats(container))["cpu_seconds"] - before
    assert used < 0.6


async def test_usage_is_reported(runtime):
    container = await runtime.launch(spec())
    await run(container, "for i in $(seq 20000); do :; done")
    stats = await runtime.stats(container)
    assert stats["cpu_seconds"] > 0
    assert 1 << 20 < stats["memory_bytes"] < 256 << 20
    assert 2 <= stats["pids"] < 20


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "none", str(path)], check=True
    )
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


async def test_a_full_disk_is_the_containers_problem_alone(make_runtime, small_disk):
    runtime = make_runtime(small_disk)
    container = await runtime.launch(spec("full"))
    result = await run(container, "cat /dev/zero > /workspace/big; echo $?; ls -s big | cut -c1")
    assert "No space left on device" in result.stderr
    assert await runtime.probe(container) is Health.HEALTHY
    assert [h.container_id for h in await runtime.list()] == ["c-full"]
    with pytest.raises(LaunchFailed):
        await runtime.launch(spec("other"))
    await run(container, "rm /workspace/big")
    other = await runtime.launch(spec("other"))
    assert await runtime.probe(other) is Health.HEALTHY
    for handle in await runtime.list():
        await runtime.stop(handle, 0)
