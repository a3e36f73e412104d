"""``google.cloud.run.v2.Instances``: single containers that run until they are stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.cloud import run_v2

from actors.core.tasks import Tasks
from cluster.dev.cloud_run.admin import defaults, resource
from cluster.dev.cloud_run.admin.checks import check_instance
from cluster.dev.cloud_run.admin.container_checks import MISSING
from cluster.dev.cloud_run.admin.operations import Operation, validated
from cluster.dev.cloud_run.admin.pages import page
from cluster.dev.cloud_run.admin.resource import Catalog, Resource
from cluster.dev.cloud_run.admin.world import Call, World
from cluster.dev.cloud_run.errors import ApiError, invalid, precondition
from cluster.dev.cloud_run.faults import Fault
from cluster.dev.cloud_run.names import Location, check_id, parse_name, parse_parent
from cluster.dev.cloud_run.programs.interface import StartFailed
from cluster.dev.cloud_run.serving.guard import Door
from cluster.dev.cloud_run.serving.plan import of_instance

_COLLECTION = "instances"
_NO_TRAFFIC = 4
_WITHOUT_INSTANCES = frozenset({"europe-west1", "us-central1", "us-east1"})
"""Regions in which no instance can be created."""


class Instances:
    """The calls of the API on instances. Each takes a request and its call; raises ApiError."""

    def __init__(self, world: World, catalog: Catalog, tasks: Tasks) -> None:
        self._world = world
        self._catalog = catalog
        self._tasks = tasks

    async def create(self, request: Any, call: Call) -> Any:
        """``CreateInstance``: it runs when the operation is done."""
        at = "CreateInstanceRequest"
        location = parse_parent(f"{at}.parent", request.parent)
        name = f"{location}/{_COLLECTION}/{request.instance_id}"
        self._world.enter(call, "run.instances.create", location, name, writes=True)
        check_id(f"{at}.instance_id", request.instance_id)
        if location.region in _WITHOUT_INSTANCES:
            raise invalid(f"{at}.parent", f"there are no instances in {location.region}.")
        if not request.HasField("instance"):
            raise invalid(f"{at}.instance", MISSING)
        instance = run_v2.Instance.pb()()
        instance.CopyFrom(request.instance)
        defaults.clear_output_only(instance)
        instance.name = name
        check_instance(at, instance)
        defaults.fill_instance(instance, self._world.default_account(location))
        self._world.check_account(call, location, instance.service_account)
        if not self._catalog.has(name):
            present = self._catalog.list(location, _COLLECTION)
            self._world.quotas.check_room(location, _COLLECTION, len(present))
        if request.validate_only:
            return validated(instance)
        record = self._catalog.add(instance, location)
        record.create(call.caller, self._world.clock.now())
        return self._begin(record, call.fault, self._start)

    async def get(self, request: Any, call: Call) -> Any:
        """``GetInstance``."""
        location = parse_name("GetInstanceRequest.name", request.name, _COLLECTION)
        self._world.enter(call, "run.instances.get", location, request.name, writes=False)
        return self._catalog.get(request.name).show()

    async def list(self, request: Any, call: Call) -> Any:
        """``ListInstances``: the newest first."""
        location = parse_parent("ListInstancesRequest.parent", request.parent)
        self._world.enter(call, "run.instances.list", location, request.parent, writes=False)
        found = self._catalog.list(location, _COLLECTION)
        serials = [each.serial for each in found]
        chosen = page("ListInstancesRequest", serials, request.page_size, request.page_token)
        return run_v2.ListInstancesResponse.pb()(
            instances=[found[index].message for index in chosen.indexes],
            next_page_token=chosen.next_token,
        )

    async def start(self, request: Any, call: Call) -> Any:
        """``StartInstance``: of one that is stopped, with an empty disk."""
        record, _ = self._enter("StartInstanceRequest", "run.instances.start", request, call)
        if record.workload is not None or record.message.reconciling:
            raise precondition("STATE", record.name, f"Instance '{record.name}' is not stopped.")
        if request.validate_only:
            return validated(record.message)
        record.change(call.caller, self._world.clock.now())
        return self._begin(record, call.fault, self._start)

    async def stop(self, request: Any, call: Call) -> Any:
        """``StopInstance``: SIGTERM, and SIGKILL after the grace time; its disk is gone."""
        record, _ = self._enter("StopInstanceRequest", "run.instances.stop", request, call)
        if record.workload is None and not record.message.reconciling:
            raise precondition("STATE", record.name, f"Instance '{record.name}' is not running.")
        if request.validate_only:
            return validated(record.message)
        record.cancel_work()
        record.change(call.caller, self._world.clock.now())
        return self._begin(record, call.fault, self._stop)

    async def delete(self, request: Any, call: Call) -> Any:
        """``DeleteInstance``: the name is free when the operation is done."""
        record, location = self._enter(
            "DeleteInstanceRequest", "run.instances.delete", request, call
        )
        if request.validate_only:
            return validated(record.message)
        record.delete(self._world.clock.now())
        record.cancel_work()
        operation = self._world.operations.begin(location, record.message)
        self._tasks.spawn(f"delete {record.name}", self._delete(record, operation, call.fault))
        return operation.message

    def _enter(
        self, at: str, permission: str, request: Any, call: Call
    ) -> tuple[Resource, Location]:
        location = parse_name(f"{at}.name", request.name, _COLLECTION)
        self._world.enter(call, permission, location, request.name, writes=True)
        record = self._catalog.get(request.name)
        record.check_etag(request.etag)
        return record, location

    def _begin(
        self, record: Resource, fault: Fault, work: Callable[[Resource, Fault], Awaitable[None]]
    ) -> Any:
        operation = self._world.operations.begin(record.location, record.message)
        running = self._run(record, operation, fault, work)
        task = self._tasks.spawn(f"reconcile {record.name}", running)
        record.work.append(task)
        task.add_done_callback(record.work.remove)
        return operation.message

    async def _run(
        self,
        record: Resource,
        operation: Operation,
        fault: Fault,
        work: Callable[[Resource, Fault], Awaitable[None]],
    ) -> None:
        generation = record.message.generation
        state, text, reason = resource.SUCCEEDED, "", 0
        try:
            async with record.lock:
                await work(record, fault)
        except asyncio.CancelledError:
            text = f"The operation on {record.name} was given up for another one."
            operation.fail(ApiError(grpc.StatusCode.ABORTED, text), record.message)
            raise
        except StartFailed as error:
            state, reason = resource.FAILED, resource.REVISION_FAILED
            text = f"Instance '{record.name.rpartition('/')[2]}' is not ready. {error}"
        if record.message.generation == generation:
            if not reason:
                record.message.observed_generation = generation
            record.condition(self._world.clock.now(), state, text, reason)
        if reason:
            failure = ApiError(grpc.StatusCode.FAILED_PRECONDITION, text)
            operation.fail(failure, record.message)
        else:
            operation.succeed(record.message)

    async def _start(self, record: Resource, fault: Fault) -> None:
        world, message = self._world, record.message
        await world.work(fault, world.timings.deploy)
        secrets = world.secret_values(record.location, message.containers[0])
        await world.serve(record, of_instance(message, secrets))
        front = record.front
        assert front is not None
        message.ClearField("urls")
        message.urls.append(front.uri)
        front.door = Door(
            name=record.name,
            project=record.location.project,
            audiences=frozenset({front.uri}),
            checks_invokers=not message.invoker_iam_disabled,
            is_open=message.ingress != _NO_TRAFFIC,
        )

    async def _stop(self, record: Resource, fault: Fault) -> None:
        await self._world.work(fault, 0.0)
        workload, record.workload = record.workload, None
        if record.front is not None:
            record.front.workload = None
        if workload is not None:
            await workload.close()

    async def _delete(self, record: Resource, operation: Operation, fault: Fault) -> None:
        with contextlib.suppress(StartFailed):
            await self._world.work(fault, self._world.timings.delete)
        async with record.lock:
            await record.close()
        self._catalog.remove(record)
        operation.succeed(record.message)
