"""The contract of a ContainerRuntime: the sandbox, Cloud Run, the stub and the tests' own fake.

Cloud Run is the emulator; and Google's own, with ``CODITECT_TEST_CLOUD_RUN_PLACE`` (PROJECT/REGION),
``…_SERVICE_ACCOUNT``, ``…_NETWORK`` and ``…_IMAGE``, which has CODI, and credentials that google-auth finds.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest
import pytest_asyncio

from actors.core.errors.requests import InvalidArgument
from actors.core.records.containers import ContainerHandle, ContainerSpec, Health
from cluster import identity_tokens
from cluster.clock import SystemClock
from cluster.dev.cloud_run.emulator import Emulator, Options
from cluster.dev.cloud_run.programs.sandboxes import Sandboxes
from cluster.dev.cloud_run.serving.plan import Timings
from cluster.identity_tokens import Token
from cluster.runtime.sandbox import SandboxRuntime
from cluster.runtime.stub import StubRuntime
from cluster.settings import Settings
from cluster.wiring.cloud_run import make_cloud_run
from tests.emulators.cloud_run import PROJECT, REGION
from tests.fakes.agent import FakeAgent
from tests.fakes.runtimes import MemoryRuntime


def _sandbox(data_dir):
    return SandboxRuntime(data_dir, "node-1", agent=FakeAgent(), clock=SystemClock())


def _stub(data_dir):
    return StubRuntime(data_dir, "node-1", poll_seconds=0.01)


def _cloud_run(data_dir, **options):
    settings = Settings(runtime="cloud_run", data_dir=data_dir, **options)
    return make_cloud_run(settings, "node-1", ())


@pytest_asyncio.fixture
async def emulated(tmp_path_factory, monkeypatch):
    """Emulate Cloud Run; return what makes a runtime of it."""
    # CODI is packed once: the directory is the same for all, one after another.
    programs = Sandboxes(tmp_path_factory.getbasetemp() / "cloud-run", SystemClock())
    async with Emulator(programs, Options(tls=False, timings=Timings(grace=0.5))) as emulator:

        async def fetch(
            audience,
        ):  # google-auth reads its metadata server's address when it is imported
            return Token(emulator.issuer.identity_token(emulator.email, audience), 1e12)

        monkeypatch.setattr(identity_tokens, "fetch_by_google", fetch)
        yield partial(
            _cloud_run,
            cloud_run_places=f"{PROJECT}/{REGION}",
            cloud_run_service_account=f"nobody@{PROJECT}.iam.gserviceaccount.com",
            cloud_run_network="closed",
            cloud_run_endpoint=f"http://{emulator.endpoint}",
            launch_timeout=100,
            probe_timeout=20,
        )
    await programs.close()


@pytest.fixture
def real():
    """Return what makes a runtime of Google's Cloud Run."""
    given = {name: os.environ.get(f"CODITECT_TEST_CLOUD_RUN_{name}") for name in REAL}
    if not all(given.values()):
        pytest.skip("CODITECT_TEST_CLOUD_RUN_PLACE and its like name no place of Cloud Run")
    return partial(
        _cloud_run,
        cloud_run_places=given["PLACE"],
        cloud_run_service_account=given["SERVICE_ACCOUNT"],
        cloud_run_network=given["NETWORK"],
        launch_timeout=120,
    )


REAL = ("PLACE", "SERVICE_ACCOUNT", "NETWORK", "IMAGE")
IMAGE = os.environ.get("CODITECT_TEST_CLOUD_RUN_IMAGE", "coditect/workspace:latest")
_made: dict[object, MemoryRuntime] = {}


def _memory(data_dir):
    return _made.setdefault(data_dir, MemoryRuntime())


MAKERS = [
    pytest.param(_sandbox, marks=pytest.mark.sandbox, id="sandbox"),
    pytest.param(_stub, id="stub"),
]


@pytest.fixture(
    params=[
        *MAKERS,
        pytest.param(_memory, id="memory"),
        pytest.param("emulated", marks=pytest.mark.sandbox, id="cloud-run"),
        pytest.param("real", marks=pytest.mark.timeout(600), id="google"),
    ]
)
def make(request, tmp_path):
    """Make the runtime under test; a second call stands for another process of the node."""
    if isinstance(request.param, str):
        maker = request.getfixturevalue(request.param)
        return lambda: maker(tmp_path)
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
        "user_id": "u-1",
        "image": IMAGE,
        "memory_bytes": 512 << 20,
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
