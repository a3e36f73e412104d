"""A service or an instance as the API keeps it, and the catalog of them."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import uuid
from collections.abc import Iterator
from typing import Any

from cluster.dev.cloud_run.errors import already_exists, conflict, not_found
from cluster.dev.cloud_run.names import Location
from cluster.dev.cloud_run.serving.front import Front
from cluster.dev.cloud_run.serving.workload import Workload

RECONCILING, FAILED, SUCCEEDED = 2, 3, 4
"""States of a condition."""

REVISION_FAILED, SECRETS_ACCESS_CHECK_FAILED = 3, 12
"""Reasons of a condition that has failed."""

_ERROR = 1
_EXPIRES_SECONDS = 30 * 24 * 3600


class Resource:
    """One service or instance. ``message`` is what callers see, ``work`` what brings it there.

    ``lock`` is held by who changes what runs. ``deleted`` is set when deletion has begun.
    """

    def __init__(self, message: Any, location: Location, serial: int) -> None:
        self.message = message
        self.location = location
        self.serial = serial
        self.lock = asyncio.Lock()
        self.front: Front | None = None
        self.workload: Workload | None = None
        self.work: list[asyncio.Task[None]] = []
        self.deleted = False
        self.revisions: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The full name."""
        return str(self.message.name)

    def show(self) -> Any:
        """Return a copy of the message."""
        shown = type(self.message)()
        shown.CopyFrom(self.message)
        return shown

    def create(self, caller: str, now: float) -> None:
        """Fill in what a new resource is given."""
        self.message.uid = str(uuid.uuid4())
        self.message.creator = caller
        self.message.create_time.FromNanoseconds(int(now * 1e9))
        self.change(caller, now)

    def change(self, caller: str, now: float) -> None:
        """Note a change by a caller: a new generation, which is not there yet."""
        self.message.last_modifier = caller
        self.message.generation += 1
        self.condition(now, RECONCILING, "")

    def delete(self, now: float) -> None:
        """Note that it is being deleted."""
        self.deleted = True
        self.message.delete_time.FromNanoseconds(int(now * 1e9))
        self.message.expire_time.FromNanoseconds(int((now + _EXPIRES_SECONDS) * 1e9))
        self._renew(now)

    def condition(self, now: float, state: int, text: str, reason: int = 0) -> None:
        """Note how far it is, and with a state at the end of the way that it is there."""
        types = ["Ready"]
        if "template" in self.message.DESCRIPTOR.fields_by_name:
            types += ["RoutesReady", "ConfigurationsReady"]
        terminal = self.message.terminal_condition
        moved = terminal.state != state
        self.message.ClearField("conditions")
        for kind in types:
            one = terminal if kind == "Ready" else self.message.conditions.add()
            if moved or kind != "Ready":
                one.last_transition_time.FromNanoseconds(int(now * 1e9))
            one.type_, one.state, one.message = kind, state, text
            one.severity = _ERROR if state == FAILED else 0
            one.ClearField("reasons")
            if reason:
                one.reason = reason
        self.message.reconciling = state == RECONCILING
        self._renew(now)

    def check_etag(self, given: str) -> None:
        """Raise ApiError when the caller has seen another version, or it is being deleted."""
        if given and given != self.message.etag:
            raise conflict(self.name, given, self.message.etag)
        if self.deleted:
            raise conflict(self.name, given or "the current one", "being deleted")

    def cancel_work(self) -> None:
        """Give up what is under way."""
        for task in self.work:
            task.cancel()

    async def close(self) -> None:
        """Stop serving: the front door first, then every container."""
        if self.front is not None:
            await self.front.close()
        if self.workload is not None:
            await self.workload.close()

    def _renew(self, now: float) -> None:
        self.message.update_time.FromNanoseconds(int(now * 1e9))
        self.message.etag = f'"{secrets.token_hex(8)}"'


class Catalog:
    """The resources of all regions. A service and an instance of one region do not share an id."""

    def __init__(self) -> None:
        self._all: dict[str, Resource] = {}
        self._serials = itertools.count(1)

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._all.values()))

    def add(self, message: Any, location: Location) -> Resource:
        """Add a resource. Raises ApiError when its id is taken, which it is until a deletion is over."""
        resource_id = message.name.rpartition("/")[2]
        for collection in ("services", "instances"):
            if f"{location}/{collection}/{resource_id}" in self._all:
                raise already_exists(message.name)
        resource = Resource(message, location, next(self._serials))
        self._all[message.name] = resource
        return resource

    def get(self, name: str) -> Resource:
        """Return a resource. Raises ApiError."""
        found = self._all.get(name)
        if found is None:
            raise not_found(name)
        return found

    def has(self, name: str) -> bool:
        """Return whether there is a resource of that name."""
        return name in self._all

    def remove(self, resource: Resource) -> None:
        """Remove a resource that is gone."""
        self._all.pop(resource.name, None)

    def list(self, location: Location, collection: str) -> list[Resource]:
        """Return the resources of a collection in a region, the newest first."""
        prefix = f"{location}/{collection}/"
        return [each for name, each in reversed(self._all.items()) if name.startswith(prefix)]
