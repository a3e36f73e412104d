"""The contract of a ContainerRuntime: the sandbox, the stub and the tests' own fake."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from actors.core.errors.requests import InvalidArgument
from actors.core.records.containers import ContainerHandle, ContainerSpec, Health
from cluster.clock import SystemClock
from cluster.runtime.sandbox import SandboxRuntime
from cluster.runtime.stub import StubRuntime
from tests.fakes.agent import FakeAgent
from tests.fakes.runtimes import MemoryRuntime


def _sandbox(data_dir):
    return SandboxRuntime(data_dir, "node-1", agent=FakeAgent(), clock=SystemClock())


def _stub(data_dir):
    return StubRuntime(data_dir, "node-1", poll_seconds=0.01)


_made: dict[object, MemoryRuntime] = {}


def _memory(data_dir):
    return _made.setdefault(data_dir, MemoryRuntime())


MAKERS = [
    pytest.param(_sandbox, marks=pytest.mark.sandbox, id="sandbox"),
    pytest.param(_stub, id="stub"),
]


@pytest.fixture(params=[*MAKERS, pytest.param(_memory, id="memory")])
def make(request, tmp_path):
    """Make the runtime under test; a second call stands for another process of the node."""
    return lambda: request.param(tmp_path)


@pytest_asyncio.fixture
async def runtime(make):
    runtime = make()
    yield runtime
    for handle in await runtime.list():
        await runtime.stop(handle, 0)
    assert await runtime.list() == []
    _made.clear()


def spec(name="one", **changes) -> ContainerSpec:
    fields = {
        "container_id": f"c-{name}",
        "tenant_id": "t",
        "workspace_id": f"w-{name}",
        "secret": "secret",
        "memory_bytes": 256 << 20,
        "pids": 64,
    }
    return ContainerSpec(**(fields | changes))


async def test_a_launched_container_is_healthy_and_listed(runtime):
    handle = await runtime.launch(spec())
    assert handle.container_id == "c-one"
    assert (handle.tenant_id, handle.workspace_id, handle.node_id) == ("t", "w-one", "node-1")
    assert handle.runtime == runtime.name
    assert await runtime.probe(handle) is Health.HEALTHY
    assert await runtime.list() == [handle]


async def test_launching_the_same_container_again_returns_the_same_handle(runtime):
    first, second = await asyncio.gather(runtime.launch(spec()), runtime.launch(spec()))
    assert first == second
    assert await runtime.launch(spec()) == first
    assert len(await runtime.list()) == 1


async def test_a_stopped_container_is_dead_and_no_longer_listed(runtime):
    handle = await runtime.launch(spec())
    await runtime.stop(handle, 1)
    assert await runtime.probe(handle) is Health.DEAD
    assert await runtime.list() == []


async def test_stopping_twice_or_at_once_from_two_sides_is_fine(runtime):
    handle = await runtime.launch(spec())
    await asyncio.gather(runtime.stop(handle, 1), runtime.stop(handle, 1))
    await runtime.stop(handle, 1)
    assert await runtime.list() == []


async def test_waiting_for_the_end_of_a_running_container_returns_when_it_is_stopped(runtime):
    handle = await runtime.launch(spec())
    waiting = asyncio.create_task(runtime.wait_exit(handle))
    await asyncio.sleep(0)
    assert not waiting.done()
    await runtime.stop(handle, 1)
    assert isinstance(await asyncio.wait_for(waiting, 60), str)


async def test_waiting_for_the_end_of_an_ended_container_returns_at_once(runtime):
    handle = await runtime.launch(spec())
    await runtime.stop(handle, 0)
    assert isinstance(await asyncio.wait_for(runtime.wait_exit(handle), 60), str)


async def test_waiting_for_the_end_can_be_cancelled_and_the_container_runs_on(runtime):
    handle = await runtime.launch(spec())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(runtime.wait_exit(handle), 0.05)
    assert await runtime.probe(handle) is Health.HEALTHY


async def test_a_container_can_be_launched_again_after_its_end(runtime):
    handle = await runtime.launch(spec())
    await runtime.stop(handle, 0)
    again = await runtime.launch(spec())
    assert await runtime.probe(again) is Health.HEALTHY


async def test_many_containers_launched_at_once_are_all_there(runtime):
    handles = await asyncio.gather(*(runtime.launch(spec(f"n{i}")) for i in range(5)))
    assert {h.container_id for h in await runtime.list()} == {h.container_id for h in handles}
    assert len({h.address for h in handles}) == 5 or runtime.name == "stub"


async def test_another_process_of_the_node_sees_watches_and_stops_the_container(runtime, make):
    handle = await runtime.launch(spec())
    other = make()
    assert await other.list() == [handle]
    travelled = ContainerHandle.model_validate_json(handle.model_dump_json())
    assert await other.probe(travelled) is Health.HEALTHY
    waiting = asyncio.create_task(runtime.wait_exit(handle))
    await other.stop(travelled, 1)
    await asyncio.wait_for(waiting, 60)
    assert await runtime.list() == []


async def test_deleting_a_workspace_twice_is_fine(runtime):
    handle = await runtime.launch(spec())
    await runtime.stop(handle, 0)
    await runtime.delete_workspace(handle.workspace_id)
    await runtime.delete_workspace(handle.workspace_id)


@pytest.mark.parametrize("bad", ["../escape", "", "a/b", ".hidden", "x" * 200, "a\0b", "-rf"])
@pytest.mark.parametrize("maker", MAKERS)
async def test_ids_that_are_no_file_names_are_refused(maker, bad, tmp_path):
    runtime = maker(tmp_path)
    for field in ("container_id", "workspace_id"):
        with pytest.raises(InvalidArgument) as refused:
            await runtime.launch(spec(**{field: bad}))
        assert refused.value.field == field
    with pytest.raises(InvalidArgument):
        await runtime.delete_workspace(bad)
    assert await runtime.list() == []
