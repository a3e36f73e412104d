"""``google.cloud.run.v2.Services``."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2

from actors.core.tasks import Tasks
from cluster.dev.cloud_run.admin import defaults, resource
from cluster.dev.cloud_run.admin.checks import check_service
from cluster.dev.cloud_run.admin.container_checks import MISSING
from cluster.dev.cloud_run.admin.masks import merge
from cluster.dev.cloud_run.admin.operations import Operation, validated
from cluster.dev.cloud_run.admin.pages import page
from cluster.dev.cloud_run.admin.resource import Catalog, Resource
from cluster.dev.cloud_run.admin.world import Call, World
from cluster.dev.cloud_run.errors import ApiError, conflict, invalid
from cluster.dev.cloud_run.faults import Fault
from cluster.dev.cloud_run.identity.access import ROLES
from cluster.dev.cloud_run.names import Location, check_id, parse_name, parse_parent
from cluster.dev.cloud_run.programs.interface import StartFailed
from cluster.dev.cloud_run.serving.guard import Door
from cluster.dev.cloud_run.serving.plan import of_service

_COLLECTION = "services"
_NO_TRAFFIC = 4
"""``INGRESS_TRAFFIC_NONE``."""


class Services:
    """The calls of the API on services. Each takes a request and its call; raises ApiError."""

    def __init__(self, world: World, catalog: Catalog, tasks: Tasks) -> None:
        self._world = world
        self._catalog = catalog
        self._tasks = tasks

    async def create(self, request: Any, call: Call) -> Any:
        """``CreateService``."""
        at = "CreateServiceRequest"
        location = parse_parent(f"{at}.parent", request.parent)
        name = f"{location}/{_COLLECTION}/{request.service_id}"
        self._world.enter(call, "run.services.create", location, name, writes=True)
        check_id(f"{at}.service_id", request.service_id)
        if not request.HasField("service"):
            raise invalid(f"{at}.service", MISSING)
        return self._create(at, request.service, location, name, request.validate_only, call)

    def _create(
        self, at: str, given: Any, location: Location, name: str, dry: bool, call: Call
    ) -> Any:
        service = self._complete(at, given, location, name, call)
        present = self._catalog.list(location, _COLLECTION)
        if not self._catalog.has(name):
            self._world.quotas.check_room(location, _COLLECTION, len(present))
        if dry:
            return validated(service)
        record = self._catalog.add(service, location)
        record.create(call.caller, self._world.clock.now())
        return self._reconcile(record, call.fault, new_revision=True)

    async def get(self, request: Any, call: Call) -> Any:
        """``GetService``."""
        location = parse_name("GetServiceRequest.name", request.name, _COLLECTION)
        self._world.enter(call, "run.services.get", location, request.name, writes=False)
        return self._catalog.get(request.name).show()

    async def list(self, request: Any, call: Call) -> Any:
        """``ListServices``: the newest first. There is no filter, and nothing deleted is kept."""
        location = parse_parent("ListServicesRequest.parent", request.parent)
        self._world.enter(call, "run.services.list", location, request.parent, writes=False)
        found = self._catalog.list(location, _COLLECTION)
        serials = [each.serial for each in found]
        chosen = page("ListServicesRequest", serials, request.page_size, request.page_token)
        return run_v2.ListServicesResponse.pb()(
            services=[found[index].message for index in chosen.indexes],
            next_page_token=chosen.next_token,
        )

    async def update(self, request: Any, call: Call) -> Any:
        """``UpdateService``: the whole of it, or the fields of a mask."""
        at = "UpdateServiceRequest"
        if not request.HasField("service"):
            raise invalid(f"{at}.service", MISSING)
        name = request.service.name
        location = parse_name(f"{at}.service.name", name, _COLLECTION)
        if request.allow_missing and not self._catalog.has(name):
            self._world.enter(call, "run.services.create", location, name, writes=True)
            service_id = name.rpartition("/")[2]
            check_id(f"{at}.service.name", service_id)
            return self._create(at, request.service, location, name, request.validate_only, call)
        self._world.enter(call, "run.services.update", location, name, writes=True)
        record = self._catalog.get(name)
        record.check_etag(request.service.etag)
        merged = merge(f"{at}.update_mask", record.show(), request.service, request.update_mask)
        service = self._complete(at, merged, location, name, call)
        for field in ("uid", "generation", "create_time", "update_time", "creator"):
            _copy_field(field, record.message, service)
        return self._update(record, service, request.validate_only, call)

    def _update(self, record: Resource, service: Any, dry: bool, call: Call) -> Any:
        before = record.message
        same = _wanted(service) == _wanted(before) and not before.reconciling
        changes_revision = service.template != before.template
        revision = service.template.revision
        if changes_revision and revision and revision in record.revisions:
            text = f"Revision named '{revision}' with different configuration already exists."
            raise ApiError(grpc.StatusCode.ALREADY_EXISTS, text)
        if dry:
            return validated(service)
        if same:
            operation = self._world.operations.begin(record.location, before)
            operation.succeed(before)
            return operation.message
        for field in (
            *(
                "latest_ready_revision",
                "latest_created_revision",
                "traffic_statuses",
                "uri",
                "urls",
            ),
            *("observed_generation", "terminal_condition", "conditions"),
        ):
            _copy_field(field, before, service)
        record.message = service
        record.change(call.caller, self._world.clock.now())
        return self._reconcile(record, call.fault, new_revision=changes_revision)

    async def delete(self, request: Any, call: Call) -> Any:
        """``DeleteService``: what is under way ends at once, the name is free when the operation is done."""
        location = parse_name("DeleteServiceRequest.name", request.name, _COLLECTION)
        self._world.enter(call, "run.services.delete", location, request.name, writes=True)
        record = self._catalog.get(request.name)
        record.check_etag(request.etag)
        if request.validate_only:
            return validated(record.message)
        record.delete(self._world.clock.now())
        record.cancel_work()
        operation = self._world.operations.begin(location, record.message)
        self._tasks.spawn(f"delete {record.name}", self._delete(record, operation, call.fault))
        return operation.message

    async def get_policy(self, request: Any, call: Call) -> Any:
        """``GetIamPolicy``."""
        location = parse_name("resource", request.resource, _COLLECTION)
        self._world.enter(
            call, "run.services.getIamPolicy", location, request.resource, writes=False
        )
        self._catalog.get(request.resource)
        return self._world.access.policy(request.resource)

    async def set_policy(self, request: Any, call: Call) -> Any:
        """``SetIamPolicy``."""
        location = parse_name("resource", request.resource, _COLLECTION)
        self._world.enter(
            call, "run.services.setIamPolicy", location, request.resource, writes=True
        )
        self._catalog.get(request.resource)
        for binding in request.policy.bindings:
            if binding.role not in ROLES:
                raise invalid("policy.bindings.role", f"{binding.role} is not a role.")
        current = self._world.access.policy(request.resource)
        if request.policy.etag and request.policy.etag != current.etag:
            raise conflict(request.resource, request.policy.etag.hex(), current.etag.hex())
        return self._world.access.set_policy(request.resource, request.policy)

    async def test_permissions(self, request: Any, call: Call) -> Any:
        """``TestIamPermissions``."""
        location = parse_name("resource", request.resource, _COLLECTION)
        access = self._world.access
        return iam_policy_pb2.TestIamPermissionsResponse(
            permissions=[
                permission
                for permission in request.permissions
                if access.permits(call.caller, permission, location.project, request.resource)
            ]
        )

    def _complete(self, at: str, given: Any, location: Location, name: str, call: Call) -> Any:
        """Return a service as it is kept: checked, its defaults filled in."""
        service = run_v2.Service.pb()()
        service.CopyFrom(given)
        defaults.clear_output_only(service)
        service.name = name
        check_service(at, service, name.rpartition("/")[2])
        defaults.fill_service(service, self._world.default_account(location))
        self._world.check_account(call, location, service.template.service_account)
        return service

    def _reconcile(self, record: Resource, fault: Fault, *, new_revision: bool) -> Any:
        if new_revision:
            revision = record.message.template.revision or _revision_name(record)
            record.revisions[revision] = record.show().template
            record.message.latest_created_revision = f"{record.name}/revisions/{revision}"
        operation = self._world.operations.begin(record.location, record.message)
        work = self._run(record, record.show(), operation, fault, new_revision=new_revision)
        task = self._tasks.spawn(f"reconcile {record.name}", work)
        record.work.append(task)
        task.add_done_callback(record.work.remove)
        return operation.message

    async def _run(
        self,
        record: Resource,
        wanted: Any,
        operation: Operation,
        fault: Fault,
        *,
        new_revision: bool,
    ) -> None:
        """Bring a service to where it was wanted when this began, and end the operation."""
        revision = wanted.latest_created_revision.rpartition("/")[2]
        state, text = resource.SUCCEEDED, ""
        error: ApiError | None = None
        try:
            async with record.lock:
                await self._deploy(record, wanted, fault, new_revision=new_revision)
        except asyncio.CancelledError:
            text = f"The operation on {record.name} was given up: it is being deleted."
            operation.fail(ApiError(grpc.StatusCode.ABORTED, text), record.message)
            raise
        except StartFailed as failure:
            state = resource.FAILED
            text = f"Revision '{revision}' is not ready and cannot serve traffic. {failure}"
            error = ApiError(grpc.StatusCode.FAILED_PRECONDITION, text)
        if record.message.generation == wanted.generation:  # else a later change is under way
            if error is None:
                record.message.observed_generation = wanted.generation
            reason = resource.REVISION_FAILED if error is not None else 0
            record.condition(self._world.clock.now(), state, text, reason)
        if error is None:
            operation.succeed(record.message)
        else:
            operation.fail(error, record.message)

    async def _deploy(
        self, record: Resource, wanted: Any, fault: Fault, *, new_revision: bool
    ) -> None:
        world = self._world
        await world.work(fault, world.timings.deploy)
        secrets = world.secret_values(record.location, wanted.template.containers[0])
        plan = of_service(wanted, wanted.latest_created_revision.rpartition("/")[2], secrets)
        former = record.workload
        if new_revision or former is None:
            await world.serve(record, plan)
            if former is not None:
                await former.close()
            record.message.latest_ready_revision = wanted.latest_created_revision
            record.message.ClearField("traffic_statuses")
            record.message.traffic_statuses.add(type_=1, percent=100)
        else:
            former.replan(plan)
        self._open_door(record)

    def _open_door(self, record: Resource) -> None:
        front, message = record.front, record.message
        assert front is not None
        message.uri = front.uri
        message.ClearField("urls")
        message.urls.append(front.uri)
        front.door = Door(
            name=record.name,
            project=record.location.project,
            audiences=frozenset({front.uri, *message.custom_audiences}),
            checks_invokers=not message.invoker_iam_disabled,
            is_open=message.ingress != _NO_TRAFFIC and not message.default_uri_disabled,
        )

    async def _delete(self, record: Resource, operation: Operation, fault: Fault) -> None:
        with contextlib.suppress(StartFailed):
            await self._world.work(fault, self._world.timings.delete)
        async with record.lock:
            await record.close()
        self._catalog.remove(record)
        self._world.access.forget(record.name)
        operation.succeed(record.message)


def _wanted(service: Any) -> Any:
    """Return of a service what its owner wants, without what the system says of it."""
    wanted = run_v2.Service.pb()()
    wanted.CopyFrom(service)
    defaults.clear_output_only(wanted)
    wanted.ClearField("etag")
    return wanted


def _copy_field(name: str, source: Any, target: Any) -> None:
    target.ClearField(name)
    value = getattr(source, name)
    if hasattr(value, "extend"):
        getattr(target, name).extend(value)
    elif hasattr(value, "CopyFrom"):
        if source.HasField(name):
            getattr(target, name).CopyFrom(value)
    else:
        setattr(target, name, value)


def _revision_name(record: Resource) -> str:
    service_id = record.name.rpartition("/")[2]
    return f"{service_id}-{record.message.generation:05d}-{record.message.uid[:3]}"
