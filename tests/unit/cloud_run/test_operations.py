"""Operations of the emulator, through the library's own client."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.longrunning import operations_pb2

from cluster.dev.cloud_run.faults import Fault
from tests.emulators.cloud_run import PARENT, finished, service


async def begun(client, service_id="user-1"):
    return await client.create_service(parent=PARENT, service=service(), service_id=service_id)


async def waited(client, name, **more):
    answer = await client.wait_operation({"name": name, **more})
    return operations_pb2.Operation.FromString(answer)  # which the library leaves undone


async def test_waiting_for_an_operation_ends_with_it_or_with_the_time(client, emulator):
    hanging = emulator.faults.inject(Fault("CreateService", hangs=True))
    operation = await begun(client)
    name = operation.operation.name
    seen = await waited(client, name, timeout={"nanos": 1_000_000})
    assert not seen.done
    hanging.release()
    seen = await waited(client, name)
    assert seen.done
    assert (await client.get_operation({"name": name})) == seen
    assert seen.metadata.type_url == "type.googleapis.com/google.cloud.run.v2.Service"
    assert seen.response.type_url == "type.googleapis.com/google.cloud.run.v2.Service"


async def test_operations_are_listed_by_whether_they_are_done(client, emulator):
    await finished(client, await begun(client))
    emulator.faults.inject(Fault("CreateService", hangs=True))
    await begun(client, "user-2")

    async def listed(**more):
        request = operations_pb2.ListOperationsRequest(name=PARENT, **more)
        return await client.list_operations(request)

    assert [each.done for each in (await listed()).operations] == [False, True]
    assert [each.done for each in (await listed(filter="done:true")).operations] == [True]
    assert [each.done for each in (await listed(filter="done:false")).operations] == [False]
    page = await listed(page_size=1)
    rest = await listed(page_size=1, page_token=page.next_page_token)
    assert [each.done for each in rest.operations] == [True]
    assert rest.next_page_token == ""
    with pytest.raises(exceptions.InvalidArgument):
        await listed(filter="name:x")


async def test_a_deleted_operation_goes_on_and_is_not_found(client):
    operation = await begun(client)
    await client.delete_operation({"name": operation.operation.name})
    with pytest.raises(exceptions.NotFound):
        await client.get_operation({"name": operation.operation.name})
    assert (await client.get_service(name=f"{PARENT}/services/user-1")).name


async def test_operations_cannot_be_cancelled_as_cloud_runs_cannot(client):
    operation = await begun(client)
    with pytest.raises(exceptions.MethodNotImplemented):
        await client.transport.operations_client.cancel_operation(operation.operation.name)
