"""Errors of the Admin API, in the words and with the details of the service."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

_SERVICE = "run.googleapis.com"


class ApiError(Exception):
    """A call that ends with a status. ``details`` are messages of ``google.rpc``."""

    def __init__(self, code: grpc.StatusCode, message: str, *details: Any) -> None:
        super().__init__(code, message, *details)
        self.code = code
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    def status(self) -> Any:
        """Return it as a ``google.rpc.Status``."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status


def invalid(field: str, description: str) -> ApiError:
    """Return the refusal of a request for one of its fields."""
    return violations([(field, description)])


def violations(found: list[tuple[str, str]]) -> ApiError:
    """Return the refusal of a request for some of its fields, the first of which is named in the message."""
    detail = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=f"Violation in {field}", description=description
            )
            for field, description in found
        ]
    )
    field, description = found[0]
    return ApiError(
        grpc.StatusCode.INVALID_ARGUMENT, f"Violation in {field}: {description}", detail
    )


def not_found(name: str) -> ApiError:
    """Return that there is no such resource."""
    detail = error_details_pb2.ResourceInfo(resource_name=name)
    return ApiError(grpc.StatusCode.NOT_FOUND, f"Resource '{_short(name)}' was not found", detail)


def already_exists(name: str) -> ApiError:
    """Return that a name is taken."""
    detail = error_details_pb2.ResourceInfo(resource_name=name)
    return ApiError(
        grpc.StatusCode.ALREADY_EXISTS, f"Resource '{_short(name)}' already exists.", detail
    )


def conflict(name: str, given: str, current: str) -> ApiError:
    """Return that the resource has another version than the caller has seen."""
    message = (
        f"Conflict for resource '{_short(name)}': version '{given}' was specified but current"
        f" version is '{current}'."
    )
    return ApiError(grpc.StatusCode.ABORTED, message)


def precondition(kind: str, subject: str, description: str) -> ApiError:
    """Return that the resource is not in a state for this."""
    detail = error_details_pb2.PreconditionFailure(
        violations=[
            error_details_pb2.PreconditionFailure.Violation(
                type=kind, subject=subject, description=description
            )
        ]
    )
    return ApiError(grpc.StatusCode.FAILED_PRECONDITION, description, detail)


def exhausted(project: str, location: str, metric: str, limit: str, value: int) -> ApiError:
    """Return that a quota of a project and region is used up."""
    rate = "requests" in metric
    info = error_details_pb2.ErrorInfo(
        reason="RATE_LIMIT_EXCEEDED" if rate else "RESOURCE_QUOTA_EXCEEDED",
        domain="googleapis.com",
        metadata={
            "service": _SERVICE,
            "consumer": f"projects/{project}",
            "quota_metric": f"{_SERVICE}/{metric}",
            "quota_limit": limit,
            "quota_limit_value": str(value),
            "quota_location": location,
        },
    )
    message = (
        f"Quota exceeded for quota metric '{metric}' and limit '{limit}' of service '{_SERVICE}'"
        f" for consumer 'projects/{project}'."
    )
    return ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, message, info)


def denied(permission: str, resource: str) -> ApiError:
    """Return that the caller lacks a permission, or that the resource may not exist."""
    info = error_details_pb2.ErrorInfo(
        reason="IAM_PERMISSION_DENIED",
        domain="iam.googleapis.com",
        metadata={"permission": permission, "resource": resource},
    )
    message = (
        f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist)."
    )
    return ApiError(grpc.StatusCode.PERMISSION_DENIED, message, info)


def unauthenticated(reason: str) -> ApiError:
    """Return that the caller has shown no valid access token."""
    info = error_details_pb2.ErrorInfo(
        reason=reason, domain="googleapis.com", metadata={"service": _SERVICE}
    )
    message = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login"
        " cookie or other valid authentication credential."
    )
    return ApiError(grpc.StatusCode.UNAUTHENTICATED, message, info)


def _short(name: str) -> str:
    return name.rpartition("/")[2]
