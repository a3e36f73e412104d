"""The table of all methods that are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from cluster.dev.cloud_run.admin.instances import Instances
from cluster.dev.cloud_run.admin.operation_calls import OperationCalls
from cluster.dev.cloud_run.admin.services import Services
from cluster.dev.cloud_run.admin.wire import Method

_OPERATION = operations_pb2.Operation


def methods(
    services: Services, instances: Instances, operations: OperationCalls
) -> Mapping[str, Sequence[Method]]:
    """Return every method, by the full name of its gRPC service."""
    return {
        "google.cloud.run.v2.Services": _services(services),
        "google.cloud.run.v2.Instances": _instances(instances),
        "google.longrunning.Operations": _operations(operations),
    }


def _services(calls: Services) -> list[Method]:
    def created(request: Any) -> str:
        return f"{request.parent}/services/{request.service_id}"

    name, policy = attrgetter("name"), attrgetter("resource")
    return [
        Method(
            "CreateService", run_v2.CreateServiceRequest.pb(), _OPERATION, created, calls.create
        ),
        Method("GetService", run_v2.GetServiceRequest.pb(), run_v2.Service.pb(), name, calls.get),
        Method(
            "ListServices",
            run_v2.ListServicesRequest.pb(),
            run_v2.ListServicesResponse.pb(),
            attrgetter("parent"),
            calls.list,
        ),
        Method(
            "UpdateService",
            run_v2.UpdateServiceRequest.pb(),
            _OPERATION,
            attrgetter("service.name"),
            calls.update,
        ),
        Method("DeleteService", run_v2.DeleteServiceRequest.pb(), _OPERATION, name, calls.delete),
        Method(
            "GetIamPolicy",
            iam_policy_pb2.GetIamPolicyRequest,
            policy_pb2.Policy,
            policy,
            calls.get_policy,
        ),
        Method(
            "SetIamPolicy",
            iam_policy_pb2.SetIamPolicyRequest,
            policy_pb2.Policy,
            policy,
            calls.set_policy,
        ),
        Method(
            "TestIamPermissions",
            iam_policy_pb2.TestIamPermissionsRequest,
            iam_policy_pb2.TestIamPermissionsResponse,
            policy,
            calls.test_permissions,
        ),
    ]


def _instances(calls: Instances) -> list[Method]:
    def created(request: Any) -> str:
        return f"{request.parent}/instances/{request.instance_id}"

    name = attrgetter("name")
    kind = run_v2.Instance.pb()
    return [
        Method(
            "CreateInstance", run_v2.CreateInstanceRequest.pb(), _OPERATION, created, calls.create
        ),
        Method("GetInstance", run_v2.GetInstanceRequest.pb(), kind, name, calls.get),
        Method(
            "ListInstances",
            run_v2.ListInstancesRequest.pb(),
            run_v2.ListInstancesResponse.pb(),
            attrgetter("parent"),
            calls.list,
        ),
        Method("StartInstance", run_v2.StartInstanceRequest.pb(), _OPERATION, name, calls.start),
        Method("StopInstance", run_v2.StopInstanceRequest.pb(), _OPERATION, name, calls.stop),
        Method("DeleteInstance", run_v2.DeleteInstanceRequest.pb(), _OPERATION, name, calls.delete),
    ]


def _operations(calls: OperationCalls) -> list[Method]:
    name = attrgetter("name")
    return [
        Method("GetOperation", operations_pb2.GetOperationRequest, _OPERATION, name, calls.get),
        Method("WaitOperation", operations_pb2.WaitOperationRequest, _OPERATION, name, calls.wait),
        Method(
            "ListOperations",
            operations_pb2.ListOperationsRequest,
            operations_pb2.ListOperationsResponse,
            name,
            calls.list,
        ),
        Method(
            "DeleteOperation",
            operations_pb2.DeleteOperationRequest,
            empty_pb2.Empty,
            name,
            calls.delete,
        ),
    ]
