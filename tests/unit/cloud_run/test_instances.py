"""Instances of the emulator, through the library's own client."""

from __future__ import annotations

import httpx
import pytest
import pytest_asyncio
from google.api_core import exceptions
from google.cloud.run_v2.types import Condition

from cluster.dev.cloud_run.emulator import Emulator, Options
from cluster.dev.cloud_run.faults import Fault
from tests.emulators.cloud_run import (
    PARENT,
    PROJECT,
    REGION,
    channel,
    finished,
    identity,
    instance,
    instances,
    service,
    services,
)
from tests.unit.cloud_run.conftest import KEY

NAME = f"{PARENT}/instances/box-1"


@pytest_asyncio.fixture
async def emulator(pages):
    options = Options(projects={PROJECT: (REGION, "us-central1")})
    async with Emulator(pages, options, key=KEY) as running:
        yield running


@pytest_asyncio.fixture
async def over(emulator):
    async with channel(emulator) as opened:
        yield opened


@pytest.fixture
def client(over):
    return instances(over)


async def begun(client, instance_id="box-1", parent=PARENT, **changes):
    made = {"parent": parent, "instance": instance(**changes), "instance_id": instance_id}
    return await client.create_instance(request=made)


async def created(client, instance_id="box-1", **changes):
    return await finished(client, await begun(client, instance_id, **changes))


async def test_an_instance_runs_from_its_creation_on_and_answers_at_its_url(
    client, emulator, pages
):
    made = await created(client)
    assert made.terminal_condition.state is Condition.State.CONDITION_SUCCEEDED
    assert (made.generation, made.observed_generation, made.reconciling) == (1, 1, False)
    assert len(pages.running) == 1
    async with httpx.AsyncClient() as http:
        answer = await http.get(made.urls[0], headers=identity(emulator, made.urls[0]))
        assert answer.status_code == 200
        assert (await http.get(made.urls[0])).status_code == 403
    assert not pages.started[0].frozen
    assert made == await client.get_instance(name=NAME)


async def test_an_instance_that_is_stopped_gets_time_to_end_and_starts_anew_elsewhere(
    client, emulator, pages
):
    made = await created(client)
    headers = identity(emulator, made.urls[0])
    stopped = await finished(client, await client.stop_instance(name=NAME))
    assert pages.started[0].stopped_with == [10.0]
    assert not pages.running
    async with httpx.AsyncClient() as http:
        assert (await http.get(made.urls[0], headers=headers)).status_code == 503
        with pytest.raises(exceptions.FailedPrecondition):
            await client.stop_instance(name=NAME)
        started = await finished(client, await client.start_instance(name=NAME))
        assert (await http.get(made.urls[0], headers=headers)).status_code == 200
    assert started.urls == made.urls
    assert (stopped.generation, started.generation) == (2, 3)
    assert len(pages.running) == 1
    with pytest.raises(exceptions.FailedPrecondition):
        await client.start_instance(name=NAME)


async def test_an_instance_shares_its_name_with_no_instance_and_no_service(client, over):
    await created(client)
    with pytest.raises(exceptions.AlreadyExists):
        await created(client)
    with pytest.raises(exceptions.AlreadyExists):
        await services(over).create_service(parent=PARENT, service=service(), service_id="box-1")


async def test_regions_without_instances_have_none(client):
    with pytest.raises(exceptions.InvalidArgument):
        await begun(client, parent=f"projects/{PROJECT}/locations/us-central1")


async def test_what_is_wrong_with_an_instance_is_said(client):
    with pytest.raises(exceptions.InvalidArgument):
        await created(client, containers=[])
    with pytest.raises(exceptions.InvalidArgument):
        await created(client, "Box")
    with pytest.raises(exceptions.Aborted):
        await created(client)
        await client.delete_instance(request={"name": NAME, "etag": '"stale"'})


async def test_instances_are_listed_and_deleted(client, pages):
    for number in range(3):
        await created(client, f"box-{number}")
    listed = [each.name async for each in await client.list_instances(parent=PARENT)]
    assert listed == [f"{PARENT}/instances/box-{number}" for number in (2, 1, 0)]
    await finished(client, await client.delete_instance(name=listed[0]))
    with pytest.raises(exceptions.NotFound):
        await client.get_instance(name=listed[0])
    assert len(pages.running) == 2


async def test_a_creation_that_hangs_is_given_up_when_it_is_deleted(client, emulator, pages):
    hanging = emulator.faults.inject(Fault("CreateInstance", hangs=True))
    creation = await begun(client)
    await hanging.met.wait()
    await finished(client, await client.delete_instance(name=NAME))
    with pytest.raises(exceptions.GoogleAPICallError, match="given up"):
        await finished(client, creation)
    assert not pages.started


async def test_an_instance_that_crashes_is_started_again(client, emulator, pages):
    await created(client)
    workload = emulator.resource(NAME).workload
    await workload.crash()
    async with workload.changed:
        await workload.changed.wait_for(lambda: len(pages.running) == 1)
    assert len(pages.started) == 2
