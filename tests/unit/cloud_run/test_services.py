"""Services of the emulator, through the library's own client."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from google.api_core import exceptions
from google.cloud.run_v2.types import Condition
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2

from cluster.dev.cloud_run.faults import Fault
from cluster.dev.cloud_run.names import Location
from cluster.dev.cloud_run.quotas import Limits
from tests.emulators.cloud_run import (
    PARENT,
    PROJECT,
    REGION,
    connected,
    container,
    finished,
    identity,
    service,
)

NAME = f"{PARENT}/services/user-1"


async def created(client, service_id="user-1", **changes):
    operation = await client.create_service(
        parent=PARENT, service=service(**changes), service_id=service_id
    )
    return await finished(client, operation)


def violated(refused) -> list[str]:
    return [v.field for d in refused.value.details for v in d.field_violations]


async def test_a_created_service_is_reconciling_until_its_operation_is_finished(client, emulator):
    hanging = emulator.faults.inject(Fault("CreateService", hangs=True))
    operation = await client.create_service(
        parent=PARENT, service=service(labels={"owner": "coditect"}), service_id="user-1"
    )
    assert operation.operation.name.startswith(f"{PARENT}/operations/")
    assert not await operation.done()
    during = await client.get_service(name=NAME)
    assert during.reconciling
    assert during.terminal_condition.state is Condition.State.CONDITION_RECONCILING
    assert (during.generation, during.observed_generation, during.uri) == (1, 0, "")
    hanging.release()
    done = await finished(client, operation)
    assert not done.reconciling
    assert done.terminal_condition.type_ == "Ready"
    assert done.terminal_condition.state is Condition.State.CONDITION_SUCCEEDED
    assert (done.generation, done.observed_generation) == (1, 1)
    assert done.latest_ready_revision == done.latest_created_revision
    assert done.uri.startswith("http://127.0.0.1:")
    assert done.labels == {"owner": "coditect"}
    assert done.uid
    assert done.etag != during.etag
    assert done == await client.get_service(name=NAME)


async def test_a_request_with_an_identity_token_reaches_the_container(client, emulator, pages):
    made = await created(client)
    headers = identity(emulator, made.uri)
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{made.uri}/path?query", headers=headers)
        assert (await http.get(made.uri)).status_code == 403
        wrong = identity(emulator, "https://elsewhere.example")
        assert (await http.get(made.uri, headers=wrong)).status_code == 401
        nobody = identity(emulator, made.uri, "nobody@example.com")
        assert (await http.get(made.uri, headers=nobody)).status_code == 403
    assert answer.status_code == 200
    assert answer.text.startswith("GET /path?query HTTP/1.1")
    assert headers["authorization"] not in answer.text
    assert ".SIGNATURE_REMOVED_BY_GOOGLE" in answer.text
    assert pages.started[0].order.env["K_SERVICE"] == "user-1"
    assert pages.started[0].order.env["PORT"] == "8080"


async def test_authorization_is_the_containers_own_beside_x_serverless_authorization(
    client, emulator
):
    made = await created(client)
    token = identity(emulator, made.uri)["authorization"]
    headers = {"x-serverless-authorization": token, "authorization": "Bearer mine"}
    async with httpx.AsyncClient() as http:
        answer = await http.get(made.uri, headers=headers)
    assert "authorization: Bearer mine" in answer.text


async def test_a_taken_name_is_a_conflict_also_while_it_is_being_deleted(client, emulator):
    await created(client)
    with pytest.raises(exceptions.AlreadyExists):
        await created(client)
    hanging = emulator.faults.inject(Fault("DeleteService", hangs=True))
    deletion = await client.delete_service(name=NAME)
    with pytest.raises(exceptions.AlreadyExists):
        await created(client)
    hanging.release()
    assert (await finished(client, deletion)).delete_time is not None
    with pytest.raises(exceptions.NotFound):
        await client.get_service(name=NAME)
    await created(client)


@pytest.mark.parametrize(
    "service_id", ["", "User", "1user", "user_1", "user-", "-user", "u" * 50, "a/b", "user.1"]
)
async def test_ids_that_the_service_refuses_are_refused(client, service_id):
    with pytest.raises(exceptions.InvalidArgument) as refused:
        await created(client, service_id)
    assert violated(refused) == ["Violation in CreateServiceRequest.service_id"]


async def test_an_id_of_49_characters_is_taken(client):
    assert (await created(client, "u" * 49)).name == f"{PARENT}/services/{'u' * 49}"


TEMPLATE = "CreateServiceRequest.service.template"
CONTAINER = f"{TEMPLATE}.containers[0]"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"template": {"containers": []}}, f"{TEMPLATE}.containers"),
        ({"template": {"timeout": {"seconds": 3601}}}, f"{TEMPLATE}.timeout"),
        (
            {"template": {"max_instance_request_concurrency": 1001}},
            f"{TEMPLATE}.max_instance_request_concurrency",
        ),
        (
            {"template": {"scaling": {"min_instance_count": 2, "max_instance_count": 1}}},
            f"{TEMPLATE}.scaling.min_instance_count",
        ),
        ({"template": {"service_account": "root"}}, f"{TEMPLATE}.service_account"),
        ({"template": {"revision": "other-1"}}, f"{TEMPLATE}.revision"),
        ({"labels": {"Owner": "x"}}, "CreateServiceRequest.service.labels"),
        ({"labels": {"owner": "Me"}}, "CreateServiceRequest.service.labels"),
        ({"labels": {"run.googleapis.com/x": "y"}}, "CreateServiceRequest.service.labels"),
        ({"annotations": {"not a key": ""}}, "CreateServiceRequest.service.annotations"),
        ({"description": "x" * 513}, "CreateServiceRequest.service.description"),
    ],
)
async def test_what_the_service_refuses_is_refused(client, changes, field):
    with pytest.raises(exceptions.InvalidArgument) as refused:
        await created(client, **changes)
    assert f"Violation in {field}" in violated(refused)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"image": ""}, "image"),
        ({"image": "Not An Image"}, "image"),
        ({"ports": [{"container_port": 1}, {"container_port": 2}]}, "ports"),
        ({"ports": [{"container_port": 70000}]}, "ports[0].container_port"),
        ({"env": [{"name": "PORT", "value": "1"}]}, "env[0].name"),
        ({"env": [{"name": "K_SERVICE", "value": "1"}]}, "env[0].name"),
        ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "env[1].name"),
        ({"env": [{"name": "A", "value": "x" * 32769}]}, "env[0].value"),
        ({"resources": {"limits": {"cpu": "3"}}}, "resources.limits"),
        ({"resources": {"limits": {"cpu": "1", "memory": "8Gi"}}}, "resources.limits"),
        ({"resources": {"limits": {"cpu": "2", "memory": "4 GB"}}}, "resources.limits"),
        ({"resources": {"limits": {"disk": "1"}}}, "resources.limits"),
        ({"startup_probe": {"period_seconds": 10}}, "startup_probe"),
        (
            {"startup_probe": {"tcp_socket": {}, "period_seconds": 100, "failure_threshold": 3}},
            "startup_probe",
        ),
        (
            {"startup_probe": {"http_get": {"path": "health"}}},
            "startup_probe.http_get.path",
        ),
    ],
)
async def test_what_the_service_refuses_of_a_container_is_refused(client, changes, field):
    with pytest.raises(exceptions.InvalidArgument) as refused:
        await created(client, template={"containers": [container(**changes)]})
    assert f"Violation in {CONTAINER}.{field}" in violated(refused)


@pytest.mark.parametrize("parent", ["", "projects/p", "projects/UPPER/locations/r", f"{PARENT}/"])
async def test_a_malformed_parent_is_refused(client, parent):
    with pytest.raises(exceptions.InvalidArgument):
        await client.create_service(parent=parent, service=service(), service_id="user-1")


async def test_a_region_or_project_that_is_not_there_is_denied(client):
    for parent in (
        f"projects/{PROJECT}/locations/mars-1",
        f"projects/strangers/locations/{REGION}",
    ):
        with pytest.raises(exceptions.PermissionDenied):
            await client.create_service(parent=parent, service=service(), service_id="user-1")


async def test_callers_without_a_token_or_a_role_are_turned_away(emulator, client):
    await created(client)
    async with connected(emulator, "nobody@example.com") as nobody:
        with pytest.raises(exceptions.PermissionDenied):
            await nobody.get_service(name=NAME)
        emulator.access.grant("nobody@example.com", PROJECT, "roles/run.viewer")
        assert (await nobody.get_service(name=NAME)).name == NAME
        with pytest.raises(exceptions.PermissionDenied):
            await nobody.delete_service(name=NAME)
        emulator.access.grant("nobody@example.com", PROJECT, "roles/run.developer")
        with pytest.raises(
            exceptions.PermissionDenied
        ) as refused:  # nor may they act as its account
            await created(nobody, "user-2")
        assert "iam.serviceaccounts.actAs" in str(refused.value)
    emulator.issuer.revoke_access_tokens()
    with pytest.raises(exceptions.Unauthenticated):
        await client.get_service(name=NAME)


async def test_quotas_of_services_and_of_writes_are_kept(client, emulator):
    location = Location(PROJECT, REGION)
    emulator.quotas.limit(location, Limits(services=1))
    await created(client)
    with pytest.raises(exceptions.ResourceExhausted) as refused:
        await created(client, "user-2")
    assert refused.value.reason == "RESOURCE_QUOTA_EXCEEDED"
    emulator.quotas.limit(location, Limits(write_requests=2))
    with pytest.raises(exceptions.ResourceExhausted) as refused:
        await created(client, "user-2")
    assert refused.value.reason == "RATE_LIMIT_EXCEEDED"
    assert (await client.get_service(name=NAME)).name == NAME


async def test_services_are_listed_in_pages_the_newest_first(client):
    for number in range(5):
        await created(client, f"user-{number}")
    pager = await client.list_services(request={"parent": PARENT, "page_size": 2})
    sizes = [len(page.services) async for page in pager.pages]
    assert sizes == [2, 2, 1]
    names = [
        each.name.rpartition("/")[2] async for each in await client.list_services(parent=PARENT)
    ]
    assert names == [f"user-{number}" for number in reversed(range(5))]
    with pytest.raises(exceptions.InvalidArgument):
        await client.list_services(request={"parent": PARENT, "page_token": "?"})


async def test_pages_go_on_when_what_was_listed_is_deleted_meanwhile(client):
    for number in range(4):
        await created(client, f"user-{number}")
    seen = []
    async for each in await client.list_services(request={"parent": PARENT, "page_size": 1}):
        seen.append(each.name)
        await finished(client, await client.delete_service(name=each.name))
    assert len(seen) == 4


async def test_an_update_makes_a_new_revision_and_stops_the_instances_of_the_old(client, pages):
    made = await created(client)
    made.template.containers[0].env.append({"name": "COLOUR", "value": "red"})
    updated = await finished(client, await client.update_service(service=made))
    assert (updated.generation, updated.observed_generation) == (2, 2)
    assert updated.latest_ready_revision != made.latest_ready_revision
    assert (updated.uri, updated.uid, updated.create_time) == (made.uri, made.uid, made.create_time)
    assert [page.order.env.get("COLOUR") for page in pages.running] == ["red"]


async def test_an_update_by_a_mask_changes_nothing_else(client, pages):
    made = await created(client, labels={"kept": "no"})
    changed = service(labels={"owner": "me"}, description="not in the mask")
    changed.name = NAME
    mask = FieldMask(paths=["labels"])
    updated = await finished(client, await client.update_service(service=changed, update_mask=mask))
    assert updated.labels == {"owner": "me"}
    assert updated.description == ""
    assert updated.template == made.template
    assert len(pages.started) == 1
    with pytest.raises(exceptions.InvalidArgument):
        mask = FieldMask(paths=["no_such_field"])
        await client.update_service(service=changed, update_mask=mask)


async def test_an_update_that_changes_nothing_makes_no_generation(client, pages):
    made = await created(client)
    assert await finished(client, await client.update_service(service=made)) == made
    assert (await client.get_service(name=NAME)).generation == 1
    assert len(pages.started) == 1


async def test_an_etag_of_another_version_is_a_conflict(client):
    made = await created(client)
    stale = service(etag='"stale"')
    stale.name = NAME
    with pytest.raises(exceptions.Aborted):
        await client.update_service(service=stale)
    with pytest.raises(exceptions.Aborted):
        await client.delete_service(request={"name": NAME, "etag": '"stale"'})
    await finished(client, await client.delete_service(request={"name": NAME, "etag": made.etag}))


async def test_a_creation_that_fails_leaves_a_failed_service(client, pages):
    pages.refusal = "The user-provided container failed to start"
    operation = await client.create_service(parent=PARENT, service=service(), service_id="user-1")
    with pytest.raises(exceptions.GoogleAPICallError, match="failed to start"):
        await finished(client, operation)
    assert operation.operation.error.code == code_pb2.FAILED_PRECONDITION
    left = await client.get_service(name=NAME)
    assert left.terminal_condition.state is Condition.State.CONDITION_FAILED
    assert left.terminal_condition.reason is Condition.CommonReason.REVISION_FAILED
    assert (left.uri, left.reconciling, left.observed_generation) == ("", False, 0)
    with pytest.raises(exceptions.AlreadyExists):
        await created(client)
    await finished(client, await client.delete_service(name=NAME))


async def test_a_creation_whose_caller_gave_up_succeeds_nevertheless(client, emulator):
    lost = emulator.faults.inject(Fault("CreateService", loses_answer=True))
    creating = asyncio.create_task(created(client))
    await lost.met.wait()
    creating.cancel()
    assert (await client.get_service(name=NAME)).name == NAME


async def test_what_is_only_to_be_checked_is_not_created(client):
    request = {
        "parent": PARENT,
        "service": service(),
        "service_id": "user-1",
        "validate_only": True,
    }
    assert await (await client.create_service(request=request)).done()
    with pytest.raises(exceptions.NotFound):
        await client.get_service(name=NAME)


async def test_what_is_not_emulated_is_said_to_be(client):
    with pytest.raises(exceptions.MethodNotImplemented):
        await created(client, template={"encryption_key": "projects/p/locations/l/keyRings/k"})
