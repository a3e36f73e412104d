"""``google.longrunning.Operations``, without CancelOperation, which Cloud Run does not have."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf import empty_pb2

from cluster.dev.cloud_run.admin.world import Call, World
from cluster.dev.cloud_run.names import parse_name, parse_parent

_COLLECTION = "operations"
_LONGEST_WAIT_SECONDS = 300.0


class OperationCalls:
    """The calls of the API on operations. Each takes a request and its call; raises ApiError."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def get(self, request: Any, call: Call) -> Any:
        """``GetOperation``."""
        return self._find("GetOperationRequest", request, call).message

    async def wait(self, request: Any, call: Call) -> Any:
        """``WaitOperation``: as it is when it is done, or when the time is over."""
        operation = self._find("WaitOperationRequest", request, call)
        seconds = _LONGEST_WAIT_SECONDS
        if request.HasField("timeout"):
            seconds = min(request.timeout.seconds + request.timeout.nanos / 1e9, seconds)
        waiting = {
            asyncio.ensure_future(operation.wait()),
            asyncio.ensure_future(self._world.clock.sleep(seconds)),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return operation.message

    async def list(self, request: Any, call: Call) -> Any:
        """``ListOperations``."""
        location = parse_parent("ListOperationsRequest.name", request.name)
        self._world.enter(call, "run.operations.list", location, request.name, writes=False)
        return self._world.operations.list(location, request)

    async def delete(self, request: Any, call: Call) -> Any:
        """``DeleteOperation``: it is forgotten, not cancelled."""
        location = parse_name("DeleteOperationRequest.name", request.name, _COLLECTION)
        self._world.enter(call, "run.operations.delete", location, request.name, writes=True)
        self._world.operations.delete(request.name)
        return empty_pb2.Empty()

    def _find(self, at: str, request: Any, call: Call) -> Any:
        location = parse_name(f"{at}.name", request.name, _COLLECTION)
        self._world.enter(call, "run.operations.get", location, request.name, writes=False)
        return self._world.operations.get(request.name)
