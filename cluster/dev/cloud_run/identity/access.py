"""IAM as far as Cloud Run asks it: roles of projects, and policies of services. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.iam.v1 import policy_pb2

from cluster.dev.cloud_run.errors import denied

INVOKE = "run.routes.invoke"
ACT_AS = "iam.serviceaccounts.actAs"
EVERYBODY = "allUsers"
_READ = frozenset(
    {
        *("run.services.get", "run.services.list", "run.services.getIamPolicy"),
        *("run.instances.get", "run.instances.list"),
        *("run.operations.get", "run.operations.list"),
    }
)
_WRITE = frozenset(
    {
        *("run.services.create", "run.services.update", "run.services.delete"),
        *("run.instances.create", "run.instances.update", "run.instances.delete"),
        *("run.instances.start", "run.instances.stop", "run.operations.delete"),
    }
)

ROLES: Mapping[str, frozenset[str]] = {
    "roles/run.admin": _READ | _WRITE | {"run.services.setIamPolicy", INVOKE},
    "roles/run.developer": _READ | _WRITE,
    "roles/run.viewer": _READ,
    "roles/run.invoker": frozenset({INVOKE}),
    "roles/iam.serviceAccountUser": frozenset({ACT_AS}),
}
"""Roles and what they permit, of which an account has some in a project or at a service."""


class Access:
    """Decides what an account may do. ``grants``: account → project → roles."""

    def __init__(self, grants: Mapping[str, Mapping[str, Iterable[str]]]) -> None:
        self._grants = {
            email: {project: frozenset(roles) for project, roles in projects.items()}
            for email, projects in grants.items()
        }
        self._policies: dict[str, Any] = {}

    def grant(self, email: str, project: str, *roles: str) -> None:
        """Give an account exactly these roles in a project."""
        self._grants.setdefault(email, {})[project] = frozenset(roles)

    def check(self, email: str, permission: str, project: str, resource: str) -> None:
        """Raise ApiError unless the account has a permission in the project or at the resource."""
        if not self.permits(email, permission, project, resource):
            raise denied(permission, resource)

    def permits(self, email: str, permission: str, project: str, resource: str) -> bool:
        """Return whether an account has a permission."""
        roles = set(self._grants.get(email, {}).get(project, ()))
        member = f"serviceAccount:{email}"
        for binding in self.policy(resource).bindings:
            if member in binding.members or EVERYBODY in binding.members:
                roles.add(binding.role)
        return any(permission in ROLES.get(role, ()) for role in roles)

    def policy(self, resource: str) -> Any:
        """Return the policy of a resource, without what its project adds."""
        found = self._policies.get(resource)
        return policy_pb2.Policy(etag=b"ACAB") if found is None else found

    def set_policy(self, resource: str, policy: Any) -> Any:
        """Keep a policy and return it with its new version."""
        kept = policy_pb2.Policy()
        kept.CopyFrom(policy)
        number = int.from_bytes(self.policy(resource).etag) + 1
        kept.etag = number.to_bytes(8)
        self._policies[resource] = kept
        return kept

    def forget(self, resource: str) -> None:
        """Drop the policy of a resource that is gone."""
        self._policies.pop(resource, None)
