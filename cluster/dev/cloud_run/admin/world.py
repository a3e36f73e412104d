"""What all parts of the Admin API share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.core.ports.clock import Clock
from cluster.dev.cloud_run.admin.operations import Operations
from cluster.dev.cloud_run.admin.resource import Resource
from cluster.dev.cloud_run.errors import denied
from cluster.dev.cloud_run.faults import Fault, Faults
from cluster.dev.cloud_run.identity.access import ACT_AS, Access
from cluster.dev.cloud_run.identity.tokens import TokenIssuer
from cluster.dev.cloud_run.names import Location
from cluster.dev.cloud_run.programs.interface import Programs, StartFailed
from cluster.dev.cloud_run.quotas import Quotas
from cluster.dev.cloud_run.serving.front import Front
from cluster.dev.cloud_run.serving.plan import Plan, Timings
from cluster.dev.cloud_run.serving.workload import Workload


@dataclass(frozen=True, slots=True)
class Call:
    """A call under way: whose it is, and what goes wrong with it."""

    caller: str
    fault: Fault


@dataclass(slots=True)
class World:
    """The emulated cloud. ``projects``: project → its regions. ``host`` is where services listen.

    ``secrets``: full name of a secret → its versions, the first of which is version 1.
    """

    clock: Clock
    host: str
    projects: Mapping[str, frozenset[str]]
    programs: Programs
    timings: Timings
    issuer: TokenIssuer
    access: Access
    quotas: Quotas
    faults: Faults
    operations: Operations
    secrets: dict[str, list[str]] = field(default_factory=dict)

    def enter(
        self, call: Call, permission: str, location: Location, resource: str, *, writes: bool
    ) -> None:
        """Raise ApiError unless there is such a place, and the caller may do this there, and now."""
        if location.region not in self.projects.get(location.project, frozenset()):
            raise denied(permission, resource)
        self.access.check(call.caller, permission, location.project, resource)
        self.quotas.count_call(location, self.clock.now(), writes=writes)

    def check_account(self, call: Call, location: Location, account: str) -> None:
        """Raise ApiError unless the caller may have containers run as a service account."""
        resource = f"projects/-/serviceAccounts/{account}"
        self.access.check(call.caller, ACT_AS, location.project, resource)

    def default_account(self, location: Location) -> str:
        """Return the account that a project's containers run as, unless they say otherwise."""
        number = 10**11 + int.from_bytes(location.project.encode()[:4])
        return f"{number}-compute@developer.gserviceaccount.com"

    async def work(self, fault: Fault, seconds: float) -> None:
        """Pass the time that an operation takes. Raises StartFailed if it is to fail."""
        await self.clock.sleep(seconds + fault.work_seconds)
        if fault.hangs:
            await fault.released.wait()
        if fault.fails is not None:
            raise StartFailed(fault.fails)

    async def serve(self, record: Resource, plan: Plan) -> None:
        """Have a resource's front door lead to a new workload. Raises StartFailed; then all is as before."""
        workload = Workload(plan, self.programs, self.clock, self.timings)
        try:
            await workload.deploy()
        except BaseException:
            await workload.close()
            raise
        record.workload = workload
        if record.front is None:
            longest = self.timings.longest_request
            record.front = Front(self.issuer, self.access, self.clock, longest)
            await record.front.start(self.host)
        record.front.workload = workload

    def secret_values(self, location: Location, container: Any) -> dict[str, str]:
        """Return the variables of a container that refer to secrets. Raises StartFailed."""
        found = {}
        for variable in container.env:
            if variable.WhichOneof("values") == "value_source":
                chosen = variable.value_source.secret_key_ref
                found[variable.name] = self._secret(location, chosen.secret, chosen.version)
        return found

    def _secret(self, location: Location, secret: str, version: str) -> str:
        name = secret if "/" in secret else f"projects/{location.project}/secrets/{secret}"
        versions = self.secrets.get(name, [])
        if version == "latest" and versions:
            return versions[-1]
        if version.isdigit() and 0 < int(version) <= len(versions):
            return versions[int(version) - 1]
        raise StartFailed(f"Secret {name}/versions/{version} was not found")
