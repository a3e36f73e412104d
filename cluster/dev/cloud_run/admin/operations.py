"""Long-running operations: begun by a call, done later, kept for a while."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import OrderedDict
from typing import Any

from google.longrunning import operations_pb2

from cluster.dev.cloud_run.admin.pages import page
from cluster.dev.cloud_run.errors import ApiError, invalid, not_found
from cluster.dev.cloud_run.names import Location

_KEPT = 20_000


class Operation:
    """One operation. ``message`` is what callers are shown of it."""

    def __init__(self, name: str, serial: int, metadata: Any) -> None:
        self.serial = serial
        self.message = operations_pb2.Operation(name=name)
        self.message.metadata.Pack(metadata)
        self._done = asyncio.Event()

    def succeed(self, response: Any) -> None:
        """End it well; ``response`` is the resource as it is now."""
        self.message.metadata.Pack(response)
        self.message.response.Pack(response)
        self._end()

    def fail(self, error: ApiError, metadata: Any) -> None:
        """End it with an error."""
        self.message.metadata.Pack(metadata)
        self.message.error.CopyFrom(error.status())
        self._end()

    async def wait(self) -> None:
        """Return when it is done."""
        await self._done.wait()

    def _end(self) -> None:
        self.message.done = True
        self._done.set()


class Operations:
    """The operations of all projects and regions; of those that are done, the oldest are forgotten."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Operation] = OrderedDict()
        self._serials = itertools.count(1)

    def begin(self, location: Location, metadata: Any) -> Operation:
        """Begin an operation on a resource."""
        operation = Operation(
            f"{location}/operations/{uuid.uuid4()}", next(self._serials), metadata
        )
        self._all[operation.message.name] = operation
        if len(self._all) > _KEPT:
            oldest = next((name for name, each in self._all.items() if each.message.done), None)
            self._all.pop(oldest or "", None)
        return operation

    def get(self, name: str) -> Operation:
        """Return an operation. Raises ApiError."""
        found = self._all.get(name)
        if found is None:
            raise not_found(name)
        return found

    def delete(self, name: str) -> None:
        """Forget an operation, which goes on nevertheless. Raises ApiError."""
        self.get(name)
        del self._all[name]

    def list(self, location: Location, request: Any) -> Any:
        """Return a page of the operations of a region, the newest first. Raises ApiError."""
        match request.filter.replace(" ", ""):
            case "":
                wanted = {True, False}
            case "done:true" | "done=true":
                wanted = {True}
            case "done:false" | "done=false":
                wanted = {False}
            case _:
                raise invalid(
                    "ListOperationsRequest.filter", "must be empty, done:true or done:false"
                )
        found = [
            each
            for name, each in reversed(self._all.items())
            if name.startswith(f"{location}/") and each.message.done in wanted
        ]
        serials = [each.serial for each in found]
        chosen = page("ListOperationsRequest", serials, request.page_size, request.page_token)
        return operations_pb2.ListOperationsResponse(
            operations=[found[index].message for index in chosen.indexes],
            next_page_token=chosen.next_token,
        )


def validated(message: Any) -> Any:
    """Return the operation of a request that was only to be checked."""
    operation = operations_pb2.Operation(done=True)
    operation.response.Pack(message)
    return operation
