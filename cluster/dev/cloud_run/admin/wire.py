"""The API on the wire: gRPC calls to methods of ours, with the library's own messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from actors.core.tasks import Tasks
from cluster.dev.cloud_run.admin.world import Call, World
from cluster.dev.cloud_run.errors import ApiError, unauthenticated
from cluster.dev.cloud_run.identity.tokens import InvalidToken

logger = logging.getLogger(__name__)

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the API. ``request`` and ``response`` are message classes.

    ``resource`` says of a request which resource it is about, for faults; ``handle`` answers it.
    """

    name: str
    request: Any
    response: Any
    resource: Callable[[Any], str]
    handle: Callable[[Any, Call], Awaitable[Any]]


class Wire:
    """Answers calls: whose they are, what goes wrong with them, and what became of them.

    ``nobody`` is the account of callers without a token, who are refused if it is empty.
    """

    def __init__(self, world: World, tasks: Tasks, nobody: str = "") -> None:
        self._world = world
        self._nobody = nobody
        self._tasks = tasks

    def handlers(self, services: Mapping[str, Sequence[Method]]) -> list[Any]:
        """Return gRPC's handlers; ``services``: the full name of a gRPC service → its methods.

        What the API has and is not among them is UNIMPLEMENTED.
        """
        return [
            grpc.method_handlers_generic_handler(
                service, {method.name: self._handler(method) for method in methods}
            )
            for service, methods in services.items()
        ]

    def _handler(self, method: Method) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            try:
                return await self._answer(method, request, context)
            except ApiError as error:
                await _abort(context, error)
            except Exception:
                logger.exception("%s failed", method.name)
                await context.abort(grpc.StatusCode.INTERNAL, "Internal error encountered.")

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )

    async def _answer(self, method: Method, request: Any, context: Any) -> Any:
        caller = self._caller(context)
        fault = self._world.faults.take(method.name, method.resource(request))
        call = Call(caller, fault)
        # What has arrived is done, whether or not the caller still waits for the answer.
        work = self._tasks.offer(method.name, self._do(method, request, call), awaited=True)
        if work is None:
            raise ApiError(grpc.StatusCode.UNAVAILABLE, "The service is currently unavailable.")
        answer = await asyncio.shield(work)
        if fault.loses_answer:
            await asyncio.Event().wait()  # until the caller gives up, and gRPC cancels this
        return answer

    async def _do(self, method: Method, request: Any, call: Call) -> Any:
        if call.fault.delay_seconds:
            await self._world.clock.sleep(call.fault.delay_seconds)
        if call.fault.error is not None:
            raise call.fault.error
        return await method.handle(request, call)

    def _caller(self, context: Any) -> str:
        metadata = dict(context.invocation_metadata() or ())
        given = metadata.get("authorization", "")
        if not given and self._nobody:
            return self._nobody
        if not given.lower().startswith(_SCHEME):
            raise unauthenticated("CREDENTIALS_MISSING")
        try:
            return self._world.issuer.caller(given[len(_SCHEME) :].strip())
        except InvalidToken as error:
            raise unauthenticated(str(error)) from error


async def _abort(context: Any, error: ApiError) -> None:
    status = rpc_status.to_status(error.status())
    await context.abort(status.code, status.details, status.trailing_metadata)
