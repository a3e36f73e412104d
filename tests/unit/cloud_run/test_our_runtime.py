"""The runtime of ours against the emulator: what it asks for is what the API takes."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio

from actors.core.errors.sessions import LaunchFailed
from actors.core.records.containers import ContainerSpec, Health
from cluster import identity_tokens
from cluster.clock import SystemClock
from cluster.cloud_run_options import Place, SecretReference, Shape
from cluster.dev.cloud_run.emulator import Emulator, Options
from cluster.dev.cloud_run.faults import Fault
from cluster.dev.cloud_run.names import Location
from cluster.dev.cloud_run.quotas import Limits as CloudLimits
from cluster.identity_tokens import Token
from cluster.runtime.cloud_run import launch as launching
from cluster.runtime.cloud_run.client import CloudRunApi
from cluster.runtime.cloud_run.placement import Placement
from cluster.runtime.cloud_run.runtime import CloudRunRuntime, Limits
from cluster.runtime.cloud_run.service_spec import Rules
from tests.emulators.cloud_run import Pages
from tests.unit.cloud_run.conftest import KEY

REGION = "europe-west3"
A, B = Place("project-a", REGION), Place("project-b", REGION)
RULES = Rules(
    node_id="node-1",
    service_account="workspaces@project-a.iam.gserviceaccount.com",
    network="workspaces/inside",
    fdb_cluster="cluster",
    secrets=[SecretReference("TOKEN", "registry-token")],
    codi_arguments=["--max-terminals", "3"],
)


async def healthy(page, reader, writer):
    """Answer as CODI does when it is asked how it is."""
    await reader.readuntil(b"\r\n\r\n")
    body = json.dumps({"boot": page.order.instance_id, "session_id": None}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


@pytest_asyncio.fixture
async def pages():
    return Pages(healthy)


@pytest_asyncio.fixture
async def emulator(pages, monkeypatch):
    options = Options(projects={"project-a": (REGION,), "project-b": (REGION,)}, tls=False)
    async with Emulator(pages, options, key=KEY) as running:

        async def fetch(audience):
            return Token(running.issuer.identity_token(running.email, audience), 1e12)

        for project in ("project-a", "project-b"):
            running.secrets[f"projects/{project}/secrets/registry-token"] = ["old", "new"]
        monkeypatch.setattr(identity_tokens, "fetch_by_google", fetch)
        monkeypatch.setattr(launching, "FIRST_PAUSE", 0.01)
        yield running


@pytest_asyncio.fixture(params=list(Shape))
async def runtime(request, emulator, tmp_path):
    api = CloudRunApi(request.param, f"http://{emulator.endpoint}")
    yield CloudRunRuntime(
        tmp_path,
        api=api,
        shape=request.param,
        rules=RULES,
        placement=Placement((A, B), limit=10, writes=1000),
        limits=Limits(20.0, 10.0, 4, 3600.0),
        clock=SystemClock(),
    )
    await api.close()


def spec(name="one", **changes):
    fields = {
        "container_id": f"c-{name}",
        "tenant_id": "t",
        "workspace_id": f"w-{name}",
        "secret": "secret",
        "user_id": "u-1",
        "env": {"COLOUR": "red"},
    }
    return ContainerSpec(**(fields | changes))


async def test_a_container_is_launched_found_and_removed(runtime, emulator, pages):
    handle = await runtime.launch(spec())
    order = pages.started[0].order
    assert (order.cpu, order.memory_bytes, order.image) == (2.0, 4 << 30, spec().image)
    assert order.args == ("--max-terminals", "3")
    told = {name: order.env[name] for name in ("USER_ID", "FDB_CLUSTER", "TOKEN", "COLOUR")}
    assert told == {"USER_ID": "u-1", "FDB_CLUSTER": "cluster", "TOKEN": "new", "COLOUR": "red"}
    assert await runtime.probe(handle) is Health.HEALTHY
    assert [each.container_id for each in await runtime.list()] == ["c-one"]
    await runtime.stop(handle, 1)
    assert await runtime.probe(handle) is Health.DEAD
    assert not pages.running or emulator.resources()[0].deleted


async def test_a_project_without_room_is_passed_over(runtime, emulator):
    full = CloudLimits(services=0, instances=0)
    emulator.quotas.limit(Location("project-a", REGION), full)
    for number in range(3):
        await runtime.launch(spec(str(number)))
    assert {each.location.project for each in emulator.resources()} == {"project-b"}


async def test_a_creation_whose_answer_is_lost_is_found_by_its_name(runtime, emulator, monkeypatch):
    monkeypatch.setattr("cluster.runtime.cloud_run.client.CALL_SECONDS", 0.5)
    emulator.faults.inject(Fault("Create*", loses_answer=True))
    handle = await runtime.launch(spec())
    assert await runtime.probe(handle) is Health.HEALTHY
    assert len(emulator.resources()) == 1


async def test_a_creation_that_fails_leaves_nothing(runtime, emulator):
    emulator.faults.inject(Fault("Create*", fails="no such image"))
    with pytest.raises(LaunchFailed, match="no such image"):
        await runtime.launch(spec())
    assert not [each for each in emulator.resources() if not each.deleted]
